"""Which recordings to score: files, folders, glob patterns, URLs and lists on stdin, filtered by name."""

from __future__ import annotations

import glob
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from deepfake.audio.files import AUDIO_EXTENSIONS, AudioFile, AudioFileSearch, find_audio_files
from deepfake.audio.remote import RemoteFile, find_remote_files, is_url
from deepfake.errors import UserError

STDIN = "-"  # in place of a path: a list, one path a line


class Listing(Iterator[AudioFile]):
    """Recordings, found while they are taken."""

    def __init__(self, files: Iterator[AudioFile], search: AudioFileSearch | None) -> None:
        self._files, self._search = files, search

    def __next__(self) -> AudioFile:
        return next(self._files)

    @property
    def unreadable_folders(self) -> list[str]:
        """ "path (reason)" of each folder that could not be listed so far."""
        return [] if self._search is None else self._search.unreadable_folders


def list_files(
    inputs: Sequence[str],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    stdin: BinaryIO | None = None,
) -> Listing:
    """The recordings to score, lazily and in a fixed order; each one once.

    Args:
        inputs: files, folders (searched with all below), glob patterns ("calls/**/*.wav"), URLs of the same
            ("s3://bucket/calls"), which come after what is here, or "-" for a list on stdin of files and their URLs.
        include: patterns of which a name must match one; * and ? as in a shell, * also across "/". Matched against the
            name below the input ("calls/2024/a.wav"), against its last part ("a.wav"), and, for what a glob pattern
            or a list names, against the path as it is named there.
        exclude: patterns of which it must match none.
        stdin: where "-" reads from.

    Raises:
        UserError: an input that does not exist or a pattern that matches nothing.
    """
    paths: list[str] = []
    named: dict[str, str] = {}
    remote: list[Iterator[tuple[RemoteFile, str]]] = []
    for given in inputs:
        if given == STDIN:
            continue
        if is_url(given):
            remote.append(find_remote_files(given, AUDIO_EXTENSIONS))
            continue
        if os.path.lexists(given) or not glob.has_magic(given):
            paths.append(given)
            continue
        found = sorted(glob.glob(given, recursive=True))
        if not found:
            raise UserError(f"no file matches {given}; quote the pattern and check it from the current folder")
        paths.extend(found)
        named.update((os.path.abspath(path), path) for path in found)
    search = find_audio_files(paths) if paths else None
    fetched = ((AudioFile(file, name), str(file)) for found in remote for file, name in found)
    listed = _listed(stdin or sys.stdin.buffer) if STDIN in inputs else iter(())
    return Listing(_filtered(search or iter(()), named, itertools.chain(fetched, listed), include, exclude), search)


def _filtered(
    found: Iterator[AudioFile],
    named: dict[str, str],
    listed: Iterator[tuple[AudioFile, str]],
    include: Sequence[str],
    exclude: Sequence[str],
) -> Iterator[AudioFile]:
    for file in found:
        if _wanted((file.name, named.get(str(file.path), file.name)), include, exclude):
            yield file
    seen: set[Path | RemoteFile] = set()
    for file, text in listed:
        if file.path not in seen and _wanted((file.name, text), include, exclude):
            seen.add(file.path)
            yield file


def _listed(stdin: BinaryIO) -> Iterator[tuple[AudioFile, str]]:
    """One path a line, any bytes but a line break, with the file it names; a missing one is a row with an error, as
    the rest is scored."""
    for line in stdin:
        text = os.fsdecode(line.rstrip(b"\r\n"))
        if is_url(text):
            file = RemoteFile(text)
            yield AudioFile(file, file.report_name), text
        elif text:
            path = Path(os.path.abspath(text))
            yield AudioFile(path, f"{path.parent.name}/{path.name}" if path.parent.name else path.name), text


def _wanted(names: tuple[str, ...], include: Sequence[str], exclude: Sequence[str]) -> bool:
    names = (*names, names[0].rpartition("/")[2])

    def matches(patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)

    return (not include or matches(include)) and not matches(exclude)
