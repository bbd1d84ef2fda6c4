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
    """Share of fakes against P(fake) per tenth; calibrated where a calibration is stored, weighting classes alike.

    The calibration is to likelihood ratios, so its P(fake) is for as many fakes as real clips; the clips are counted
    with weights that make the two classes equal. Without a calibration the detector's own probability is used as is.
    """
    calibrated = judge.decisions is not None
    p = judge.decisions.calibration.probability(clips.scores) if calibrated else judge.probabilities(clips.scores)
    if p is None or not 0 < clips.labels.sum() < len(clips):
        return None
    index = np.minimum((p * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    share_fake = float(clips.labels.mean())
    weight = (
        np.where(clips.labels == 1, 0.5 / share_fake, 0.5 / (1 - share_fake)) if calibrated else np.ones(len(clips))
    )
    bins = []
    for k in range(RELIABILITY_BINS):
        mine = index == k
        n = int(mine.sum())
        if not n:
            continue
        total = float(weight[mine].sum())
        fake = float((weight * clips.labels)[mine].sum()) / total
        ends = binomial_interval(int(round(fake * n)), n)
        bins.append(
            {"p": float((weight * p)[mine].sum()) / total, "fake": fake, "n": n, "low": ends.low, "high": ends.high}
        )
    return {"calibrated": calibrated, "bins": bins}
