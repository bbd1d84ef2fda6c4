"""The points that the report's pictures are drawn from, few enough to be kept in report.json."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfake.judging.clips import ScoredClips
from deepfake.metrics.checks import FloatArray
from deepfake.metrics.curves import roc_counts
from deepfake.metrics.intervals import Estimate, binomial_interval
from deepfake.metrics.strength import EvidenceScale

MOST_POINTS = 400
TIPPETT_POINTS = 200
HISTOGRAM_BINS = 40
RELIABILITY_BINS = 10


@dataclass(frozen=True)
class Roc:
    """The ROC: real clips called fake and fakes found at falling thresholds."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall of fakes at falling thresholds."""

    recall: tuple[float, ...]
    precision: tuple[float, ...]


@dataclass(frozen=True)
class Histogram:
    """Clips of each class per bin of the score; `edges` has one entry more than there are bins."""

    edges: tuple[float, ...]
    real: tuple[int, ...]
    fake: tuple[int, ...]


@dataclass(frozen=True)
class ReliabilityBin:
    """Clips of about one P(fake): how many, their mean `p`, and the share of them that is fake."""

    p: float
    n: int
    fake: Estimate


@dataclass(frozen=True)
class Reliability:
    """Share of fakes against P(fake), which is calibrated or the detector's own."""

    calibrated: bool
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class Tippett:
    """Shares of the clips of a class whose ratio is `log10_lr` or more, at rising ratios; none of them is capped.

    low, high: log10 of the limits within which anything is said.
    """

    log10_lr: tuple[float, ...]
    real: tuple[float, ...]
    fake: tuple[float, ...]
    low: float
    high: float


@dataclass(frozen=True)
class Series:
    """The points that pictures are drawn from; None where one class is missing."""

    roc: Roc | None
    precision_recall: PrecisionRecall | None
    histogram: Histogram
    reliability: Reliability | None
    tippett: Tippett | None = None


def series(
    clips: ScoredClips,
    threshold: float,
    probabilities: FloatArray | None,
    calibrated: bool,
    scale: EvidenceScale | None = None,
) -> Series:
    """ROC, precision and recall, histogram of scores, and reliability.

    Args:
        threshold: in the unit of the scores.
        probabilities: P(fake) of each clip, shape (clips,), for the reliability; None where the scores give none.
        calibrated: whether they are those of a stored calibration, at the share of fakes in this set.
        scale: from scores to likelihood ratios; None where they give none.
    """
    both = 0 < clips.labels.sum() < len(clips)
    return Series(
        roc=_roc(clips) if both else None,
        precision_recall=_precision_recall(clips) if both else None,
        histogram=_histogram(clips, threshold),
        reliability=_reliability(clips, probabilities, calibrated) if both and probabilities is not None else None,
        tippett=_tippett(clips, scale) if both and scale is not None else None,
    )


def _roc(clips: ScoredClips) -> Roc:
    fp, tp, _ = roc_counts(clips.scores, clips.labels)
    kept = _thinned(fp.size)
    return Roc(tuple((fp[kept] / fp[-1]).tolist()), tuple((tp[kept] / tp[-1]).tolist()))


def _precision_recall(clips: ScoredClips) -> PrecisionRecall:
    fp, tp, _ = roc_counts(clips.scores, clips.labels)
    kept = _thinned(fp.size - 1) + 1
    precision = tp[kept] / (tp[kept] + fp[kept])
    return PrecisionRecall(tuple((tp[kept] / tp[-1]).tolist()), tuple(precision.tolist()))


def _thinned(n: int) -> np.ndarray:
    """At most `MOST_POINTS` of n positions, the first and the last always."""
    return np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).astype(np.int64))


def _histogram(clips: ScoredClips, threshold: float) -> Histogram:
    finite = [threshold] if np.isfinite(threshold) else []
    low = min([float(clips.scores.min()), *finite])
    high = max([float(clips.scores.max()), *finite])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    real, fake = (tuple(np.histogram(clips.scores[clips.labels == label], edges)[0].tolist()) for label in (0, 1))
    return Histogram(tuple(edges.tolist()), real, fake)


def _reliability(clips: ScoredClips, p: FloatArray, calibrated: bool) -> Reliability:
    """Share of fakes against P(fake) per tenth, with the exact binomial interval that takes clips as independent."""
    index = np.minimum((p * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    bins = []
    for k in np.unique(index):
        mine = index == k
        n, fake = int(mine.sum()), int(clips.labels[mine].sum())
        bins.append(ReliabilityBin(float(p[mine].mean()), n, binomial_interval(fake, n)))
    return Reliability(calibrated, tuple(bins))


def _tippett(clips: ScoredClips, scale: EvidenceScale) -> Tippett:
    llr, limits = scale.calibration.llr(clips.scores), scale.limits
    places = np.linspace(float(llr.min()), float(llr.max()), TIPPETT_POINTS)
    shares = []
    for label in (0, 1):
        mine = np.sort(llr[clips.labels == label])
        shares.append(tuple((1 - np.searchsorted(mine, places, "left") / mine.size).tolist()))
    to_log10 = 1 / np.log(10)
    return Tippett(tuple((places * to_log10).tolist()), *shares, limits.lowest * to_log10, limits.highest * to_log10)
