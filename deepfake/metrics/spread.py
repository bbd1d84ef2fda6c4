"""From resamples to a standard error and the degrees of freedom that its t interval deserves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from deepfake.metrics.checks import FloatArray, IntArray
from deepfake.metrics.resampling import GroupDesign, Reweighted, weighted_metrics

MOST_LEFT_OUT = 500  # groups left out per stratum; more would refine only a weight between the strata


def leave_one_out(
    ranked: Reweighted, design: GroupDesign, metrics: tuple[str, ...], rng: np.random.Generator
) -> tuple[FloatArray, ...]:
    """Metrics without one group at a time, per stratum: shape (min(groups, 500), len(metrics)) each.

    A stratum of more than 500 groups is sampled.
    """
    weights = np.ones(design.n_groups, dtype=np.int64)
    result = []
    for stratum in design.strata:
        chosen = stratum if stratum.size <= MOST_LEFT_OUT else rng.choice(stratum, MOST_LEFT_OUT, replace=False)
        rows = []
        for group in chosen:
            weights[group] = 0
            rows.append(weighted_metrics(ranked.totals(weights), metrics))
            weights[group] = 1
        result.append(np.array(rows))
    return tuple(result)


def standard_error(drawn: FloatArray, left_out: list[FloatArray], strata: tuple[IntArray, ...]) -> tuple[float, float]:
    """Standard error of one metric and its degrees of freedom.

    The resamples give the variance. The jackknife says how the variance splits between the strata, and how unevenly the
    groups of a stratum carry it, which gives the degrees of freedom (Satterthwaite 1946). A few groups that carry all
    the errors count as few, however many groups made none. docs/evaluate.md sets out the formulas.

    Args:
        drawn: the metric in each resample, shape (resamples,); NaN where undefined.
        left_out: the metric without each (sampled) group, one array per stratum.
        strata: group numbers per stratum.
    """
    finite = drawn[np.isfinite(drawn)]
    if finite.size < 2 or finite.min() == finite.max():
        return 0.0, 1.0
    sizes = [stratum.size for stratum in strata]
    parts = [_stratum(values[np.isfinite(values)], n) for values, n in zip(left_out, sizes, strict=True)]
    total = sum(variance for variance, _, _ in parts)
    if total == 0:  # no sampled group moves the metric: nothing to weigh the strata by
        correction, freedom = max(n / (n - 1) for n in sizes), float(min(sizes) - 1)
    else:
        correction = sum(variance * inflate for variance, _, inflate in parts) / total
        freedom = total**2 / sum(variance**2 / df for variance, df, _ in parts if variance)
    return float(finite.std(ddof=1)) * math.sqrt(correction), max(freedom, 1.0)


def jackknife_spread(left_out: Sequence[FloatArray]) -> tuple[float, float]:
    """Standard error and degrees of freedom from the jackknife alone, which for a rate needs no resample.

    Args:
        left_out: the metric without each group, one array per stratum, every group in it; see `standard_error`.
    """
    parts = [_stratum(values, values.size) for values in left_out]
    total = sum(variance for variance, _, _ in parts)
    if total == 0:
        return 0.0, 1.0
    freedom = total**2 / sum(variance**2 / df for variance, df, _ in parts if variance)
    return math.sqrt(total), max(freedom, 1.0)


def _stratum(left_out: FloatArray, n: int) -> tuple[float, float, float]:
    """(jackknife variance, degrees of freedom, n / (n - 1)) of one stratum of n groups."""
    if left_out.size < 2:
        return 0.0, 1.0, 1.0
    deviation = left_out - left_out.mean()
    second = float(np.mean(deviation**2))
    if second < 1e-24:
        return 0.0, float(n - 1), n / (n - 1)
    kurtosis = float(np.mean(deviation**4)) / second**2
    freedom = 2 * n / (max(kurtosis, 1.0) - 1 + 2 / (n - 1))
    return (n - 1) * second, min(freedom, n - 1.0), n / (n - 1)
