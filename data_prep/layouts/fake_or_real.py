"""Fake-or-Real (Reimao and Tzerpos 2019): for-norm/training/real/file1.wav and so on.

Its versions (for-original, for-norm, for-2sec, for-rerec) are the same utterances, processed; a build of two versions
at once keeps them together by their number, which all versions share.
"""

from __future__ import annotations

import re

from data_prep.layouts.base import Reading, Row, Tree, parts_below
from data_prep.layouts.tables import split_of
from deepfake.audio.files import AudioFile
from deepfake.errors import UserError

_VERSION = re.compile(r"for-(norm|original|2sec|2seconds|rerec|rerecorded)", re.IGNORECASE)
_SPLITS = frozenset({"training", "validation", "testing"})
_LABELS = frozenset({"real", "fake"})


def matches(tree: Tree) -> bool:
    """True when some recording lies in a version's folder, or the three splits are there as the corpus writes them."""
    places = {parts_below(tree, file) for file in tree.files}
    if any(_VERSION.fullmatch(part) for parts in places for part in parts):
        return any(_place(parts) for parts in places)
    return {place[0] for parts in places if (place := _place(parts))} == _SPLITS


def read(tree: Tree) -> Reading:
    """One row for each recording in a folder like training/real.

    Raises:
        UserError: there is none.
    """
    rows, unlisted = [], []
    for file in tree.files:
        parts = parts_below(tree, file)
        place = _place(parts)
        if place is None:
            unlisted.append(file.name)
        else:
            rows.append(
                Row(file, place[1], "Fake-or-Real", language="en", split=split_of(place[0]), group=_number(file))
            )
    if not rows:
        raise UserError(f"{tree.name} holds no Fake-or-Real recording; expected folders like for-norm/training/real")
    return Reading("for", rows, unlisted)


def _place(parts: tuple[str, ...]) -> tuple[str, str] | None:
    """(split, label) as the corpus writes them, from the innermost folders that say so."""
    lowered = [part.lower() for part in parts]
    for split, label in zip(lowered[-2::-1], lowered[:0:-1], strict=True):
        if split in _SPLITS and label in _LABELS:
            return split, label
    return None


def _number(file: AudioFile) -> str | None:
    """Names begin with file<number>; the number means one utterance of one class in one split."""
    match = re.match(r"(file\d+)", file.path.name)
    if match is None:
        return None
    parts = [part.lower() for part in file.path.parts]
    place = next((f"{a}/{b}" for a, b in zip(parts[-3::-1], parts[-2:0:-1], strict=False) if a in _SPLITS), "")
    return f"{place}/{match[1]}"
