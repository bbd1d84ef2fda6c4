"""The restored best checkpoint, measured: threshold from validation, then the test split, once."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import Trainer

from evaluation.decisions import Decisions, fit_decisions, probability_of
from evaluation.intervals import bootstrap_intervals
from evaluation.metrics import detection_metrics
from evaluation.operating_points import choose_threshold
from evaluation.transfer import transfer
from training.outside import Start, compare, warnings_of
from training.trainer import fake_logits

JUDGED = ("validation", "test")
INTERVALS_OF = ("roc_auc", "eer", "accuracy", "balanced_accuracy")


def measure(
    trainer: Trainer,
    dataset: DatasetDict,
    rule: str,
    output_dir: Path,
    outside: Mapping[str, Dataset] | None = None,
    start: Start | None = None,
) -> dict[str, Any]:
    """Score validation, fit every decision there, then score and judge test, and the sets `outside`, with them.

    Every score behind the numbers is written to `output_dir/scores_<split>.csv`.

    Returns:
        {"threshold": {...}, "decisions": {...}, "validation": {"metrics", "intervals"}, and, if there is a test split,
        "test": {"metrics", "intervals", "operating_points"}, for sets outside "outside": {name: {...}}, and with a
        `start` checkpoint "against_base": {set: {metric: difference}} and "warnings": [sentence]}.
    """
    folder = output_dir if trainer.is_world_process_zero() else None
    parts = {name: (dataset[name], _predict(trainer, dataset[name])) for name in JUDGED if name in dataset}
    rows, scores = parts["validation"]
    point = choose_threshold(scores, np.asarray(rows["label"]), rule=rule)
    result = judged_splits(parts, point.threshold, rule, folder)
    elsewhere = {name: (rows, _predict(trainer, rows)) for name, rows in (outside or {}).items()}
    if elsewhere:
        judged = {name: judge(rows, found, point.threshold) for name, (rows, found) in elsewhere.items()}
        result["outside"] = {
            name: found | {"generators": _generators(elsewhere[name][0])} for name, found in judged.items()
        }
        for name, (rows, found) in elsewhere.items():
            if folder is not None:
                _write_scores(folder / f"scores_{name.replace('/', '_')}.csv", rows, found)
    if start is not None:
        result["against_base"] = {
            name: compare(rows, _recordings(rows), found, point.threshold, start.scores[name], start.threshold)
            for name, (rows, found) in (parts | elsewhere).items()
        }
        result["warnings"] = warnings_of(result["against_base"], list(elsewhere))
    return result


def measure_base(
    trainer: Trainer, dataset: DatasetDict, stored: dict[str, Any] | None, outside: Mapping[str, Dataset] | None = None
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
    scores = {name: _predict(trainer, rows) for name, rows in parts.items()}
    judged = {name: judge(rows, scores[name], limit) for name, rows in parts.items()}
    return {"base": {"threshold": threshold, **judged}}, Start(limit, scores)


def judged_splits(
    parts: Mapping[str, tuple[Dataset, np.ndarray]], threshold: float, rule: str, output_dir: Path | None
) -> dict[str, Any]:
    """Fit every decision on "validation" and judge all parts by them; returned as by `measure`.

    Args:
        parts: split to its rows and their fake logits, shape (rows,).
        threshold: on the fake logit, as `rule` chose it on validation.
        output_dir: where the scores are written; None: nowhere.
    """
    rows, scores = parts["validation"]
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
        result[name] = judge(split, found, threshold, None if name == "validation" else decisions)
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


def _predict(trainer: Trainer, split: Dataset) -> np.ndarray:
    output = trainer.predict(split)
    if not np.array_equal(output.label_ids, np.asarray(split["label"])):
        raise RuntimeError("the trainer returned predictions in another order than the dataset's rows")
    return fake_logits(output.predictions)


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
            writer.writerow([*row, names[label], repr(float(score)), repr(float(1.0 / (1.0 + np.exp(-score))))])
