"""What a threshold and a calibration lose on clips from elsewhere, against the best that these clips allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import isotonic_regression
from scipy.special import logit

from deepfake.metrics.checks import check_both_classes, check_pair, group_codes
from deepfake.metrics.costs import cllr
from deepfake.metrics.intervals import Estimate, few_groups_warning
from deepfake.metrics.resampling import GroupDesign, RankedScores, weighted_metrics
from deepfake.metrics.spread import leave_one_out, standard_error

_MARGINS = ("balanced_accuracy", "eer")
_LARGEST_LLR = 700.0  # nats; stands for infinity, where PAV finds clips of one class only


@dataclass(frozen=True)
class Transfer:
    """One set's loss by decisions that were fixed elsewhere.

    Attributes:
        hter: half total error rate at the fixed threshold. eer: equal error rate, at the set's own threshold.
        excess: hter minus eer, what the threshold loses by coming from elsewhere.
        calibration_drift: Cllr of the stored calibration minus the least that any calibration could reach here (PAV),
            in bits; None without a calibration.
    """

    hter: float
    eer: float
    excess: Estimate
    calibration_drift: float | None = None


def threshold_transfer(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[Any] | None,
    threshold: float,
    llr: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Transfer:
    """HTER at a fixed threshold minus the EER of the same clips, with a t interval from the group bootstrap.

    HTER (Bengio and Mariethoz 2004) is the mean of real clips called fake and fakes missed. The excess can be slightly
    below 0, since the least HTER of any threshold is at most the EER.

    Args:
        scores: higher = fake, shape (n,). labels: 0 real, 1 fake, shape (n,). groups: shape (n,), or None.
        llr: ratios of the stored calibration in nats, shape (n,); None without one.

    Raises:
        ValueError: bad scores or labels, or only one class.
    """
    s, y = check_pair(scores, labels)
    check_both_classes(y, "the transfer of a threshold")
    codes = group_codes(groups, s.size)
    design, ranked = GroupDesign.of(y, codes), RankedScores(s, y, codes, threshold)
    hter, eer = _margins(weighted_metrics(ranked.totals(np.ones(design.n_groups, dtype=np.int64)), _MARGINS))
    drift = None if llr is None else cllr(llr, y) - min_cllr(s, y)
    n_groups = min(design.n_real, design.n_fake)
    if n_groups < 2:
        few = f"{n_groups} independent group of a class: no interval without two or more."
        return Transfer(hter, eer, Estimate(hter - eer, n_groups=n_groups, warning=few), drift)
    rng = np.random.default_rng(seed)
    drawn = np.array([_excess(weighted_metrics(ranked.totals(w), _MARGINS)) for w in design.draw(rng, resamples)])
    left_out = [_excess(values.T) for values in leave_one_out(ranked, design, _MARGINS, rng)]
    error, freedom = standard_error(drawn, left_out, design.strata)
    half = float(stats.t.ppf(0.975, freedom)) * error
    warning = few_groups_warning(n_groups, "groups in a class")
    found = Estimate(hter - eer, hter - eer - half, hter - eer + half, n_groups, "group bootstrap, t", warning)
    if error == 0:
        found = Estimate(hter - eer, n_groups=n_groups, warning="no resample moves it: its spread cannot be estimated.")
    return Transfer(hter, eer, found, drift)


def min_cllr(scores: ArrayLike, labels: ArrayLike) -> float:
    """The least Cllr of any calibration that keeps the order, in bits (Brummer and du Preez 2006, by PAV).

    Raises:
        ValueError: bad scores or labels, or only one class.
    """
    s, y = check_pair(scores, labels)
    check_both_classes(y, "the least Cllr")
    distinct, place = np.unique(s, return_inverse=True)
    clips = np.bincount(place)
    share = isotonic_regression(np.bincount(place, weights=y) / clips, weights=clips).x
    with np.errstate(divide="ignore"):
        ratios = logit(np.clip(share, 0, 1)) - logit(y.mean())
    return cllr(np.clip(ratios, -_LARGEST_LLR, _LARGEST_LLR)[place], y)


def _margins(values: Sequence[float]) -> tuple[float, float]:
    balanced_accuracy, eer = values
    return 1 - balanced_accuracy, eer


def _excess(values: Any) -> Any:
    hter, eer = _margins(values)
    return hter - eer
