"""Tables with a header (CSV, TSV, JSON lines) as dicts of text, and what their columns are called in the wild."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

from data_prep.layouts.base import read_text
from deepfake.errors import UserError
from deepfake.labels import label_of_tokens
from deepfake.schema import SPLITS

# Our name of a column → names that published metadata files use for it, the most telling first.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "file_name": ("file_name", "filename", "file", "path", "filepath", "file_path", "audio", "audio_path", "wav"),
    "label": ("label", "class", "key", "target", "is_fake"),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id"),
    "generator": ("generator", "model", "model_name", "system", "system_id", "attack", "vocoder", "tts_model"),
    "language": ("language", "lang", "locale"),
    "split": ("split", "subset", "partition", "fold"),
    "group": ("group_id", "group", "source", "source_id", "original_file"),
    "page": ("page",),
    "kind": ("kind",),
    "family": ("family",),
    "year": ("year",),
    "licence": ("licence", "license"),
}
_SPLIT_NAMES = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "valid", "val", "dev", "development"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_UNKNOWN = frozenset({"", "-", "unknown", "none", "null", "nan", "n/a", "na", "unk", "?"})


def read_table(path: Path, delimiter: str | None = None) -> list[dict[str, str]]:
    """The rows of a table with a header line, keys in lower case, every value text.

    Args:
        delimiter: of a text table; None takes a tab for .tsv, and for the others what the header line has most of.

    Raises:
        UserError: not readable, a JSON line that is no object, or a row longer than the header.
    """
    text = read_text(path)
    if path.suffix.lower() == ".jsonl":
        return _json_lines(path, text)
    header = text.split("\n", 1)[0]
    if delimiter is None:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",|;\t", key=header.count)
    # A transcript may hold a lone quote; in tables separated by bars nothing is quoted.
    quoting = csv.QUOTE_NONE if delimiter == "|" else csv.QUOTE_MINIMAL
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    try:
        rows = [{str(k).strip().lower(): (v or "").strip() for k, v in row.items() if k is not None} for row in reader]
    except csv.Error as error:
        raise UserError(f"the table {path} is broken near line {reader.line_num} ({error})") from error
    return rows


def _json_lines(path: Path, text: str) -> list[dict[str, str]]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"line {number} of {path} is not JSON ({error.msg}); expected one object a line") from error
        if not isinstance(values, dict):
            raise UserError(f"line {number} of {path} is no JSON object; expected one object a line")
        rows.append({str(key).lower(): "" if value is None else str(value) for key, value in values.items()})
    return rows


def column_names(rows: list[dict[str, str]]) -> dict[str, str]:
    """Our name → the table's name, for each of `COLUMNS` that the table has."""
    present = rows[0].keys() if rows else ()
    found = {}
    for ours, theirs in COLUMNS.items():
        match = next((name for name in theirs if name in present), None)
        if match is not None:
            found[ours] = match
    return found


def known(text: str | None) -> str | None:
    """A cell, or None when it is one of the ways to write that nothing is known."""
    return None if text is None or text.strip().lower() in _UNKNOWN else text.strip()


def year_of(text: str | None) -> int | None:
    """The year that a cell names; None for anything else."""
    year = (known(text) or "").removesuffix(".0")  # what pandas makes of a column that has gaps
    return int(year) if year.isascii() and year.isdigit() and len(year) == 4 else None


def split_of(text: str | None) -> str | None:
    """train, validation or test for the usual names of the three; None for anything else."""
    word = (text or "").strip().lower()
    return next((split for split in SPLITS if word in _SPLIT_NAMES[split]), None)


def label_of_cell(text: str, path: Path) -> str:
    """The class that a cell names.

    Raises:
        UserError: no class, or both; numbers do not say which class they mean.
    """
    classes = label_of_tokens(text)
    if len(classes) != 1:
        raise UserError(
            f"{path} labels a recording {text!r}, which does not say real or fake; expected names such as real, "
            "bonafide, genuine, human or fake, spoof, synthetic: replace them in the table"
        )
    return next(iter(classes))
