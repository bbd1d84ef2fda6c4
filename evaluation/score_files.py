"""Any detector's scores: a CSV of scores and a CSV of labels, joined by the clip's name."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from data_prep.errors import UserError
from data_prep.labels import label_of_tokens
from judging.clips import FACTS, ScoredClips

NAMES = ("id", "path", "file_name", "file", "utterance", "clip")
SCORES = {"fake_logit": "fake_logit", "fake_probability": "fake_probability", "fake_score": "score", "score": "score"}


@dataclass(frozen=True)
class JoinedScores:
    """Clips that have both a score and a label, per split; `unit` of the scores, `unscored` labelled clips left out."""

    splits: dict[str, ScoredClips]
    unit: str
    unscored: int


def read_scores(scores: Path, labels: Path, column: str | None = None, lower_is_fake: bool = False) -> JoinedScores:
    """Join two CSV files with a header each.

    scores: a name column (id, path, file_name, …) and fake_logit, fake_probability or score; infer.py writes such a
    file. labels: the same name column, label (real/fake or their usual aliases), and optionally split, source,
    speaker, speaker_group, generator, language, duration_s, container. Rows with an empty score count as unscored.

    Raises:
        UserError: a file or column that is missing, a label or score that cannot be read, names that do not match.
    """
    score_rows, label_rows = _read(scores), _read(labels)
    column = column or _one_of(SCORES, score_rows[0], scores, "a score column")
    if column not in score_rows[0]:
        raise UserError(f"{scores} has no column {column}; it has {', '.join(score_rows[0])}")
    key = _one_of(NAMES, score_rows[0], scores, "a name column")
    by_name = _by_name(score_rows, key, column, scores)
    label_key = _one_of(NAMES, label_rows[0], labels, "a name column")
    if "label" not in label_rows[0]:
        raise UserError(f"{labels} has no column label; it has {', '.join(label_rows[0])}")
    chosen: dict[str, list[tuple[float, int, dict[str, str]]]] = {}
    unscored = 0
    for row in label_rows:
        score = by_name.get(row[label_key], by_name.get(PurePath(row[label_key]).name))
        if score is None:
            unscored += 1
            continue
        values = (-score if lower_is_fake else score, _label(row["label"], labels), row)
        chosen.setdefault(row.get("split") or "test", []).append(values)
    if not chosen:
        raise UserError(
            f"no clip of {labels} is named in {scores}: {label_rows[0][label_key]} against {score_rows[0][key]}, e.g.; "
            "expected the same names in both"
        )
    splits = {name: _clips(rows) for name, rows in chosen.items()}
    return JoinedScores(splits, "score" if lower_is_fake else SCORES.get(column, "score"), unscored)


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path} ({error}); expected a CSV file with a header") from error
    if not rows:
        raise UserError(f"{path} holds no rows; expected a CSV file with a header and one row a clip")
    return rows


def _one_of(known: tuple[str, ...] | dict[str, str], row: dict[str, str], path: Path, what: str) -> str:
    found = [name for name in known if name in row]
    if not found:
        raise UserError(f"{path} lacks {what}: it has {', '.join(row)}; expected one of {', '.join(known)}")
    return found[0]


def _by_name(rows: list[dict[str, str]], key: str, column: str, path: Path) -> dict[str, float | None]:
    """Scores by full name, and by file name where that is unique; None for an empty score."""
    full: dict[str, float | None] = {}
    short: dict[str, float | None] = {}
    for row in rows:
        name, text = row[key], row[column]
        if name in full:
            raise UserError(f"{path} names {name} twice; expected one score a clip")
        try:
            full[name] = float(text) if text else None
        except ValueError as error:
            raise UserError(f"{path} has the {column} {text!r} for {name}; expected a number") from error
        base = PurePath(name).name
        short[base] = None if base in short else full[name]
    return short | full


def _label(text: str, path: Path) -> int:
    found = label_of_tokens(text)
    if len(found) != 1:
        raise UserError(f"{path} has the label {text!r}; expected real or fake (or an alias such as bonafide, spoof)")
    return int(next(iter(found)) == "fake")


def _clips(rows: list[tuple[float, int, dict[str, str]]]) -> ScoredClips:
    facts = {name: [row.get(name) or None for _, _, row in rows] for name in FACTS}
    try:
        facts["duration_s"] = [None if d is None else float(d) for d in facts["duration_s"]]
        return ScoredClips.of(np.array([s for s, _, _ in rows]), np.array([y for _, y, _ in rows]), facts)
    except ValueError as error:
        raise UserError(str(error)) from error
