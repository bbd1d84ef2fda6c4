"""The restored best checkpoint, measured: threshold from validation, then the test split, once."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict

from data_prep.errors import UserError
from data_prep.labels import LABELS
from evaluation.decisions import Decisions, fit_decisions, probability_of
from evaluation.intervals import bootstrap_intervals
from evaluation.metrics import detection_metrics
from evaluation.operating_points import choose_threshold
from evaluation.transfer import transfer
from scoring.precision import sigmoid
from training.outside import Start, compare, warnings_of
from training.scores import Score

JUDGED = ("validation", "test")
INTERVALS_OF = ("roc_auc", "eer", "accuracy", "balanced_accuracy")


def measure(
    score: Score,
    dataset: DatasetDict,
    rule: str,
    output_dir: Path | None,
    outside: Mapping[str, Dataset] | None = None,
    start: Start | None = None,
) -> dict[str, Any]:
    """Score validation, fit every decision there, then score and judge test, and the sets `outside`, with them.

    Every score behind the numbers is written to `output_dir/scores_<split>.csv`; None: nowhere. Clips without a score
    count in "unscored" and nowhere else; a set without any score is left out.

    Returns:
        {"threshold": {...}, "decisions": {...}, "validation": {"metrics", "intervals"}, and, if there is a test split,
        "test": {"metrics", "intervals", "operating_points"}, for sets outside "outside": {name: {...}}, and with a
        `start` checkpoint "against_base": {set: {metric: difference}} and "warnings": [sentence], and
        "unscored": {set: clips}}.

    Raises:
        UserError: no real, or no fake, clip of validation has a score.
    """
    parts = {name: (dataset[name], score(dataset[name], name)) for name in JUDGED if name in dataset}
    elsewhere = {name: (rows, score(rows, name)) for name, rows in (outside or {}).items()}
    unscored = {name: int(np.isnan(found).sum()) for name, (_, found) in (parts | elsewhere).items()}
    parts, elsewhere = _with_scores(parts), _with_scores(elsewhere)
    rows, scores = scored(*_checked(parts))
    point = choose_threshold(scores, np.asarray(rows["label"]), rule=rule)
    result = judged_splits(parts, point.threshold, rule, output_dir) | {"unscored": unscored}
    if elsewhere:
        judged = {name: judge(*scored(rows, found), point.threshold) for name, (rows, found) in elsewhere.items()}
        result["outside"] = {
            name: found | {"generators": _generators(elsewhere[name][0])} for name, found in judged.items()
        }
        for name, (rows, found) in elsewhere.items():
            if output_dir is not None:
                _write_scores(output_dir / f"scores_{name.replace('/', '_')}.csv", rows, found)
    if start is not None:
        both = {}  # the clips that both have a score of
        for name, (rows, found) in (parts | elsewhere).items():
            known = np.flatnonzero(np.isfinite(found) & np.isfinite(start.scores[name]))
            if len(known):
                both[name] = rows.select(known), found[known], start.scores[name][known]
        result["against_base"] = {
            name: compare(rows, _recordings(rows), after, point.threshold, before, start.threshold)
            for name, (rows, after, before) in both.items()
        }
        result["warnings"] = warnings_of(result["against_base"], list(elsewhere))
    return result


def measure_base(
    score: Score, dataset: DatasetDict, stored: dict[str, Any] | None, outside: Mapping[str, Dataset] | None = None
) -> tuple[dict[str, Any], Start]:
    """The start checkpoint, which is a detector, as it is, on the clips that the trained one will be judged on.

    Args:
        stored: the `detector` entry of its config; without a threshold there it is judged at fake_probability 0.5.

    Returns:
        {"base": {"threshold": fake_probability, set: {"metrics", "intervals"}}}, and what `measure` compares with.
    """
    threshold = (stored or {}).get("threshold", 0.5)
    limit = float(np.log(threshold) - np.log1p(-threshold))
    parts = {name: dataset[name] for name in JUDGED if name in dataset} | dict(outside or {})
    found = {name: (rows, score(rows, f"{name}, before training")) for name, rows in parts.items()}
    judged = {name: judge(*scored(*part), limit) for name, part in _with_scores(found).items()}
    scores = {name: logits for name, (_, logits) in found.items()}
    return {"base": {"threshold": threshold, **judged}}, Start(limit, scores)


def judged_splits(
    parts: Mapping[str, tuple[Dataset, np.ndarray]], threshold: float, rule: str, output_dir: Path | None
) -> dict[str, Any]:
    """Fit every decision on "validation" and judge all parts by them; returned as by `measure`.

    Args:
        parts: split to its rows and their fake logits, shape (rows,), NaN for rows without a score.
        threshold: on the fake logit, as `rule` chose it on validation.
        output_dir: where the scores are written; None: nowhere.
    """
    rows, scores = scored(*parts["validation"])
    decisions = fit_decisions(scores, np.asarray(rows["label"]), _recordings(rows))
    result: dict[str, Any] = {
        "threshold": {
            "fake_probability": probability_of(threshold),
            "fake_logit": threshold,
            "rule": rule,
            "split": "validation",
        },
        "decisions": decisions.to_config(),
    }
    for name, (split, found) in parts.items():
        if output_dir is not None:
            _write_scores(output_dir / f"scores_{name}.csv", split, found)
        result[name] = judge(*scored(split, found), threshold, None if name == "validation" else decisions)
    return result


def judge(split: Dataset, scores: np.ndarray, threshold: float, decisions: Decisions | None = None) -> dict[str, Any]:
    """Metrics of `scores` (fake logits, shape (clips,)) at `threshold`, with 95 % intervals over recordings.

    With `decisions`, also what each of them does here, unchanged.
    """
    labels = np.asarray(split["label"])
    groups = _recordings(split)
    intervals = bootstrap_intervals(scores, labels, groups, threshold, metrics=INTERVALS_OF)
    judged = {
        "metrics": detection_metrics(scores, labels, threshold),
        "recordings": {name: len(set(groups[labels == index])) for index, name in enumerate(("real", "fake"))},
        "intervals": {name: asdict(interval) for name, interval in intervals.items()},
    }
    return judged if decisions is None else judged | {"operating_points": transfer(decisions, scores, labels, groups)}


def scored(rows: Dataset, scores: np.ndarray) -> tuple[Dataset, np.ndarray]:
    """Rows and scores without those rows whose score is NaN."""
    known = np.isfinite(scores)
    return (rows, scores) if known.all() else (rows.select(np.flatnonzero(known)), scores[known])


def _with_scores(parts: Mapping[str, tuple[Dataset, np.ndarray]]) -> dict[str, tuple[Dataset, np.ndarray]]:
    return {name: (rows, found) for name, (rows, found) in parts.items() if np.isfinite(found).any()}


def _checked(parts: Mapping[str, tuple[Dataset, np.ndarray]]) -> tuple[Dataset, np.ndarray]:
    heard = set(scored(*parts["validation"])[0]["label"]) if "validation" in parts else set()
    for label, name in enumerate(LABELS):
        if label not in heard:
            raise UserError(
                f"no {name} clip of the validation split can be scored (nobody speaks in them, they are shorter than "
                "half a second, or they cannot be decoded), so that no threshold can be chosen; build the dataset again"
            )
    return parts["validation"]


def _generators(split: Dataset) -> list[str]:
    return sorted({g for g in split["generator"] if g}) if "generator" in split.column_names else []


def _recordings(split: Dataset) -> np.ndarray:
    if "source" not in split.column_names:
        return np.arange(len(split)).astype(str)
    return np.asarray([source or f"row {i}" for i, source in enumerate(split["source"])])


def _write_scores(path: Path, split: Dataset, scores: np.ndarray) -> None:
    names = split.features["label"].names
    columns = [c for c in ("source", "start_s", "duration_s", "generator") if c in split.column_names]
    meta = split.select_columns(columns) if columns else None
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "label", "fake_logit", "fake_probability"])
        for i, (label, score) in enumerate(zip(split["label"], scores, strict=True)):
            row = [meta[i][c] for c in columns] if meta else []
            known = [repr(float(score)), repr(sigmoid(float(score)))] if np.isfinite(score) else ["", ""]
            writer.writerow([*row, names[label], *known])
