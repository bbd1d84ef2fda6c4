"""A list of public clips: which stretch of which file of which repository, and what is known about it.

The list holds no audio. A file is named by its repository, commit and path and proved by its git blob id, so that what
is fetched is what was listed or is not used. corpora/README.md documents the columns.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.fetch_clip import ListedClip, ListedFile, Problem, Reason
from data_prep.layouts.base import read_text
from data_prep.layouts.tables import known
from deepfake.errors import UserError
from deepfake.labels import LABELS

REQUIRED_COLUMNS = ("page", "commit", "path", "blob", "start_s", "end_s", "label")
_REPOSITORY = re.compile(r"(?!\.+/)[A-Za-z0-9_.-]+/(?!\.+$)[A-Za-z0-9_.-]+")
_GIT_ID = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class UnusableRow:
    """A row that names no clip, as it stands in the list, and why."""

    line: int
    cells: Mapping[str, str]
    problem: Problem


@dataclass(frozen=True)
class ClipList:
    """The clips of a list in its order, and the rows that cannot be used."""

    clips: tuple[ListedClip, ...]
    unusable: tuple[UnusableRow, ...]


def read_list(path: Path) -> ClipList:
    """Read a list of clips.

    Raises:
        UserError: no such file, not a CSV in UTF-8, a required column is missing, or no row can be used.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file; expected a list of clips such as corpora/pages.csv")
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    missing = [name for name in REQUIRED_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(
            f"{path} has no column {missing[0]}; expected a CSV with {', '.join(REQUIRED_COLUMNS)}, as in "
            "corpora/pages.csv"
        )
    clips: list[ListedClip] = []
    unusable: list[UnusableRow] = []
    seen: set[str] = set()
    try:
        for row in reader:
            cells = {name: value or "" for name, value in row.items() if isinstance(name, str)}
            try:
                clip = _clip(reader.line_num, cells)
                if clip.clip_id in seen:
                    raise ValueError("the same stretch of the same file is listed before")
            except ValueError as error:
                unusable.append(UnusableRow(reader.line_num, cells, Problem(Reason.ROW, str(error))))
                continue
            seen.add(clip.clip_id)
            clips.append(clip)
    except csv.Error as error:
        raise UserError(f"the list {path} is broken near line {reader.line_num} ({error})") from error
    if not clips:
        why = f": {unusable[0].problem.detail}" if unusable else ""
        raise UserError(f"{path} lists no clip that could be fetched ({len(unusable)} rows{why})")
    return ClipList(tuple(clips), tuple(unusable))


def files_of(clips: Sequence[ListedClip]) -> list[ListedFile]:
    """The files that `clips` are cut from, each once, those of one repository together."""
    held: dict[str, dict[tuple[str, str, str], list[ListedClip]]] = {}
    for clip in clips:
        held.setdefault(clip.page, {}).setdefault((clip.commit, clip.path, clip.blob), []).append(clip)
    return [
        ListedFile(page, *place, tuple(members)) for page, files in held.items() for place, members in files.items()
    ]


def _clip(line: int, cells: Mapping[str, str]) -> ListedClip:
    """Raises ValueError, whose text says what is wrong with the row."""
    if not _REPOSITORY.fullmatch(cells["page"]):
        raise ValueError(f"page is {cells['page']!r}, expected owner/name")
    for name in ("commit", "blob"):
        if not _GIT_ID.fullmatch(cells[name]):
            raise ValueError(f"{name} is {cells[name]!r}, expected 40 hex digits")
    _check_path(cells["path"])
    if cells["label"] not in LABELS:
        raise ValueError(f"label is {cells['label']!r}, expected {' or '.join(LABELS)}")
    try:
        start_s, end_s = float(cells["start_s"]), float(cells["end_s"])
    except ValueError:
        raise ValueError(f"start_s, end_s are {cells['start_s']!r}, {cells['end_s']!r}, expected seconds") from None
    if not (math.isfinite(end_s) and 0 <= start_s < end_s):
        raise ValueError(f"the stretch is {start_s:g} to {end_s:g} s, expected 0 <= start_s < end_s")
    year = known(cells.get("year"))
    if year is not None and not (year.isascii() and year.isdigit()):
        raise ValueError(f"year is {year!r}, expected a whole number or nothing")
    return ListedClip(
        line,
        *(cells[name] for name in ("page", "commit", "path", "blob")),
        start_s,
        end_s,
        cells["label"],
        kind=known(cells.get("kind")),
        generator=known(cells.get("generator")),
        family=known(cells.get("family")),
        year=None if year is None else int(year),
        speaker=known(cells.get("speaker")),
        language=known(cells.get("language")),
        group_id=known(cells.get("group_id")),
        licence=known(cells.get("licence")),
    )


def _check_path(path: str) -> None:
    """Raises ValueError for what could leave the repository once it is part of an address."""
    parts = path.split("/")
    if not path or any(part in ("", ".", "..") for part in parts) or any(ord(letter) < 32 for letter in path):
        raise ValueError(f"path is {path!r}, expected the path of a file inside its repository")
