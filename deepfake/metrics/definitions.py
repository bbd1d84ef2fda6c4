"""Metrics of a fake-speech detector, each with its definition. Fake is the positive class; higher scores are faker."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from deepfake.metrics.checks import check_both_classes, check_pair, check_probabilities
from deepfake.metrics.costs import ASVSPOOF5, CostModel, act_dcf, cllr, min_dcf
from deepfake.metrics.curves import det_walk, roc_counts

__all__ = [
    "ASVSPOOF5",
    "CostModel",
    "act_dcf",
    "brier_score",
    "cllr",
    "confusion_rates",
    "detection_metrics",
    "equal_error_rate",
    "expected_calibration_error",
    "interpolated_eer",
    "min_dcf",
    "pr_auc",
    "roc_auc",
]

Value = float | int | None


def equal_error_rate(scores: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Equal error rate as the ASVspoof tools compute it, and its threshold.

    Walk the clips one at a time from the most to the least fake-looking; take the first step where |FPR - FNR| is
    smallest; EER = (FPR + FNR) / 2 there (ASVspoof 2019/2021/5 evaluation packages, `compute_eer`, scores negated).
    Real clips come first within equal scores, so ties count against the detector: all scores equal gives 1.0. Use
    `interpolated_eer` for a value that ties cannot move.

    Args:
        scores: fake_score, shape (n,), any unit.
        labels: 0 real, 1 fake, shape (n,).

    Returns:
        (EER in [0, 1], threshold): the threshold is the score of a clip, and always finite.

    Raises:
        ValueError: bad scores or labels, or only one class.
    """
    s, y = check_pair(scores, labels)
    check_both_classes(y, "the equal error rate")
    fpr, fnr, thresholds = det_walk(s, y)
    step = int(np.argmin(np.abs(fpr - fnr)))
    return float(np.mean((fpr[step], fnr[step]))), float(thresholds[step])


def interpolated_eer(scores: ArrayLike, labels: ArrayLike) -> float:
    """Rate at which FPR = FNR on the ROC with straight lines between its points; ties are one point.

    All scores equal gives 0.5.

    Raises:
        ValueError: bad scores or labels, or only one class.
    """
    s, y = check_pair(scores, labels)
    check_both_classes(y, "the equal error rate")
    fp, tp, _ = roc_counts(s, y)
    fpr, tpr = fp / fp[-1], tp / tp[-1]
    gap = fpr + tpr - 1  # FPR - FNR: rises from -1 to 1 along the curve
    after = int(np.searchsorted(gap, 0.0))
    if gap[after] == 0:
        return float(fpr[after])
    part = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(fpr[after - 1] + part * (fpr[after] - fpr[after - 1]))


def roc_auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC: the chance that a random fake outscores a random real clip, ties counting half.

    The Mann-Whitney statistic over n_real n_fake (Hanley and McNeil 1982), from exact integer counts.

    Raises:
        ValueError: bad scores or labels, or only one class.
    """
    s, y = check_pair(scores, labels)
    check_both_classes(y, "ROC-AUC")
    fp, tp, _ = roc_counts(s, y)
    twice_wins = int((np.diff(fp) * (tp[1:] + tp[:-1])).sum())
    return twice_wins / (2 * int(fp[-1]) * int(tp[-1]))


def pr_auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision of the fake class: the sum over thresholds of (R_k - R_k-1) P_k, with no interpolation.

    The definition of scikit-learn's `average_precision_score`. It depends on the share of fakes in the data.

    Raises:
        ValueError: bad scores or labels, or no fake clip.
    """
    s, y = check_pair(scores, labels)
    if not y.any():
        raise ValueError(f"PR-AUC needs fake clips; all {y.size} clips found are real.")
    fp, tp, _ = roc_counts(s, y)
    precision = tp[1:] / (tp[1:] + fp[1:])
    return float((np.diff(tp) * precision).sum() / tp[-1])


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared distance of P(fake) from the label (Brier 1950, the two-class half form), 0 to 1.

    Raises:
        ValueError: bad labels, or probabilities outside [0, 1].
    """
    p, y = check_probabilities(probabilities, labels)
    return float(np.mean((p - y) ** 2))


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Mean gap between P(fake) and the share of fakes, over equal-width bins of P(fake) weighted by their clips.

    Naeini et al. 2015 (ECE) on the positive class; bin k holds k/bins <= p < (k+1)/bins, the last one also p = 1.

    Raises:
        ValueError: bad labels, probabilities outside [0, 1], or bins < 1.
    """
    p, y = check_probabilities(probabilities, labels)
    if bins < 1:
        raise ValueError(f"bins must be at least 1; found {bins}.")
    index = np.minimum((p * bins).astype(np.int64), bins - 1)
    gap = np.bincount(index, weights=p - y, minlength=bins)
    return float(np.abs(gap).sum() / p.size)


def confusion_rates(tp: float, tn: float, fp: float, fn: float) -> dict[str, Value]:
    """Every rate that follows from the four counts. A rate whose denominator is zero is None, never 0 or NaN."""
    n_real, n_fake = tn + fp, tp + fn
    tpr, tnr = _ratio(tp, n_fake), _ratio(tn, n_real)
    return {
        "accuracy": _ratio(tp + tn, n_real + n_fake),
        "balanced_accuracy": None if tpr is None or tnr is None else (tpr + tnr) / 2,
        "precision_real": _ratio(tn, tn + fn),
        "recall_real": tnr,
        "f1_real": _ratio(2 * tn, 2 * tn + fp + fn),
        "precision_fake": _ratio(tp, tp + fp),
        "recall_fake": tpr,
        "f1_fake": _ratio(2 * tp, 2 * tp + fp + fn),
        "tpr": tpr,
        "tnr": tnr,
        "fpr": _ratio(fp, n_real),
        "fnr": _ratio(fn, n_fake),
    }


def detection_metrics(
    scores: ArrayLike, labels: ArrayLike, threshold: float, probabilities: ArrayLike | None = None
) -> dict[str, Value]:
    """All the metrics of one set of clips at one fixed threshold.

    Args:
        scores: fake_score, shape (n,), any unit.
        labels: 0 real, 1 fake, shape (n,).
        threshold: a clip is called fake when its score >= threshold; same unit as the scores.
        probabilities: P(fake) in [0, 1], shape (n,); with it `brier` and `ece` are added.

    Returns:
        roc_auc, eer, eer_threshold, pr_auc, the rates of `confusion_rates`, and the counts tp, tn, fp, fn, n, n_real,
        n_fake. A metric that the data do not define is None: roc_auc, eer, eer_threshold, pr_auc and balanced_accuracy
        with one class only; any ratio with a zero denominator.

    Raises:
        ValueError: scores NaN, infinite or empty; lengths that differ; labels outside {0, 1}; threshold NaN.
    """
    s, y = check_pair(scores, labels)
    if math.isnan(threshold):
        raise ValueError("threshold is NaN; pass the operating point chosen on validation.")
    called_fake = s >= threshold
    n_fake = int(y.sum())
    tp = int(np.count_nonzero(called_fake & (y == 1)))
    fp = int(np.count_nonzero(called_fake)) - tp
    tn, fn = y.size - n_fake - fp, n_fake - tp
    counts: dict[str, Value] = {"tp": tp, "tn": tn, "fp": fp, "fn": fn}
    counts |= {"n": y.size, "n_real": y.size - n_fake, "n_fake": n_fake}
    result = _ranking_metrics(s, y) | confusion_rates(tp, tn, fp, fn) | counts
    if probabilities is not None:
        result["brier"] = brier_score(probabilities, y)
        result["ece"] = expected_calibration_error(probabilities, y)
    return result


def _ranking_metrics(scores: ArrayLike, labels: np.ndarray) -> dict[str, Value]:
    if labels.min() == labels.max():
        return {"roc_auc": None, "eer": None, "eer_threshold": None, "pr_auc": None}
    eer, threshold = equal_error_rate(scores, labels)
    return {
        "roc_auc": roc_auc(scores, labels),
        "eer": eer,
        "eer_threshold": threshold,
        "pr_auc": pr_auc(scores, labels),
    }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
