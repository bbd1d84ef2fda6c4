"""What the places that files are fetched from have in common: a verified copy on disk, or the reason for none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data_prep.fetch_clip import ListedFile, Problem, Reason
from deepfake.text import replacing

# GitHub takes no file beyond 100 MiB; what is larger is not what was listed.
MAX_FILE_BYTES = 128 * 2**20
BLOCK_BYTES = 2**18


@dataclass(frozen=True)
class Brought:
    """A listed file as it was brought: its verified copy at `path`, or None and the `problem`."""

    file: ListedFile
    path: Path | None
    problem: Problem | None = None


class Source(Protocol):
    """A place that holds the files of a list."""

    def bring(self, files: Iterable[ListedFile]) -> Iterator[Brought]:
        """Bring each file, in the order given; whatever is wrong with one becomes its `Brought.problem`.

        Raises:
            OSError: a copy cannot be written (a full disk), which is no fault of the file.
        """


class NotBrought(Exception):
    """A file that could not be had, for the `problem`."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(reason, detail)


def complete_copy(folder: Path, file: ListedFile) -> Path | None:
    """The copy of a file that an interrupted fetch left in `folder`, None when there is none or it is another file."""
    path = folder / file.file_id
    return path if path.is_file() and _blob_id(path) == file.blob else None


def write_copy(folder: Path, file: ListedFile, blocks: Iterable[bytes]) -> Path:
    """Write the content of a file into `folder`; it appears under its name only when it has the listed blob id.

    Raises:
        NotBrought: another blob id, or more than `MAX_FILE_BYTES`.
    """
    path = folder / file.file_id
    with replacing(path) as draft:
        size = 0
        with draft.open("wb") as held:
            for block in blocks:
                size += len(block)
                if size > MAX_FILE_BYTES:
                    raise NotBrought(Reason.TOO_LARGE, f"more than {MAX_FILE_BYTES // 2**20} MiB")
                held.write(block)
        # Of the written file: a blob id begins with the length, which a server need not have told.
        found = _blob_id(draft)
        if found != file.blob:
            raise NotBrought(Reason.CONTENT, f"{size} bytes with the blob id {found}, expected {file.blob}")
    return path


def _blob_id(path: Path) -> str:
    """The id that git gives the content of a file: SHA-1 of "blob", its length in bytes, a zero byte and the bytes."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as held:
        while block := held.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
