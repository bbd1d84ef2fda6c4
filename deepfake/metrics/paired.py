"""Several systems on the same clips: each metric with its interval, and each difference with its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from deepfake.metrics.checks import FloatArray, check_pair, check_scores, group_codes
from deepfake.metrics.degenerate import unseen_rate
from deepfake.metrics.intervals import (
    DEFAULT_METRICS,
    Asked,
    Difference,
    Estimate,
    check_request,
    few_groups_warning,
    groups_behind,
    one_interval,
    refusal_of,
)
from deepfake.metrics.resampling import GroupDesign, reweighted, weighted_metrics
from deepfake.metrics.spread import leave_one_out, standard_error


@dataclass(frozen=True)
class Scored:
    """One system's scores of the clips, shape (n,), and the threshold from which it calls a clip fake."""

    scores: ArrayLike
    threshold: float


@dataclass(frozen=True)
class Tested:
    """A difference, and how likely one as large is where the two systems are equally good; None where undefined."""

    difference: Difference
    p_value: float | None


@dataclass(frozen=True)
class Paired:
    """All systems on one set of clips.

    Attributes:
        estimates: per system and metric.
        differences: per pair (i, j), i < j, and metric: system i minus system j.
    """

    estimates: tuple[dict[str, Estimate], ...]
    differences: dict[tuple[int, int], dict[str, Tested]]


def paired_systems(
    systems: Sequence[Scored],
    labels: ArrayLike,
    groups: Sequence[Any] | None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Paired:
    """Every system and every pair of them, each resample drawn once for all.

    The interval of a difference is a t interval around what was observed, with the bootstrap standard error of the
    difference; its p-value is that of the same t statistic, two-sided. Identical scores get [0, 0] and 1; systems that
    merely never differed here get the exact binomial bound with a group as the trial, and 1. Arguments, None rules and
    errors as `deepfake.metrics.intervals.bootstrap_intervals`; each system keeps its own threshold and unit.
    """
    scores = [check_pair(one.scores, labels)[0] for one in systems[:1]]
    y = check_pair(scores[0], labels)[1]
    scores += [check_scores(one.scores, f"scores of system {i + 2}") for i, one in enumerate(systems[1:])]
    for other in scores[1:]:
        if other.size != y.size:
            raise ValueError(f"all systems must score the same clips; found {y.size} and {other.size} scores.")
    names = check_request(metrics, resamples, confidence, {})
    codes = group_codes(groups, y.size)
    design = GroupDesign.of(y, codes)
    ranked = [reweighted(s, y, codes, one.threshold, names) for s, one in zip(scores, systems, strict=True)]
    ones = np.ones(design.n_groups, dtype=np.int64)
    point = np.array([weighted_metrics(system.totals(ones), names) for system in ranked])
    counts = [system.totals(ones).counts for system in ranked]
    drawn = np.array(
        [
            [weighted_metrics(system.totals(w), names) for system in ranked]
            for w in design.draw(np.random.default_rng(seed), resamples)
        ]
    )
    left_out = [leave_one_out(system, design, names, np.random.default_rng(seed)) for system in ranked]
    estimates, differences = [], {}
    for i in range(len(ranked)):
        found = {}
        for m, name in enumerate(names):
            asked = Asked(name, float(point[i, m]), 1.0, groups_behind(name, design, {}))
            spread = standard_error(drawn[:, i, m], [values[:, m] for values in left_out[i]], design.strata)
            found[name] = _estimate(asked, spread, counts[i], confidence)
        estimates.append(found)
    for i, j in combinations(range(len(ranked)), 2):
        identical = systems[i].threshold == systems[j].threshold and bool(np.array_equal(scores[i], scores[j]))
        found = {}
        for m, name in enumerate(names):
            without = [a[:, m] - b[:, m] for a, b in zip(left_out[i], left_out[j], strict=True)]
            spread = standard_error(drawn[:, i, m] - drawn[:, j, m], without, design.strata)
            found[name] = _tested(name, point[[i, j], m], spread, design, confidence, identical)
        differences[i, j] = found
    return Paired(tuple(estimates), differences)


def paired_difference(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[Any] | None,
    threshold_a: float,
    threshold_b: float,
    metrics: Sequence[str] = DEFAULT_METRICS,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Difference]:
    """Difference A - B of two systems on the same clips; see `paired_systems`."""
    systems = (Scored(scores_a, threshold_a), Scored(scores_b, threshold_b))
    found = paired_systems(systems, labels, groups, metrics, resamples, confidence, seed)
    return {name: one.difference for name, one in found.differences[0, 1].items()}


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values, corrected for there being several (Holm 1979): the k-th smallest of m times m - k + 1, rising.

    Below 0.05, they bound the chance that any of the claims is false by 0.05, however the tests depend on each other.
    None stays None and counts for nothing.
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(p * (len(known) - rank), 1.0))
        corrected[i] = largest
    return corrected


def _estimate(
    asked: Asked, spread: tuple[float, float], counts: tuple[int, int, int, int], confidence: float
) -> Estimate:
    if refusal := refusal_of(asked):
        return Estimate(None if math.isnan(asked.point) else asked.point, n_groups=asked.n_groups, warning=refusal)
    return one_interval(asked, spread, counts, confidence)


def _tested(
    name: str, point: FloatArray, spread: tuple[float, float], design: GroupDesign, confidence: float, identical: bool
) -> Tested:
    a, b = (None if math.isnan(value) else float(value) for value in point)
    asked = Asked(name, float(point.sum()), 1.0, groups_behind(name, design, {}))
    refusal = refusal_of(asked)
    if refusal or a is None or b is None:
        return Tested(Difference(a, b, Estimate(None, n_groups=asked.n_groups, warning=refusal)), None)
    error, freedom = spread
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    method = "paired group bootstrap, t"
    if error == 0 and not identical:
        half, method = unseen_rate(name, asked.n_groups, confidence), "exact binomial over groups"
    low, high = max(a - b - half, -1.0), min(a - b + half, 1.0)
    p_value = 2 * float(stats.t.sf(abs(a - b) / error, freedom)) if error else 1.0
    warning = few_groups_warning(asked.n_groups, "groups in a class")
    return Tested(Difference(a, b, Estimate(a - b, low, high, asked.n_groups, method, warning)), p_value)
