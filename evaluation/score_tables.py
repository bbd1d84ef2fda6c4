"""Score files as they are found: CSV with a header, and the score files of ASVspoof and of open leaderboards."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from deepfake.errors import UserError

NAMES = ("id", "path", "file_name", "filename", "file", "utterance", "clip")
# A score column and the unit of its scores.
SCORES = {"fake_logit": "fake_logit", "fake_probability": "fake_probability", "fake_score": "score", "score": "score"}
GENUINE_HIGH = ("cm-score", "cm_score")  # as ASVspoof 5 and the open leaderboards call scores that rise with bona fide
_COLUMNS_OF_2019 = 4  # utterance, attack or source, key, score


@dataclass(frozen=True)
class ScoreTable:
    """One score file.

    Attributes:
        rows: by column. key, column: those of the clip's name and of its score.
        unit: "fake_logit", "fake_probability" or "score".
        lower_is_fake: by the format's own rule the scores rise with genuineness.
        layout: what kind of file it is, in words.
    """

    rows: list[dict[str, str]]
    key: str
    column: str
    unit: str
    lower_is_fake: bool
    layout: str


def read_score_table(path: Path, column: str | None = None) -> ScoreTable:
    """Read a score file by what its first line looks like.

    - a comma: CSV with a header, as infer.py writes; the scores rise with fakeness unless the column is "cm-score";
    - no comma, and a number at the end: "name score" (ASVspoof 2021, Speech-DF-Arena) or "name source key score"
      (ASVspoof 2019); by the rule of these formats the scores rise with genuineness;
    - no comma, and no number: a header over columns parted by tabs or blanks, as in ASVspoof 5 ("filename cm-score").

    Args:
        column: name of the score column, where it is none of the usual ones.

    Raises:
        UserError: no such file, no rows, a line of another length, or no column of names or of scores.
    """
    try:
        first = next((line for line in path.open(encoding="utf-8-sig") if line.strip()), "")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read {path} ({error}); expected a CSV file with a header, or name and score"
        ) from error
    if "," in first or len(first.split()) < 2:
        return _with_header(path, read_csv(path), column, "CSV")
    lines = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not _is_number(lines[0][-1]):
        if "\t" in first:
            lines = [line.split("\t") for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        header, rows = [name.strip() for name in lines[0]], lines[1:]
        return _with_header(path, _rows(path, header, rows), column, "columns with a header")
    header = ["path", "score"] if len(lines[0]) != _COLUMNS_OF_2019 else ["path", "source", "key", "score"]
    if len(lines[0]) not in (2, _COLUMNS_OF_2019):
        raise UserError(
            f"{path} has {len(lines[0])} columns and no header; expected name and score, or name, source, key and score"
        )
    return ScoreTable(_rows(path, header, lines), "path", "score", "score", True, "name and score")


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header. Raises UserError when it cannot be read or holds none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} ({error}); expected a CSV file with a header") from error
    if not rows:
        raise UserError(f"{path} holds no rows; expected a CSV file with a header and one row a clip")
    return rows


def one_of(known: tuple[str, ...] | dict[str, str], row: dict[str, str], path: Path, what: str) -> str:
    """The first of the `known` columns that `row` has. Raises UserError when it has none."""
    found = [name for name in known if name in row]
    if not found:
        raise UserError(f"{path} lacks {what}: it has {', '.join(row)}; expected one of {', '.join(known)}")
    return found[0]


def _with_header(path: Path, rows: list[dict[str, str]], column: str | None, layout: str) -> ScoreTable:
    usual = SCORES | dict.fromkeys(GENUINE_HIGH, "score")
    column = column or one_of(usual, rows[0], path, "a score column")
    if column not in rows[0]:
        raise UserError(f"{path} has no column {column}; it has {', '.join(rows[0])}")
    key = one_of(NAMES, rows[0], path, "a name column")
    return ScoreTable(rows, key, column, usual.get(column, "score"), column in GENUINE_HIGH, layout)


def _rows(path: Path, header: list[str], lines: list[list[str]]) -> list[dict[str, str]]:
    for number, line in enumerate(lines, start=1):
        if len(line) != len(header):
            raise UserError(
                f"{path} has {len(line)} columns in row {number}; expected {len(header)} ({' '.join(header)}), and "
                "a CSV file where names hold blanks"
            )
    if not lines:
        raise UserError(f"{path} holds a header and no rows; expected one row a clip")
    return [dict(zip(header, line, strict=True)) for line in lines]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
