"""Any detector's scores: a CSV of scores and a CSV of labels, joined by the clip's name."""

from __future__ import annotations

import posixpath
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from deepfake.audio.files import AUDIO_EXTENSIONS
from deepfake.errors import UserError
from deepfake.judging.clips import FACTS, ScoredClips
from deepfake.labels import label_of_tokens
from evaluation.score_tables import NAMES, one_of, read_csv, read_score_table

_CHANNEL = "channel"  # infer.py --channels each: one row a channel
_THRESHOLD, _PREDICTION = "threshold", "prediction"  # what infer.py decided, beside its fake_probability


@dataclass(frozen=True)
class Decided:
    """The one threshold that a scores file was decided at, in the unit of its scores, and its undecided rows."""

    threshold: float
    uncertain: int


@dataclass(frozen=True)
class JoinedScores:
    """Clips that have both a score and a label, per split.

    Attributes:
        unit: of the scores: "fake_logit", "fake_probability" or "score".
        layout: of the scores file, in words.
        names: per split the clips' names in the labels, in the order of its clips.
        unscored, unlabelled: labelled clips without a score and scores without a label, both left out.
        by_end: (name in the labels, name in the scores) of clips matched by the end of their path.
        decided: the file's own decisions; None when it holds none.
    """

    splits: dict[str, ScoredClips]
    unit: str
    unscored: int
    unlabelled: int = 0
    by_end: tuple[tuple[str, str], ...] = ()
    decided: Decided | None = None
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    layout: str = "CSV"


def read_scores(
    scores: Path,
    labels: Path,
    column: str | None = None,
    lower_is_fake: bool = False,
    take_decisions: bool = True,
) -> JoinedScores:
    """Join a score file and a CSV file of labels.

    scores: a CSV file with a name column (id, path, file_name, …) and fake_logit, fake_probability or score, as
    infer.py writes with its threshold and prediction; or a score file of ASVspoof or Speech-DF-Arena, whose scores rise
    with genuineness and are turned round (`evaluation.score_tables`). Rows with an empty score count as unscored.

    labels: a CSV file with the same names, label (real, fake or their usual aliases), and optionally split and any of
    the columns `deepfake.judging.clips.FACTS`.

    Where a row has a channel (counted from 0), its clip is called NAME#CHANNEL; labels say either that, or have such a
    column as well.

    A clip is the same in both where its names are equal, or where one of them is a relative path that the other ends
    in ("real/a.wav" and "/data/real/a.wav"), and no second name fits. Two full paths are never the same clip because
    their files are called alike.

    Args:
        take_decisions: read the threshold that stands in the scores file.

    Raises:
        UserError: a file or column that is missing, a label or score that cannot be read, names that do not match or
            fit several clips, or decisions that differ in their threshold or contradict it.
    """
    table, label_rows = read_score_table(scores, column), read_csv(labels)
    column, lower_is_fake = table.column, lower_is_fake or table.lower_is_fake
    label_key = one_of(NAMES, label_rows[0], labels, "a name column")
    if "label" not in label_rows[0]:
        raise UserError(f"{labels} has no column label; it has {', '.join(label_rows[0])}")
    scored = _by_name(table.rows, table.key, scores, "score")
    labelled = _by_name(label_rows, label_key, labels, "label")
    if all(name == without_extension(name) for name in scored):  # as in ASVspoof's score files
        labelled = _without_extensions(labelled, labels)
    values = {name: _number(row[column], column, name, scores) for name, row in scored.items()}
    unit = "score" if lower_is_fake else table.unit
    decided = _decided(scored, values, scores) if unit == "fake_probability" and take_decisions else None
    partners = _partners(labelled, scored, labels, scores)
    chosen: dict[str, list[tuple[float, int, dict[str, str]]]] = {}
    named: dict[str, list[str]] = {}
    unscored = 0
    for name, row in labelled.items():
        score = values[partners[name]] if name in partners else None
        if score is None:
            unscored += 1
            continue
        told = (-score if lower_is_fake else score, _label(row["label"] or "", labels), row)
        chosen.setdefault(row.get("split") or "test", []).append(told)
        named.setdefault(row.get("split") or "test", []).append(name)
    if not chosen:
        raise UserError(
            f"no clip of {labels} is named in {scores}: {label_rows[0][label_key]} against "
            f"{table.rows[0][table.key]}, e.g.; expected the same names in both"
        )
    joined = set(partners.values())
    return JoinedScores(
        splits={name: _clips(rows) for name, rows in chosen.items()},
        unit=unit,
        unscored=unscored,
        unlabelled=sum(value is not None and name not in joined for name, value in values.items()),
        by_end=tuple((a, b) for a, b in partners.items() if a != b),
        decided=decided,
        names={split: tuple(found) for split, found in named.items()},
        layout=table.layout + (", turned round" if lower_is_fake else ""),
    )


def _by_name(rows: list[dict[str, str]], key: str, path: Path, what: str) -> dict[str, dict[str, str]]:
    """The rows by the name of their clip, written with forward slashes and without a leading "./"."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        name = posixpath.normpath(row[key].strip().replace("\\", "/")) if row[key] else ""
        if not name:
            raise UserError(f"{path} has a row without a {key}; expected the name of a clip in every row")
        if row.get(_CHANNEL):
            name = f"{name}#{row[_CHANNEL]}"
        if name in found:
            raise UserError(f"{path} names {name} twice; expected one {what} a clip")
        found[name] = row
    return found


def without_extension(name: str) -> str:
    """The name of a clip without the extension of an audio file."""
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in AUDIO_EXTENSIONS else name


def _without_extensions(rows: dict[str, dict[str, str]], path: Path) -> dict[str, dict[str, str]]:
    found = {without_extension(name): row for name, row in rows.items()}
    if len(found) < len(rows):
        raise UserError(f"{path} names clips that differ in their extension only, and the scores name no extension")
    return found


def _number(text: str | None, column: str, name: str, path: Path) -> float | None:
    """A cell as a number; None for an empty one, which infer.py leaves for a file that it could not score."""
    try:
        return float(text) if text else None
    except ValueError as error:
        raise UserError(f"{path} has the {column} {text!r} for {name}; expected a number") from error


def _decided(rows: dict[str, dict[str, str]], values: dict[str, float | None], path: Path) -> Decided | None:
    """The threshold of infer.py's rows, checked against what they predict."""
    told = {name: row for name, row in rows.items() if values[name] is not None and row.get(_THRESHOLD)}
    if not told:
        return None
    thresholds = {name: _number(row[_THRESHOLD], _THRESHOLD, name, path) for name, row in told.items()}
    distinct = sorted(set(thresholds.values()))
    if len(distinct) > 1:
        raise UserError(
            f"{path} was decided at {len(distinct)} thresholds ({', '.join(f'{t:.4f}' for t in distinct[:4])}"
            f"{', …' if len(distinct) > 4 else ''}), so it holds the rows of several models or options; score the "
            "clips again into one new file, or give --threshold"
        )
    predictions = {name: row.get(_PREDICTION) for name, row in told.items()}
    for name, prediction in predictions.items():
        if prediction in ("real", "fake") and (prediction == "fake") != (values[name] >= distinct[0]):
            raise UserError(
                f"{path} calls {name} {prediction} at fake_probability {values[name]:.4f} and threshold "
                f"{distinct[0]:.4f}, which contradict each other; score the clips again, or give --threshold"
            )
    return Decided(distinct[0], sum(prediction == "uncertain" for prediction in predictions.values()))


def _partners(labelled: Collection[str], scored: Collection[str], labels: Path, scores: Path) -> dict[str, str]:
    """Name in the labels → name in the scores, for each clip that is in both.

    Raises:
        UserError: a relative name that several names in the other file end in.
    """
    partners = {name: name for name in labelled if name in scored}
    ends_of_scores, ends_of_labels = _by_end(scored), _by_end(labelled)
    for name in labelled:
        if name not in partners:
            fits = _fitting(name, scored, ends_of_scores)
            if len(fits) > 1:
                raise _ambiguous(name, labels, fits, scores)
            others = _fitting(fits[0], labelled, ends_of_labels) if fits and fits[0] not in labelled else []
            if len(others) > 1:
                raise _ambiguous(fits[0], scores, others, labels)
            if others:
                partners[name] = fits[0]
    return partners


def _by_end(names: Collection[str]) -> dict[str, list[str]]:
    """Every relative path that a name ends in → the names that end in it, themselves left out."""
    found: dict[str, list[str]] = {}
    for name in names:
        parts = PurePosixPath(name).parts
        for start in range(1, len(parts)):
            found.setdefault("/".join(parts[start:]), []).append(name)
    return found


def _fitting(name: str, others: Collection[str], ends: dict[str, list[str]]) -> list[str]:
    """Those of the other file's names that end in `name`, and the relative ones that `name` ends in."""
    parts = PurePosixPath(name).parts
    inside = ["/".join(parts[start:]) for start in range(1, len(parts))]
    return ends.get(name, []) + [end for end in inside if end in others]


def _ambiguous(name: str, path: Path, fits: list[str], other: Path) -> UserError:
    return UserError(
        f"{path} names {name}, and {len(fits)} clips of {other} may be meant ({fits[0]}, {fits[1]}"
        f"{', …' if len(fits) > 2 else ''}); write the whole path in both files"
    )


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
