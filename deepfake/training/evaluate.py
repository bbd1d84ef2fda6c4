"""The restored best checkpoint, measured: threshold from validation, then the test split, once."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict

from deepfake.errors import UserError
from deepfake.judging.clips import ScoredClips
from deepfake.judging.judge import RESAMPLES, Judge, compare, measure_set
from deepfake.judging.record import FAKE_LOGIT, OUT_OF_DOMAIN, TEST, VALIDATION, Base, Judgement, Threshold
from deepfake.labels import LABELS
from deepfake.metrics.decisions import fit_decisions
from deepfake.metrics.operating_points import choose_threshold
from deepfake.text import fake_probability
from deepfake.training.outside import Start, warnings_of
from deepfake.training.scores import Score

JUDGED = (VALIDATION, TEST)


def measure(
    score: Score,
    dataset: DatasetDict,
    rule: str,
    output_dir: Path | None,
    outside: Mapping[str, Dataset] | None = None,
    start: Start | None = None,
) -> Judgement:
    """Score validation, fit every decision there, then score and judge test, and the sets `outside`, with them.

    Every score behind the numbers is written to `output_dir/scores_<set>.csv`; None: nowhere. Clips without a score are
    counted and left out; a set without any score is left out.

    Args:
        rule: of `choose_threshold`.
        start: the start checkpoint on the same clips, to be compared with; see `measure_base`.

    Raises:
        UserError: no real, or no fake, clip of validation has a score.
    """
    parts = {name: dataset[name] for name in JUDGED if name in dataset} | dict(outside or {})
    logits = {name: score(rows, name) for name, rows in parts.items()}
    scored = with_scores(parts, logits)
    _require_both_classes(scored.get(VALIDATION))
    validation = scored[VALIDATION]
    point = choose_threshold(validation.scores, validation.labels, rule=rule)
    judge = fitted_judge(validation, point.threshold, rule)
    if output_dir is not None:
        write_scores(output_dir, {name: parts[name] for name in scored}, logits)
    unscored = sum(int(np.isnan(found).sum()) for found in logits.values())
    judgement = replace(judged(scored, judge), unscored=unscored)
    if start is None:
        return judgement
    both = [name for name in scored if name in start.clips]
    differences = {name: compare(scored[name], judge, start.clips[name], start.judge) for name in both}
    base = Base(None, start.judge.threshold, judged(start.clips, start.judge).sets, differences)
    return replace(judgement, base=base, warnings=tuple(warnings_of(differences, list(outside or {}))))


def measure_base(
    score: Score, dataset: DatasetDict, stored: dict[str, Any] | None, outside: Mapping[str, Dataset] | None = None
) -> Start:
    """The start checkpoint, which is a detector, as it is, on the clips that the trained one will be judged on.

    Args:
        stored: the `detector` entry of its config; without a threshold there it is judged at fake_probability 0.5.
    """
    parts = {name: dataset[name] for name in JUDGED if name in dataset} | dict(outside or {})
    logits = {name: score(rows, f"{name}, before training") for name, rows in parts.items()}
    return Start(Judge.of_checkpoint(stored or {}) or Judge.by_default(), with_scores(parts, logits))


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
    unscored = sum(clips.unscored for clips in scored.values())
    return Judgement(judge.threshold, judge.decisions, sets, resamples=resamples, unscored=unscored)


def with_scores(parts: Mapping[str, Dataset], logits: Mapping[str, np.ndarray]) -> dict[str, ScoredClips]:
    """The sets of which some clip has a score.

    Args:
        parts: rows with the labels 0 real and 1 fake. logits: fake logits, shape (rows,), NaN for rows without a score.
    """
    found = {n: ScoredClips.of_rows(logits[n], np.asarray(rows["label"]), rows) for n, rows in parts.items()}
    return {name: clips for name, clips in found.items() if clips is not None}


def write_scores(folder: Path, parts: Mapping[str, Dataset], logits: Mapping[str, np.ndarray]) -> None:
    """scores_<set>.csv: one row a clip, in the dataset's order, with what is known of where it was cut from."""
    for name, rows in parts.items():
        _write_scores(folder / f"scores_{name.replace('/', '_')}.csv", rows, logits[name])


def _require_both_classes(validation: ScoredClips | None) -> None:
    heard = set() if validation is None else set(validation.labels.tolist())
    for label, name in enumerate(LABELS):
        if label not in heard:
            raise UserError(
                f"no {name} clip of the validation split can be scored (nobody speaks in them, they are shorter than "
                "half a second, or they cannot be decoded), so that no threshold can be chosen; build the dataset again"
            )


def _write_scores(path: Path, split: Dataset, scores: np.ndarray) -> None:
    names = split.features["label"].names
    columns = [c for c in ("source", "start_s", "duration_s", "generator") if c in split.column_names]
    meta = split.select_columns(columns) if columns else None
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "label", "fake_logit", "fake_probability"])
        for i, (label, score) in enumerate(zip(split["label"], scores, strict=True)):
            row = [meta[i][c] for c in columns] if meta else []
            known = [repr(float(score)), repr(fake_probability(float(score)))] if np.isfinite(score) else ["", ""]
            writer.writerow([*row, names[label], *known])
