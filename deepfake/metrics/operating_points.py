"""Where to put the threshold, chosen on validation, and what that choice can promise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepfake.metrics.bounds import binomial_upper, group_rate_curve, mean_p_value, mean_upper, smallest_supporting_n
from deepfake.metrics.checks import FloatArray, IntArray, check_both_classes, check_fraction, check_pair, group_codes
from deepfake.metrics.costs import ASVSPOOF5, CostModel
from deepfake.metrics.curves import roc_counts

RULES = ("balanced_accuracy", "eer", "fpr", "bayes")
MARGIN = 1e-3  # how far above the highest score a threshold goes that calls nothing fake


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, the rule that chose it, and what was seen on the clips it was chosen on.

    `threshold` has the unit of the scores it was chosen on; a clip is fake when its score >= threshold. `fpr_upper`
    bounds the false-positive rate from above at one-sided `confidence`: over clips (exact binomial) without groups,
    over the average group with them. It is a promise only for rule "fpr" when `supported`; elsewhere the threshold
    was tuned on the same clips, and the bound only describes them. `measured_on` says which clips the rates are of,
    where they are not those it was chosen on; from `real_below` to `threshold` the answer is "uncertain".
    """

    name: str
    threshold: float
    rule: str
    fpr: float
    fnr: float
    fpr_upper: float
    confidence: float
    n_real: int
    n_fake: int
    n_real_groups: int
    max_fpr: float | None = None
    supported: bool = True
    note: str | None = None
    measured_on: str | None = None
    real_below: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, one key per field; `measured_on` as "set", and of the last two only what there is."""
        values = asdict(self)
        told = {"set": values.pop("measured_on"), "real_below": values.pop("real_below")}
        return values | {key: value for key, value in told.items() if value is not None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> OperatingPoint:
        """Rebuild from `to_dict`. Raises TypeError on unknown or missing keys."""
        return cls(**{"measured_on" if key == "set" else key: value for key, value in values.items()})


def choose_threshold(
    scores: ArrayLike,
    labels: ArrayLike,
    rule: str = "balanced_accuracy",
    *,
    max_fpr: float | None = None,
    confidence: float = 0.95,
    groups: Sequence[Any] | None = None,
    costs: CostModel = ASVSPOOF5,
    name: str | None = None,
) -> OperatingPoint:
    """Choose a threshold on validation clips.

    Rules:
        balanced_accuracy: the highest mean of TPR and TNR (Youden 1950).
        eer: the smallest |FPR - FNR|, and among those the smallest FPR + FNR.
        fpr: the lowest threshold whose true FPR is <= `max_fpr` with `confidence`. Without `groups` the real clips
            count as independent (Neyman-Pearson umbrella: Tong, Feng and Li 2018); with them, the promise is for the
            average group (Hoeffding-Bentkus, fixed sequence: Bates et al. 2021). When too few clips or groups exist
            the point is returned with `supported=False`, at the lowest threshold above every real clip.
        bayes: the threshold that `costs` sets; the scores must be calibrated log-likelihood ratios.

    The first two put the threshold midway between the scores where the decisions would change, so perfectly
    separated classes get the middle of the gap.

    Args:
        scores: fake_score, shape (n,). labels: 0 real, 1 fake, shape (n,).
        groups: the recording, speaker or generator each clip came from, shape (n,).

    Raises:
        ValueError: bad input, one class only, an unknown rule, or rule "fpr" without `max_fpr` in (0, 1).
    """
    s, y = check_pair(scores, labels)
    check_both_classes(y, "choosing a threshold")
    check_fraction(confidence, "confidence")
    codes = group_codes(groups, s.size)[y == 0]
    grouped = _count(codes) < codes.size
    notes: dict[str, Any] = {}
    if rule == "balanced_accuracy":
        threshold = _best_cut(s, y, lambda fp, tp: fp[-1] * tp - tp[-1] * fp)
    elif rule == "eer":
        threshold = _best_cut(s, y, _closeness_to_eer)
    elif rule == "bayes":
        threshold = costs.bayes_threshold
    elif rule == "fpr":
        if max_fpr is None:
            raise ValueError('rule "fpr" needs max_fpr, for example 0.01 for one false alarm in a hundred real clips.')
        check_fraction(max_fpr, "max_fpr")
        threshold, notes = _threshold_for_fpr(s, y, codes, grouped, max_fpr, confidence)
    else:
        raise ValueError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}.")
    point_name = name or (f"fpr_{max_fpr:g}" if rule == "fpr" else rule)
    seen = _describe(s, y, codes, grouped, threshold, confidence)
    return OperatingPoint(name=point_name, threshold=threshold, rule=rule, confidence=confidence, **seen, **notes)


def standard_operating_points(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[Any] | None = None,
    max_fprs: Sequence[float] = (0.05, 0.01, 0.001),
    confidence: float = 0.95,
) -> tuple[OperatingPoint, ...]:
    """The balanced-accuracy and EER points and one point per FPR limit. Arguments and errors as `choose_threshold`."""
    plain = [
        choose_threshold(scores, labels, rule, groups=groups, confidence=confidence)
        for rule in ("balanced_accuracy", "eer")
    ]
    limited = [
        choose_threshold(scores, labels, "fpr", max_fpr=limit, groups=groups, confidence=confidence)
        for limit in max_fprs
    ]
    return (*plain, *limited)


def _closeness_to_eer(fp: IntArray, tp: IntArray) -> IntArray:
    """Score each cut in whole numbers: |FPR - FNR| first, then FPR + FNR, so that float dust decides nothing."""
    n_real, n_fake = int(fp[-1]), int(tp[-1])
    gap = np.abs(fp * n_fake - (n_fake - tp) * n_real)
    best = gap.min()
    total = fp * n_fake + (n_fake - tp) * n_real
    return np.where(gap == best, -total, np.iinfo(np.int64).min)


def _best_cut(s: FloatArray, y: IntArray, objective: Any) -> float:
    """The middle of the widest score interval on which `objective(fp, tp)` is at its maximum."""
    fp, tp, thresholds = roc_counts(s, y)
    value = objective(fp, tp)
    best = np.flatnonzero(value == value.max())
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    edges = np.append(thresholds, thresholds[-1])  # cut k holds for thresholds in (edges[k + 1], edges[k]]
    edges[0] = _just_above(thresholds[1])
    low, high = max(((edges[run[-1] + 1], edges[run[0]]) for run in runs), key=lambda edge: edge[1] - edge[0])
    return _midpoint(float(low), float(high))


def _midpoint(low: float, high: float) -> float:
    """A threshold in (low, high], the middle where floats allow; halving first cannot overflow."""
    middle = low / 2 + high / 2
    return middle if low < middle <= high else high


def _just_above(score: float) -> float:
    return max(score + MARGIN, math.nextafter(score, math.inf))


def _threshold_for_fpr(
    s: FloatArray, y: IntArray, codes: IntArray, grouped: bool, max_fpr: float, confidence: float
) -> tuple[float, dict[str, Any]]:
    real = s[y == 0]
    threshold = lowest_safe_threshold(real, codes if grouped else None, max_fpr, confidence)
    if threshold is not None:
        above_all = threshold > real.max()
        return (_above_all(real, s[y == 1]) if above_all else threshold), {"max_fpr": max_fpr}
    needed = smallest_supporting_n(max_fpr, confidence)
    unit = "independent groups of real clips" if grouped else "real clips"
    n = _count(codes) if grouped else real.size
    note = f"not supported by n: {n} {unit} found, at least {needed} needed to promise FPR <= {max_fpr:g}"
    return _above_all(real, s[y == 1]), {"max_fpr": max_fpr, "supported": False, "note": note}


def lowest_safe_threshold(
    scores: FloatArray, codes: IntArray | None, max_rate: float, confidence: float
) -> float | None:
    """Lowest threshold below which a fresh score falls with chance >= 1 - max_rate, promised with `confidence`.

    The promise is about the draw of the scores: over repeated draws, at most a share 1 - confidence of the returned
    thresholds break it. Without `codes` all scores are independent; with them, groups are, and the rate is that of the
    average group. None when no threshold can be promised.

    Args:
        scores: one class's scores, shape (n,), oriented so that a high one is the error.
        codes: group number per score, shape (n,), or None.
    """
    if codes is not None and _count(codes) == scores.size:
        codes = None  # one clip per group: the exact binomial bound applies
    n = scores.size if codes is None else _count(codes)
    if smallest_supporting_n(max_rate, confidence) > n:
        return None
    thresholds, rate = group_rate_curve(scores, np.arange(n) if codes is None else codes)
    if codes is None:
        from scipy.special import bdtr  # late: reading stored points needs no scipy

        p_value = bdtr(np.rint(rate * n), n, max_rate)  # inverting it is the Clopper-Pearson bound
    else:
        p_value = mean_p_value(rate, n, max_rate)
    passing = p_value <= 1 - confidence
    if passing.all():
        return float(thresholds[-1])
    failing = int(np.argmin(passing))
    below = float(thresholds[failing])
    return _midpoint(below, float(thresholds[failing - 1])) if failing else _just_above(below)


def _count(codes: IntArray) -> int:
    return int(np.unique(codes).size)


def _above_all(real: FloatArray, fake: FloatArray) -> float:
    """Lowest sensible threshold that no real clip reaches: midway to the next fake clip where there is one."""
    top = float(real.max())
    higher = fake[fake > top]
    return _midpoint(top, float(higher.min())) if higher.size else _just_above(top)


def _describe(
    s: FloatArray, y: IntArray, codes: IntArray, grouped: bool, threshold: float, confidence: float
) -> dict[str, Any]:
    """Rates and counts seen at the threshold. The upper bound is over groups when the clips have groups."""
    false_alarm = (s[y == 0] >= threshold).astype(np.float64)
    n_groups = _count(codes)
    if grouped:
        sizes = np.bincount(codes)
        per_group = np.bincount(codes, weights=false_alarm)[sizes > 0] / sizes[sizes > 0]
        upper = mean_upper(float(per_group.mean()), n_groups, confidence)
    else:
        upper = binomial_upper(int(false_alarm.sum()), false_alarm.size, confidence)
    return {
        "fpr": float(false_alarm.mean()),
        "fnr": float((s[y == 1] < threshold).mean()),
        "fpr_upper": upper,
        "n_real": int(false_alarm.size),
        "n_fake": int(y.sum()),
        "n_real_groups": n_groups,
    }
