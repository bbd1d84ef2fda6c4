"""The restored best checkpoint, measured: threshold from validation, then the test split, once."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import Trainer

from data_prep.text import fake_probability
from evaluation.decisions import fit_decisions
from evaluation.operating_points import choose_threshold
from judging.clips import FACTS, ScoredClips
from judging.judge import RESAMPLES, Judge, compare, measure_set
from judging.record import FAKE_LOGIT, OUT_OF_DOMAIN, TEST, VALIDATION, Base, Judgement, Threshold
from training.outside import Start, warnings_of
from training.trainer import fake_logits

JUDGED = (VALIDATION, TEST)


def measure(
    trainer: Trainer,
    dataset: DatasetDict,
    rule: str,
    output_dir: Path,
    outside: Mapping[str, Dataset] | None = None,
    start: Start | None = None,
) -> Judgement:
    """Score validation, fit every decision there, then score and judge test, and the sets `outside`, with them.

    Every score behind the numbers is written to `output_dir/scores_<set>.csv`.

    Args:
        rule: of `choose_threshold`.
        start: the start checkpoint on the same clips, to be compared with; see `measure_base`.
    """
    parts = {name: dataset[name] for name in JUDGED if name in dataset} | dict(outside or {})
    scored = {name: scored_rows(rows, _predict(trainer, rows)) for name, rows in parts.items()}
    validation = scored[VALIDATION]
    point = choose_threshold(validation.scores, validation.labels, rule=rule)
    judge = fitted_judge(validation, point.threshold, rule)
    if trainer.is_world_process_zero():
        write_scores(output_dir, parts, scored)
    judgement = judged(scored, judge)
    if start is None:
        return judgement
    differences = {name: compare(clips, judge, start.clips[name], start.judge) for name, clips in scored.items()}
    base = Base(None, start.judge.threshold, judged(start.clips, start.judge).sets, differences)
    return replace(judgement, base=base, warnings=tuple(warnings_of(differences, list(outside or {}))))


def measure_base(
    trainer: Trainer, dataset: DatasetDict, stored: dict[str, Any] | None, outside: Mapping[str, Dataset] | None = None
) -> Start:
    """The start checkpoint, which is a detector, as it is, on the clips that the trained one will be judged on.

    Args:
        stored: the `detector` entry of its config; without a threshold there it is judged at fake_probability 0.5.
    """
    parts = {name: dataset[name] for name in JUDGED if name in dataset} | dict(outside or {})
    judge = Judge.of_checkpoint(stored or {}) or Judge.by_default()
    return Start(judge, {name: scored_rows(rows, _predict(trainer, rows)) for name, rows in parts.items()})


def fitted_judge(validation: ScoredClips, threshold: float, rule: str) -> Judge:
    """Fit every other decision on validation.

    Args:
        validation: scores are fake logits. threshold: on the fake logit, as `rule` chose it on validation.
    """
    origin = f"chosen on {VALIDATION} by {rule.replace('_', ' ')}"
    decisions = fit_decisions(validation.scores, validation.labels, validation.groups())
    return Judge(Threshold(threshold, FAKE_LOGIT, origin, VALIDATION, rule), decisions)


def judged(scored: Mapping[str, ScoredClips], judge: Judge, resamples: int = RESAMPLES) -> Judgement:
    """Every set by one judge; those beside validation and test are from elsewhere."""
    roles = {name: name if name in JUDGED else OUT_OF_DOMAIN for name in scored}
    sets = {name: measure_set(clips, judge, roles[name], resamples) for name, clips in scored.items()}
    return Judgement(judge.threshold, judge.decisions, sets, resamples=resamples)


def scored_rows(rows: Dataset, scores: np.ndarray) -> ScoredClips:
    """Rows of a dataset with the labels 0 real and 1 fake, and their fake logits, shape (rows,)."""
    return ScoredClips.of(scores, rows["label"], {name: rows[name] for name in FACTS if name in rows.column_names})


def _predict(trainer: Trainer, split: Dataset) -> np.ndarray:
    output = trainer.predict(split)
    if not np.array_equal(output.label_ids, np.asarray(split["label"])):
        raise RuntimeError("the trainer returned predictions in another order than the dataset's rows")
    return fake_logits(output.predictions)


def write_scores(folder: Path, parts: Mapping[str, Dataset], scored: Mapping[str, ScoredClips]) -> None:
    """scores_<set>.csv: one row a clip, in the dataset's order, with what is known of where it was cut from."""
    for name, rows in parts.items():
        _write_scores(folder / f"scores_{name.replace('/', '_')}.csv", rows, scored[name].scores)


def _write_scores(path: Path, split: Dataset, scores: np.ndarray) -> None:
    names = split.features["label"].names
    columns = [c for c in ("source", "start_s", "duration_s", "generator") if c in split.column_names]
    meta = split.select_columns(columns) if columns else None
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "label", "fake_logit", "fake_probability"])
        for i, (label, score) in enumerate(zip(split["label"], scores, strict=True)):
            row = [meta[i][c] for c in columns] if meta else []
            writer.writerow([*row, names[label], repr(float(score)), repr(fake_probability(float(score)))])
