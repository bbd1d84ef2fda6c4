"""Error rates of parts of a set with intervals over groups, by the jackknife: many parts, no resampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from deepfake.metrics.checks import FloatArray, IntArray
from deepfake.metrics.intervals import Asked, Estimate, few_groups_warning, one_interval, refusal_of
from deepfake.metrics.spread import jackknife_spread

HTER = "hter"  # half total error rate: the mean of both error rates at a fixed threshold


def group_rate(wrong: NDArray[np.bool_], codes: IntArray, label: int, confidence: float = 0.95) -> Estimate:
    """Share of wrong decisions on the clips of one class.

    Leaving out each group in turn gives the standard error of a ratio of sums exactly as the linearised bootstrap does
    (Davison and Hinkley 1997, ch. 2); the interval around it is that of `deepfake.metrics.intervals.one_interval`.

    Args:
        wrong: shape (n,). codes: the independent group of each clip, whole numbers, shape (n,).
        label: 0 for real clips (the rate is the FPR), 1 for fake clips (FNR).
    """
    if not wrong.size:
        return Estimate(None, n_groups=0, warning="there is no clip.")
    _, place = np.unique(codes, return_inverse=True)
    errors, clips = np.bincount(place, weights=wrong), np.bincount(place)
    kind, name = ("real", "fpr") if label == 0 else ("fake", "fnr")
    asked = Asked(name, float(errors.sum() / clips.sum()), 1.0, {kind: clips.size})
    if refusal := refusal_of(asked):
        return Estimate(asked.point, n_groups=asked.n_groups, warning=refusal)
    missed, right = float(errors.sum()), float(clips.sum() - errors.sum())
    counts = (0.0, right, missed, 0.0) if label == 0 else (right, 0.0, 0.0, missed)
    return _named(one_interval(asked, jackknife_spread([_without_each(errors, clips)]), counts, confidence))


def group_mean(values: FloatArray, codes: IntArray, confidence: float = 0.95) -> Estimate:
    """Mean of any numbers with a t interval by the jackknife over groups, a ratio of sums as in `group_rate`.

    Args:
        values: shape (n,), n of 1 or more. codes: the independent group of each, shape (n,).
    """
    _, place = np.unique(codes, return_inverse=True)
    sums, counts = np.bincount(place, weights=values), np.bincount(place)
    mean, n_groups = float(values.mean()), counts.size
    if n_groups < 2:
        return Estimate(mean, n_groups=n_groups, warning="one independent group: no interval without two or more.")
    error, freedom = jackknife_spread([_without_each(sums, counts)])
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    warning = few_groups_warning(n_groups, "groups")
    return Estimate(mean, mean - half, mean + half, n_groups, "group jackknife, t", warning)


def half_total_error(
    called_fake: NDArray[np.bool_], labels: IntArray, codes: IntArray, confidence: float = 0.95
) -> Estimate:
    """HTER, the mean of FPR and FNR, with the interval of `group_rate`; a group may hold clips of both classes.

    Args:
        called_fake: the decisions, shape (n,). labels: 0 real, 1 fake, shape (n,). codes: groups, shape (n,).
    """
    _, place = np.unique(codes, return_inverse=True)
    n_groups = int(place.max()) + 1 if place.size else 0
    fake = labels == 1
    tallies = [
        np.bincount(place[mine], weights=weights, minlength=n_groups)
        for mine, wrong in ((~fake, called_fake[~fake]), (fake, ~called_fake[fake]))
        for weights in (wrong.astype(np.float64), None)
    ]
    false_alarms, real, misses, fakes = tallies
    counts = {"real": int((real > 0).sum()), "fake": int((fakes > 0).sum())}
    if not all(counts.values()):
        return Estimate(None, n_groups=0, warning="a class has no clip.")
    point = float(false_alarms.sum() / real.sum() + misses.sum() / fakes.sum()) / 2
    asked = Asked(HTER, point, 1.0, counts)
    if refusal := refusal_of(asked):
        return Estimate(point, n_groups=asked.n_groups, warning=refusal)
    without = (_without_each(false_alarms, real) + _without_each(misses, fakes)) / 2
    kinds = [(real > 0) & (fakes == 0), (fakes > 0) & (real == 0), (real > 0) & (fakes > 0)]
    strata = [without[kind] for kind in kinds if kind.any()]
    if any(stratum.size == 1 for stratum in strata):
        strata = [without]
    no_counts = (0.0, 0.0, 0.0, 0.0)  # the bound of HTER needs none
    return _named(one_interval(asked, jackknife_spread(strata), no_counts, confidence))


def _without_each(errors: FloatArray, clips: FloatArray) -> FloatArray:
    """The rate without each group in turn, shape (groups,)."""
    return (errors.sum() - errors) / np.maximum(clips.sum() - clips, 1)


def _named(found: Estimate) -> Estimate:
    return replace(found, method=found.method.replace("group bootstrap", "group jackknife"))
