"""Tables that list recordings with their labels: any CSV, TSV or JSON lines, and the Hub's AudioFolder form of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from data_prep.layouts import folders
from data_prep.layouts.base import Reading, Row, Tree, examples
from data_prep.layouts.tables import column_names, known, label_of_cell, read_table, split_of, year_of
from deepfake.audio.files import AudioFile
from deepfake.errors import UserError
from deepfake.labels import LABELS, label_of_folders

AUDIOFOLDER_NAMES = ("metadata.csv", "metadata.jsonl")


def label_tables(tree: Tree, audiofolder: bool) -> list[AudioFile]:
    """The tables of `tree` that name recordings: with a file column and, unless AudioFolder's own, a label column."""
    found = []
    for table in tree.tables:
        named = PurePosixPath(table.name).name.lower() in AUDIOFOLDER_NAMES
        if (audiofolder and not named) or table.path.suffix.lower() == ".txt":
            continue
        if named or "label" in column_names(read_table(table.path)[:1]):
            found.append(table)
    return found


def read(tree: Tree, audiofolder: bool = False, trust: bool = True) -> Reading:
    """Label recordings by the tables that list them; those that no table lists by folder and file names.

    Args:
        audiofolder: only metadata.csv and metadata.jsonl; their paths are relative to themselves, and folders may
            label what they do not.
        trust: a table's word is final. False compares it with the folder names.

    Raises:
        UserError: no such table, one without the needed columns, labels that name no class, or, with a count and
            examples, recordings that two tables (or a table and a folder) label differently or that nothing labels.
    """
    tables = label_tables(tree, audiofolder)
    if not tables:
        wanted = (
            " or ".join(AUDIOFOLDER_NAMES) if audiofolder else "a CSV, TSV or JSON lines file with file_name and label"
        )
        raise UserError(f"{tree.name} holds no table of labels; expected {wanted} in it")
    rows: dict[str, Row] = {}
    absent: list[str] = []
    conflicts: list[str] = []
    for table in tables:
        for reference, row in _entries(tree, table):
            if row is None:
                absent.append(reference)
            elif rows.setdefault(row.file.name, row).label != row.label:
                conflicts.append(f"{row.file.name} (real and fake)")
    rest = [file for file in tree.files if file.name not in rows]
    if rest:
        rows |= {row.file.name: row for row in folders.read(Tree(tree.name, rest, ())).rows}
    if not trust:
        conflicts += [
            f"{row.file.name} ({row.label} in the table)"
            for row in rows.values()
            if (told := _told_by_folders(row.file)) and told != {row.label}
        ]
    if conflicts:
        raise UserError(
            f"{len(conflicts)} of {len(rows)} recordings have two labels, e.g. {examples(conflicts)}; mend the tables "
            "or the folders, or add --layout metadata to believe the tables alone"
        )
    ordered = [rows[file.name] for file in tree.files]
    return Reading("audiofolder" if audiofolder else "metadata", ordered, absent=absent)


def _entries(tree: Tree, table: AudioFile) -> Iterator[tuple[str, Row | None]]:
    """Each line of a table: the name it gives, and its row, None when no such recording is there."""
    lines = read_table(table.path)
    names = column_names(lines)
    if lines and "file_name" not in names:
        raise UserError(
            f"{table.path} has the columns {', '.join(lines[0])}; expected file_name and label among them: rename the "
            "column that holds the paths"
        )
    for line in lines:
        cells = {ours: line[theirs] for ours, theirs in names.items()}
        file = tree.resolve(table, cells["file_name"])
        if file is None:
            yield cells["file_name"], None
            continue
        label = label_of_cell(cells["label"], table.path) if "label" in cells else _label_by_folder(file)
        yield (
            cells["file_name"],
            Row(
                file,
                label,
                corpus=folders.corpus_of(file),
                speaker=known(cells.get("speaker")),
                generator=known(cells.get("generator")),
                language=known(cells.get("language")),
                split=split_of(cells.get("split")),
                group=known(cells.get("group")),
                page=known(cells.get("page")),
                kind=known(cells.get("kind")),
                family=known(cells.get("family")),
                year=year_of(cells.get("year")),
                licence=known(cells.get("licence")),
            ),
        )


def _told_by_folders(file: AudioFile) -> set[str]:
    """What the folders below the INPUT say; the INPUT's own name ("tts_challenge") is a title."""
    return label_of_folders(PurePosixPath(*PurePosixPath(file.name).parts[1:]))


def _label_by_folder(file: AudioFile) -> str:
    classes = folders.evidence_of(file)
    if len(classes) != 1:
        raise UserError(
            f"{file.name} is listed without a label and no folder names its class; add a label column with "
            f"{' or '.join(LABELS)}"
        )
    return next(iter(classes))
