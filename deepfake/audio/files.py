"""Recordings under the paths a user names: deterministic order, symlink loops end, nothing fatal inside a folder."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfake.audio.remote import RemoteFile
from deepfake.errors import UserError

# What FFmpeg recognises from its content alone. Left out on purpose: ".ts" (mostly TypeScript), ".g722", ".raw".
AUDIO_EXTENSIONS = frozenset(
    f".{name}"
    for group in (
        ("wav", "wave", "w64", "rf64", "aif", "aiff", "aifc", "caf", "au", "snd", "sph"),  # mostly PCM
        ("flac", "wv", "ape", "tta"),
        ("mp3", "mp2", "mpga", "ogg", "oga", "opus", "spx", "m4a", "m4b", "aac", "mka", "wma", "amr", "ac3", "eac3"),
        ("mp4", "m4v", "webm", "mkv", "mov", "avi", "flv", "mpg", "mpeg", "wmv", "asf", "3gp", "3g2"),  # video
    )
    for name in group
)
TABLE_EXTENSIONS = frozenset({".csv", ".tsv", ".txt", ".jsonl"})  # where corpora write down their labels


@dataclass(frozen=True)
class AudioFile:
    """A recording to try: its `path` (or where it is to be fetched from), and the `name` it is reported under.

    `name` is the path relative to the parent of the INPUT it was found in, with forward slashes: "corpus/real/a.wav"
    for the INPUT `/data/corpus`, and "real/a.wav" for the INPUT `/data/corpus/real/a.wav` itself.
    """

    path: Path | RemoteFile
    name: str


class AudioFileSearch(Iterator[AudioFile]):
    """The files found, one at a time while the folders are being read.

    Attributes:
        skipped: how many files inside folders were passed over so far: hidden, or no audio or video extension.
        tables: those of them that may hold labels (`TABLE_EXTENSIONS`), named like recordings.
        unreadable_folders: "path (reason)" of each folder that could not be listed so far.
    """

    def __init__(self, inputs: Sequence[Path]) -> None:
        self.skipped = 0
        self.tables: list[AudioFile] = []
        self.unreadable_folders: list[str] = []
        self._inputs = inputs
        self._seen_files: set[str] = set()
        self._seen_folders: set[tuple[int, int]] = set()
        self._linked: deque[tuple[str, str]] = deque()
        self._found = self._search()

    def __next__(self) -> AudioFile:
        return next(self._found)

    def _search(self) -> Iterator[AudioFile]:
        for path in self._inputs:
            if path.is_dir():
                yield from self._walk(str(path), path.name or "root")
            else:
                yield from self._take(str(path), f"{path.parent.name}/{path.name}" if path.parent.name else path.name)
        # Links come last, so that a folder reached twice is named by where it lies and not by who points at it.
        while self._linked:
            yield from self._walk(*self._linked.popleft())

    def _walk(self, folder: str, name: str) -> Iterator[AudioFile]:
        stack = [(folder, name)]
        while stack:
            folder, name = stack.pop()
            entries = self._list(folder)
            subfolders = []
            for entry in entries:
                entry_name = f"{name}/{entry.name}"
                if _is_folder(entry):
                    if entry.is_symlink():
                        self._linked.append((entry.path, entry_name))
                    elif not entry.name.startswith("."):
                        subfolders.append((entry.path, entry_name))
                    continue
                extension = os.path.splitext(entry.name)[1].lower()
                if not entry.name.startswith(".") and extension in AUDIO_EXTENSIONS:
                    yield from self._take(entry.path, entry_name)
                    continue
                self.skipped += 1
                if not entry.name.startswith(".") and extension in TABLE_EXTENSIONS:
                    self.tables.append(AudioFile(Path(entry.path), entry_name))
            stack.extend(reversed(subfolders))

    def _take(self, path: str, name: str) -> Iterator[AudioFile]:
        if path not in self._seen_files:  # named directly and found again in its folder
            self._seen_files.add(path)
            yield AudioFile(Path(path), name)

    def _list(self, folder: str) -> list[os.DirEntry]:
        """The entries of a folder by name; none when it was listed before or cannot be."""
        try:
            status = os.stat(folder)
            identity = (status.st_dev, status.st_ino)
            if identity in self._seen_folders:
                return []
            self._seen_folders.add(identity)
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.unreadable_folders.append(f"{folder} ({error.strerror or error})")
            return []


def find_audio_files(inputs: Sequence[str | Path]) -> AudioFileSearch:
    """Find recordings under files and folders, lazily.

    Files named directly are always taken; inside folders only those with an audio or video extension. A file is yielded
    once, in the order of `inputs` and, within a folder, by name (files before subfolders, linked folders at the very
    end). Nothing is opened: broken links, pipes and folders without permission are for the reader to report.

    Args:
        inputs: files and folders.

    Returns:
        an iterator of `AudioFile` that also counts what it passes over.

    Raises:
        UserError: no input, or one that does not exist (raised by this call, before anything is walked).
    """
    if not inputs:
        raise UserError("no input was given; name at least one audio file or a folder that holds some")
    paths = [Path(os.path.abspath(path)) for path in inputs]
    for given, path in zip(inputs, paths, strict=True):
        if not os.path.lexists(path):
            raise UserError(f"{given} does not exist; name an audio file or a folder that holds some")
    return AudioFileSearch(paths)


def readable_name(name: str) -> str:
    """A file's name as text that any file or page takes; bytes in it that are no UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points at itself
        return False
