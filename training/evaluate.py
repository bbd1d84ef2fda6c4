"""The restored best checkpoint, measured: threshold from validation, then the test split, once."""

from __future__ import annotations

import csv
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
from training.trainer import fake_logits

INTERVALS_OF = ("roc_auc", "eer", "accuracy", "balanced_accuracy")


def measure(trainer: Trainer, dataset: DatasetDict, rule: str, output_dir: Path) -> dict[str, Any]:
    """Score validation, fit every decision there, then score and judge test with them.

    Every score behind the numbers is written to `output_dir/scores_<split>.csv`.

    Returns:
        {"threshold": {...}, "decisions": {...}, "validation": {"metrics", "intervals"}, and, if there is a test split,
        "test": {"metrics", "intervals", "operating_points"}}.
    """
    scores = _predict(trainer, dataset["validation"])
    labels = np.asarray(dataset["validation"]["label"])
    point = choose_threshold(scores, labels, rule=rule)
    decisions = fit_decisions(scores, labels, _recordings(dataset["validation"]))
    probability = probability_of(point.threshold)
    result: dict[str, Any] = {
        "threshold": {
            "fake_probability": probability,
            "fake_logit": point.threshold,
            "rule": rule,
            "split": "validation",
        },
        "decisions": decisions.to_config(),
    }
    for split in ("validation", "test"):
        if split not in dataset:
            continue
        if split != "validation":
            scores = _predict(trainer, dataset[split])
        if trainer.is_world_process_zero():
            _write_scores(output_dir / f"scores_{split}.csv", dataset[split], scores)
        result[split] = judge(dataset[split], scores, point.threshold, None if split == "validation" else decisions)
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
