"""The points that the report's pictures are drawn from, few enough to be kept in report.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.clips import ScoredClips
from evaluation.curves import roc_counts
from evaluation.intervals import binomial_interval

if TYPE_CHECKING:
    from evaluation.measure import Judge

MOST_POINTS = 400
HISTOGRAM_BINS = 40
RELIABILITY_BINS = 10


def series(clips: ScoredClips, judge: Judge) -> dict[str, Any]:
    """ROC (fpr, tpr), precision-recall, histogram of scores per class, and reliability; None where undefined."""
    both = 0 < clips.labels.sum() < len(clips)
    return {
        "roc": _roc(clips) if both else None,
        "precision_recall": _precision_recall(clips) if both else None,
        "histogram": _histogram(clips, judge.threshold),
        "reliability": _reliability(clips, judge),
    }


def _roc(clips: ScoredClips) -> dict[str, list[float]]:
    fp, tp, _ = roc_counts(clips.scores, clips.labels)
    kept = _thinned(fp.size)
    return {"fpr": (fp[kept] / fp[-1]).tolist(), "tpr": (tp[kept] / tp[-1]).tolist()}


def _precision_recall(clips: ScoredClips) -> dict[str, list[float]]:
    fp, tp, _ = roc_counts(clips.scores, clips.labels)
    kept = _thinned(fp.size - 1) + 1
    precision = tp[kept] / (tp[kept] + fp[kept])
    return {"recall": (tp[kept] / tp[-1]).tolist(), "precision": precision.tolist()}


def _thinned(n: int) -> np.ndarray:
    """At most `MOST_POINTS` of n positions, the first and the last always."""
    return np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).astype(np.int64))


def _histogram(clips: ScoredClips, threshold: float) -> dict[str, list[float]]:
    finite = [threshold] if np.isfinite(threshold) else []
    low = min([float(clips.scores.min()), *finite])
    high = max([float(clips.scores.max()), *finite])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    counts = [np.histogram(clips.scores[clips.labels == label], edges)[0].tolist() for label in (0, 1)]
    return {"edges": edges.tolist(), "real": counts[0], "fake": counts[1]}


def _reliability(clips: ScoredClips, judge: Judge) -> dict[str, Any] | None:
    """Share of fakes against P(fake) per tenth, with the exact binomial interval that takes clips as independent.

    With a stored calibration, P(fake) is its ratio at the share of fakes in this set; without one, the detector's own.
    """
    n_fake = int(clips.labels.sum())
    if not 0 < n_fake < len(clips):
        return None
    calibrated = judge.decisions is not None
    if judge.decisions is not None:
        p = judge.decisions.calibration.probability(clips.scores, n_fake / len(clips))
    else:
        p = judge.probabilities(clips.scores)
    if p is None:
        return None
    index = np.minimum((p * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    bins = []
    for k in np.unique(index):
        mine = index == k
        n, fake = int(mine.sum()), int(clips.labels[mine].sum())
        ends = binomial_interval(fake, n)
        bins.append({"p": float(p[mine].mean()), "fake": fake / n, "n": n, "low": ends.low, "high": ends.high})
    return {"calibrated": calibrated, "bins": bins}
