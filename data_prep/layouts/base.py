"""What every corpus reader takes and gives: a tree of files in, one row a recording out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from deepfake.audio.files import AudioFile
from deepfake.errors import UserError

EXAMPLES = 5  # names that an error or a report quotes


@dataclass(frozen=True)
class Row:
    """One recording of a corpus. Unknown is None, never guessed.

    Attributes:
        label: "real" or "fake".
        corpus: the name it gets in the column `corpus`.
        generator: what made a fake; "human" for real.
        split: train, validation or test where the corpus itself says so.
        group: what else it was made from (the utterance that a vocoder copied); rows that share it stay in one split.
        page, kind, family, year, licence: see `deepfake.schema`.
    """

    file: AudioFile
    label: str
    corpus: str
    speaker: str | None = None
    generator: str | None = None
    language: str | None = None
    split: str | None = None
    group: str | None = None
    page: str | None = None
    kind: str | None = None
    family: str | None = None
    year: int | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        if self.label == "real":
            object.__setattr__(self, "generator", "human")


@dataclass(frozen=True)
class Reading:
    """What a reader made of a tree.

    Attributes:
        layout: the reader's name.
        rows: one a recording that it can label.
        unlisted: recordings that lie there but that the corpus' own lists leave out.
        absent: names that the lists hold but that do not lie there (part of a corpus was downloaded).
    """

    layout: str
    rows: list[Row]
    unlisted: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tree:
    """The files below one INPUT, by name.

    Attributes:
        name: the INPUT's own name, with which every file's name begins.
        files: recordings. tables: files that may hold labels.
    """

    name: str
    files: Sequence[AudioFile]
    tables: Sequence[AudioFile]

    @cached_property
    def by_name(self) -> dict[str, AudioFile]:
        return {file.name: file for file in self.files}

    @cached_property
    def by_stem(self) -> dict[str, AudioFile]:
        """Recordings by file name without extension; of two with the same stem the first in tree order."""
        found: dict[str, AudioFile] = {}
        for file in self.files:
            found.setdefault(PurePosixPath(file.name).stem, file)
        return found

    def resolve(self, table: AudioFile, reference: str) -> AudioFile | None:
        """The recording that a table's cell means: relative to the table, to the root or below it, or absolute."""
        reference = reference.strip().replace("\\", "/")
        if os.path.isabs(reference):
            return self._by_path.get(os.path.abspath(reference))
        for folder in (PurePosixPath(table.name).parent, PurePosixPath(self.name)):
            found = self.by_name.get(os.path.normpath(folder / reference).replace(os.sep, "/"))
            if found is not None:
                return found
        return None

    @cached_property
    def _by_path(self) -> dict[str, AudioFile]:
        return {str(file.path): file for file in self.files}


def parts_below(tree: Tree, file: AudioFile) -> tuple[str, ...]:
    """The names of the folders between the INPUT and the file, the INPUT's own name included."""
    return PurePosixPath(file.name).parent.parts


def read_text(path: Path) -> str:
    """The text of a table.

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"the table {path} cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the table {path} is not UTF-8 text; save it as UTF-8") from error


def examples(names: Sequence[str]) -> str:
    """A few names for a message."""
    return ", ".join(names[:EXAMPLES])
