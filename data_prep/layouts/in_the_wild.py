"""In-the-Wild (Müller et al. 2022): release_in_the_wild/0.wav … beside meta.csv with file, speaker, label.

Labels are "bona-fide" and "spoof"; a spoof has the name of the celebrity it imitates, so speakers hold both classes.
The corpus defines no splits and does not say which generator made a fake.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from data_prep.layouts.base import Reading, Row, Tree
from data_prep.layouts.tables import known, label_of_cell, read_table
from deepfake.audio.files import AudioFile
from deepfake.errors import UserError

_COLUMNS = {"file", "speaker", "label"}


def matches(tree: Tree) -> bool:
    return bool(_tables(tree))


def read(tree: Tree) -> Reading:
    """One row for each recording of meta.csv that is there.

    Raises:
        UserError: no such meta.csv, or a label that names no class.
    """
    tables = _tables(tree)
    if not tables:
        raise UserError(
            f"{tree.name} holds no meta.csv with file, speaker, label; expected In-the-Wild's own beside the wavs"
        )
    rows, absent = {}, []
    for table in tables:
        for line in read_table(table.path):
            file = tree.resolve(table, line["file"])
            if file is None:
                absent.append(line["file"])
                continue
            rows[file.name] = Row(
                file, label_of_cell(line["label"], table.path), "In-the-Wild", known(line["speaker"]), language="en"
            )
    unlisted = [file.name for file in tree.files if file.name not in rows]
    return Reading("in_the_wild", [rows[f.name] for f in tree.files if f.name in rows], unlisted, absent)


def _tables(tree: Tree) -> list[AudioFile]:
    named = [table for table in tree.tables if PurePosixPath(table.name).name == "meta.csv"]
    return [table for table in named if set(next(iter(read_table(table.path)), {})) == _COLUMNS]
