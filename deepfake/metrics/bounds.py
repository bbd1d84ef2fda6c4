"""Upper confidence bounds on an error rate, from clips (exact) or from groups of clips (distribution-free)."""

from __future__ import annotations

import math

import numpy as np

from deepfake.metrics.checks import FloatArray, IntArray, check_fraction


def binomial_upper(failures: int, n: int, confidence: float) -> float:
    """One-sided Clopper-Pearson (1934) upper bound on a rate, after `failures` in `n` independent trials."""
    if failures >= n:
        return 1.0
    from scipy import stats  # takes a second to import, and only fitting needs it

    return float(stats.beta.ppf(confidence, failures + 1, n - failures))


def smallest_supporting_n(max_rate: float, confidence: float) -> int:
    """Independent error-free trials needed before a rate <= max_rate can be claimed: ln(1 - c) / ln(1 - max_rate).

    59 for 5 %, 299 for 1 % and 2,995 for 0.1 %, at 95 % confidence.
    """
    check_fraction(max_rate, "max_rate")
    check_fraction(confidence, "confidence")
    n = math.ceil(math.log1p(-confidence) / math.log1p(-max_rate) - 1e-9)
    return max(n, 1)


def mean_p_value(mean: FloatArray | float, n: int, rate: float) -> FloatArray:
    """P-values for "the mean of n independent variables in [0, 1] is above `rate`", one per observed mean.

    Hoeffding-Bentkus: the smaller of exp(-n KL(min(mean, rate) || rate)) and e P(Bin(n, rate) <= ceil(n mean))
    (Bates et al. 2021, "Distribution-free, risk-controlling prediction sets", prop. 4). At mean 0 it is (1 - rate)^n,
    the exact binomial value.
    """
    observed = np.minimum(np.asarray(mean, dtype=np.float64), rate)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(observed > 0, observed * np.log(observed / rate), 0.0)
        second = np.where(observed < 1, (1 - observed) * np.log((1 - observed) / (1 - rate)), 0.0)
    hoeffding = np.exp(-n * (first + second))
    from scipy.special import bdtr

    bentkus = math.e * bdtr(np.ceil(n * observed - 1e-9), n, rate)
    return np.minimum(np.minimum(hoeffding, bentkus), 1.0)


def mean_upper(mean: float, n: int, confidence: float) -> float:
    """Upper bound on the mean of n independent variables in [0, 1]: the rate at which `mean_p_value` is 1 - c."""
    low, high = mean, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        rejected = 0 < middle < 1 and mean_p_value(mean, n, middle) <= 1 - confidence
        low, high = (low, middle) if rejected else (middle, high)
    return high


def group_rate_curve(scores: FloatArray, codes: IntArray) -> tuple[FloatArray, FloatArray]:
    """Mean over groups of the share of their clips at or above each distinct score, loosest threshold last.

    Args:
        scores: shape (n,). codes: group number of each clip, shape (n,).

    Returns:
        (threshold, rate), each of shape (u,), thresholds descending.
    """
    _, codes, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), ranked.size - 1)
    share = 1.0 / (sizes[codes[order]] * sizes.size)
    return ranked[ends], np.minimum(np.cumsum(share)[ends], 1.0)
