"""What can be said when no resample differs: a perfect (or perfectly wrong) result is not a certain one.

A group is one trial. If none of n independent groups showed an error, the chance that a new group shows one is at
most 1 - tail^(1/n) (Clopper and Pearson 1934). When the metric depends on both classes the tail is split between
them, and the metric takes the value it has when both error rates reach their bounds.
"""

from __future__ import annotations

import math

from deepfake.metrics.costs import ASVSPOOF5
from deepfake.metrics.definitions import confusion_rates

ONE_CLASS = ("tnr", "fpr", "recall_real", "tpr", "fnr", "recall_fake")
_RANKING = ("roc_auc", "eer", "min_dcf", "pr_auc")
LOW_IS_GOOD = ("eer", "fpr", "fnr", "min_dcf")


def unseen_rate(name: str, n_groups: int, confidence: float) -> float:
    """Largest rate of an event that none of `n_groups` groups showed; the tail is split where two classes matter."""
    tail = (1 - confidence) / (2 if name in ONE_CLASS else 4)
    return 1 - tail ** (1 / n_groups)


def bound_when_constant(
    name: str,
    point: float,
    counts: tuple[float, float, float, float],
    n_groups: int,
    confidence: float,
    largest: float = 1.0,
) -> tuple[float, float]:
    """Interval (low, high) around a metric that sits at 0 or at the largest value it can take.

    Args:
        name: the metric. point: its value. counts: (tp, tn, fp, fn) at the threshold.
        n_groups: independent groups in the class that has fewer.
        largest: of a mean of losses per clip (any metric not named in this module) the value at the worst losses.
    """
    rate = unseen_rate(name, n_groups, confidence)
    if name not in (*_RANKING, *confusion_rates(1, 1, 1, 1)):
        other = rate * largest if point == 0 else largest - rate * largest
        return min(point, other), max(point, other)
    perfect = point == (0.0 if name in LOW_IS_GOOD else 1.0)
    other = _ranking_bound(name, rate, perfect, counts)
    if other is None:
        other = _rate_bound(name, rate, perfect, counts)
    return min(point, other), max(point, other)


def _ranking_bound(name: str, rate: float, perfect: bool, counts: tuple[float, float, float, float]) -> float | None:
    """FPR <= rate and TPR >= 1 - rate at one threshold bound the whole ROC from below; mirrored when all wrong."""
    if name == "roc_auc":
        return (1 - rate) ** 2 if perfect else 1 - (1 - rate) ** 2
    if name == "eer":
        return rate if perfect else 1 - rate
    if name == "min_dcf":
        worst = (ASVSPOOF5.weight_miss + ASVSPOOF5.weight_false_accept) * rate / ASVSPOOF5.normaliser
        return min(worst, 1.0) if perfect else 0.0
    if name == "pr_auc":
        return _worst_average_precision(rate, counts) if perfect else 0.0
    return None


def _worst_average_precision(rate: float, counts: tuple[float, float, float, float]) -> float:
    """Average precision when a share `rate` of the real clips outscores every fake, and as many fakes come last."""
    tp, tn, fp, fn = counts
    ahead, found = rate * (tn + fp), (1 - rate) * (tp + fn)
    if ahead == 0:
        return 1.0
    return max(found - ahead * math.log1p(found / ahead), 0.0) / (tp + fn)


def _rate_bound(name: str, rate: float, perfect: bool, counts: tuple[float, float, float, float]) -> float:
    """The metric after moving the share `rate` of each class whose count is zero across the threshold."""
    tp, tn, fp, fn = counts
    n_real, n_fake = tn + fp, tp + fn
    if perfect:
        fp, fn = fp or rate * n_real, fn or rate * n_fake
    else:
        fp, fn = n_real - (tn or rate * n_real), n_fake - (tp or rate * n_fake)
    value = confusion_rates(n_fake - fn, n_real - fp, fp, fn)[name]
    return math.nan if value is None else value
