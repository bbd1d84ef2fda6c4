"""How far a metric could be off, given how many independent recordings, speakers or generators were heard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from evaluation.checks import FloatArray, check_fraction, check_pair, check_scores, group_codes
from evaluation.degenerate import bound_when_constant, unseen_rate
from evaluation.resampling import RANKING, RATES, GroupDesign, RankedScores, weighted_counts, weighted_metrics
from evaluation.spread import leave_one_out, standard_error

DEFAULT_METRICS = ("roc_auc", "eer", "accuracy", "balanced_accuracy", "fpr", "fnr")
# With fewer groups a standard error is itself off by more than 1 / sqrt(2 * 9) = 24 %, and the t correction that keeps
# the coverage is wider than the normal one by more than 15 %: the interval is still right, but says little.
FEW_GROUPS = 10
NEEDS_REAL_ONLY = ("tnr", "fpr", "recall_real")
NEEDS_FAKE_ONLY = ("tpr", "fnr", "recall_fake")


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval. `low` and `high` are None when the data carry none; `warning` says why.

    n_groups: independent groups behind it, in the class that has fewer of those the metric depends on.
    """

    low: float | None
    high: float | None
    method: str
    n_groups: int
    warning: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, one key per field."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """Metric of system A minus metric of system B on the same clips, with its interval."""

    a: float | None
    b: float | None
    difference: float | None
    interval: Interval

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the interval as a nested dict."""
        return asdict(self)


def binomial_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Exact two-sided interval for a rate from independent trials (Clopper and Pearson 1934).

    Raises:
        ValueError: n < 1, successes outside 0..n, or confidence outside (0, 1).
    """
    check_fraction(confidence, "confidence")
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes must lie in 0..n with n >= 1; found {successes} of {n}.")
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, successes, n - successes + 1)) if successes else 0.0
    high = float(stats.beta.ppf(1 - tail, successes + 1, n - successes)) if successes < n else 1.0
    return Interval(low, high, "clopper-pearson", n, _few_groups_warning(n, "trials"))


def bootstrap_intervals(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[Any] | None,
    threshold: float,
    metrics: Sequence[str] = DEFAULT_METRICS,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Confidence intervals from resampling independent groups of clips, not clips.

    Groups of real clips, of fake clips and of both are drawn with replacement apart, so that every resample has both
    classes (stratified cluster bootstrap: Davison and Hinkley 1997, ch. 3). The standard error over the resamples,
    corrected for the strata being finite, gives a t interval on the logit scale, which stays inside [0, 1] and covers
    better than percentiles do at few groups. Where no resample differs (no error seen) the bound is the exact
    binomial one with a group as the trial.

    Args:
        scores: fake_score, shape (n,). labels: 0 real, 1 fake, shape (n,).
        groups: the recording, speaker or generator of each clip, shape (n,); None takes every clip as independent.
        threshold: a clip is called fake when its score >= threshold.
        metrics: names out of roc_auc, eer, pr_auc, min_dcf and the rates of `confusion_rates`.

    Returns:
        One `Interval` per metric. Its ends are None, with the reason in `warning`, when the metric is undefined on
        these clips or a class it depends on has fewer than two groups. Fewer than 10 groups in a class add a warning.

    Raises:
        ValueError: bad scores, labels, groups or confidence, an unknown metric, or resamples < 2.
    """
    s, y = check_pair(scores, labels)
    names = _check_request(metrics, resamples, confidence)
    codes = group_codes(groups, s.size)
    design = GroupDesign.of(y, codes)
    ranked = RankedScores(s, y, codes, threshold)
    everything = ranked.totals(np.ones(design.n_groups, dtype=np.int64))
    point, counts = dict(zip(names, weighted_metrics(everything, names), strict=True)), weighted_counts(everything)
    rng = np.random.default_rng(seed)
    drawn = np.array([weighted_metrics(ranked.totals(w), names) for w in design.draw(rng, resamples)])
    left_out = leave_one_out(ranked, design, names, rng)
    result = {}
    for column, name in enumerate(names):
        refusal = _refusal(name, point[name], design)
        if refusal:
            result[name] = Interval(None, None, "none", _groups_behind(name, design), refusal)
        else:
            spread = standard_error(drawn[:, column], [values[:, column] for values in left_out], design.strata)
            result[name] = _one_interval(name, point[name], spread, design, counts, confidence)
    return result


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
    """Difference A - B of two systems on the same clips, each resample drawn once for both.

    The interval is a t interval around the observed difference with the bootstrap standard error of the difference.
    Identical scores get [0, 0]; systems that merely never differed here get the exact binomial bound with a group as
    the trial. Arguments, None rules and errors as `bootstrap_intervals`; each system keeps its own
    threshold and score unit.
    """
    a, y = check_pair(scores_a, labels)
    b = check_scores(scores_b, "scores_b")
    if a.size != b.size:
        raise ValueError(f"both systems must score the same clips; found {a.size} and {b.size} scores.")
    names = _check_request(metrics, resamples, confidence)
    codes = group_codes(groups, a.size)
    design = GroupDesign.of(y, codes)
    ranked = (RankedScores(a, y, codes, threshold_a), RankedScores(b, y, codes, threshold_b))
    ones = np.ones(design.n_groups, dtype=np.int64)
    point = np.array([weighted_metrics(system.totals(ones), names) for system in ranked])
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [
            np.subtract(*(weighted_metrics(system.totals(w), names) for system in ranked))
            for w in design.draw(rng, resamples)
        ]
    )
    pairs = zip(*(leave_one_out(system, design, names, np.random.default_rng(seed)) for system in ranked), strict=True)
    left_out = [without_a - without_b for without_a, without_b in pairs]
    identical = threshold_a == threshold_b and bool(np.array_equal(a, b))
    result = {}
    for i, name in enumerate(names):
        spread = standard_error(drawn[:, i], [values[:, i] for values in left_out], design.strata)
        result[name] = _one_difference(name, point[:, i], spread, design, confidence, identical)
    return result


def _check_request(metrics: Sequence[str], resamples: int, confidence: float) -> tuple[str, ...]:
    check_fraction(confidence, "confidence")
    unknown = [name for name in metrics if name not in RANKING and name not in RATES]
    if unknown:
        raise ValueError(f"no interval for {', '.join(unknown)}; known: {', '.join((*RANKING, *RATES))}.")
    if resamples < 2:
        raise ValueError(f"resamples must be at least 2; found {resamples}. 2000 is usual.")
    return tuple(metrics)


def _classes_behind(name: str, design: GroupDesign) -> dict[str, int]:
    """Number of groups per class that the metric depends on; a class without clips is left out of pooled rates."""
    counts = {"real": design.n_real, "fake": design.n_fake}
    if name in NEEDS_REAL_ONLY:
        return {"real": counts["real"]}
    if name in NEEDS_FAKE_ONLY:
        return {"fake": counts["fake"]}
    return {kind: n for kind, n in counts.items() if n} if name in RATES else counts


def _groups_behind(name: str, design: GroupDesign) -> int:
    return min(_classes_behind(name, design).values())


def _refusal(name: str, point: float, design: GroupDesign) -> str | None:
    for kind, n in _classes_behind(name, design).items():
        if n < 2:
            return f"{n} independent group{'s' if n != 1 else ''} of {kind} clips: no interval without two or more."
    return f"{name} is undefined on these clips." if math.isnan(point) else None


def _few_groups_warning(n: int, unit: str) -> str | None:
    if n >= FEW_GROUPS:
        return None
    return f"only {n} independent {unit}: too few to say much; {FEW_GROUPS} or more are needed."


def _one_interval(
    name: str,
    point: float,
    spread: tuple[float, float],
    design: GroupDesign,
    counts: tuple[float, float, float, float],
    confidence: float,
) -> Interval:
    n_groups = _groups_behind(name, design)
    warning = _few_groups_warning(n_groups, "groups in a class")
    error, freedom = spread
    if error == 0 and 0 < point < 1:
        return Interval(None, None, "none", n_groups, f"no resample moves {name}: its spread cannot be estimated.")
    if not 0 < point < 1:
        low, high = bound_when_constant(name, point, counts, n_groups, confidence)
        return Interval(low, high, "exact binomial over groups", n_groups, warning)
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error / (point * (1 - point))
    centre = math.log(point / (1 - point))
    low, high = (1 / (1 + math.exp(-min(max(x, -700.0), 700.0))) for x in (centre - half, centre + half))
    return Interval(low, high, "group bootstrap, t on logit", n_groups, warning)


def _one_difference(
    name: str, point: FloatArray, spread: tuple[float, float], design: GroupDesign, confidence: float, identical: bool
) -> Difference:
    a, b = (None if math.isnan(value) else float(value) for value in point)
    n_groups = _groups_behind(name, design)
    refusal = _refusal(name, float(point.sum()), design)
    if refusal or a is None or b is None:
        return Difference(a, b, None, Interval(None, None, "none", n_groups, refusal))
    error, freedom = spread
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    method = "paired group bootstrap, t"
    if error == 0 and not identical:
        half, method = unseen_rate(name, n_groups, confidence), "exact binomial over groups"
    low, high = max(a - b - half, -1.0), min(a - b + half, 1.0)
    warning = _few_groups_warning(n_groups, "groups in a class")
    return Difference(a, b, a - b, Interval(low, high, method, n_groups, warning))
