"""What held-out generators, channels and left-out recordings say, as it goes into results.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from evaluation.intervals import bootstrap_intervals
from evaluation.metrics import detection_metrics
from training.clip_table import ClipTable
from training.convex import FAKE, REAL
from training.statistics import MEASURED

_REPORTED = ("roc_auc", "recall_real", "recall_fake")
_RESAMPLES = 1000

Scores = dict[str, np.ndarray]  # channel -> (rows,)


def by_family(table: ClipTable, scores: Scores, unpaired: Scores | None) -> dict[str, Any]:
    """Each generator family against the real clips of its fold, when neither was fitted on.

    Returns:
        {"rows": [{"family", "clips", channel: {"value", "low", "high"}, channel + " without pairs": value}],
        "mean": {the same keys: value}}; the mean is over families.
    """
    rows = []
    for family in sorted({str(k) for k in table.clips.kind[table.clips.label == FAKE]}):
        member = (table.clips.label == FAKE) & (table.clips.kind == family) & ~np.isnan(scores[MEASURED[0]])
        if not member.any():
            continue
        folds = np.unique(table.fold[member])
        real = (table.clips.label == REAL) & np.isin(table.fold, folds) & ~np.isnan(scores[MEASURED[0]])
        row: dict[str, Any] = {"family": family, "clips": int(member.sum())}
        for channel in MEASURED:
            row[channel] = judged(table, scores[channel], member | real, 0.0)["roc_auc"]
            if unpaired is not None:
                row[f"{channel} without pairs"] = judged(table, unpaired[channel], member | real, 0.0, False)["roc_auc"]
        rows.append(row)
    keys = [key for key in rows[0] if key not in ("family", "clips")]
    return {"rows": rows, "mean": {key: float(np.mean([row[key]["value"] for row in rows])) for key in keys}}


def by_channel(table: ClipTable, scores: Scores, rows: np.ndarray, threshold: float) -> dict[str, Any]:
    """Each channel's metrics over the masked `rows` at `threshold`."""
    rows = rows & ~np.isnan(scores[MEASURED[0]])
    return {
        "real": int((rows & (table.clips.label == REAL)).sum()),
        "fake": int((rows & (table.clips.label == FAKE)).sum()),
        **{channel: judged(table, scores[channel], rows, threshold) for channel in MEASURED},
    }


def without_published(table: ClipTable, scores: Scores, published: Sequence[str], threshold: float) -> dict[str, Any]:
    """What heads that met no published sample say of these.

    Returns:
        "families": as `by_family` gives, of the published ones alone; "pooled": their fakes against all real clips.
    """
    heard = (table.clips.label == REAL) | np.isin(table.clips.kind, published)
    alone = {channel: np.where(heard, values, np.nan) for channel, values in scores.items()}
    return {
        "families": by_family(table, alone, None),
        "pooled": by_channel(table, alone, np.ones(len(table), dtype=bool), threshold),
    }


def worst_false_alarms(table: ClipTable, scores: Scores, threshold: float) -> dict[str, Any]:
    """The fold and channel in which most real clips would be called fake."""
    found = []
    for channel in MEASURED:
        for fold in np.unique(table.fold):
            real = (table.clips.label == REAL) & (table.fold == fold) & ~np.isnan(scores[channel])
            if real.any():
                share = float((scores[channel][real] >= threshold).mean())
                found.append({"fold": int(fold) + 1, "channel": channel, "rate": share, "clips": int(real.sum())})
    return max(found, key=lambda one: one["rate"])


def by_generator(table: ClipTable, scores: Scores, rows: np.ndarray) -> list[dict[str, Any]]:
    """ROC-AUC of each generator among the masked `rows` against all real clips among them."""
    real = rows & (table.clips.label == REAL)
    names = np.array([g or "unknown" for g in table.rows["generator"]])
    found = []
    for name in sorted(set(names[rows & ~real])):
        member = rows & (names == name) & (table.clips.label == FAKE)
        row = {"generator": str(name), "clips": int(member.sum())}
        found.append(row | {c: judged(table, scores[c], member | real, 0.0)["roc_auc"] for c in MEASURED})
    return found


def judged(
    table: ClipTable, scores: np.ndarray, rows: np.ndarray, threshold: float, with_intervals: bool = True
) -> dict[str, dict[str, float | None]]:
    """ROC-AUC and the recalls with 95 % intervals that resample speakers and voices."""
    labels, groups = table.clips.label[rows], table.clips.speaker[rows]
    metrics = detection_metrics(scores[rows], labels, threshold)
    if not with_intervals:
        return {name: {"value": metrics[name], "low": None, "high": None} for name in _REPORTED}
    intervals = bootstrap_intervals(scores[rows], labels, groups, threshold, metrics=_REPORTED, resamples=_RESAMPLES)
    bounds = {name: asdict(interval) for name, interval in intervals.items()}
    return {
        name: {"value": metrics[name], "low": bounds[name]["low"], "high": bounds[name]["high"]} for name in _REPORTED
    }
