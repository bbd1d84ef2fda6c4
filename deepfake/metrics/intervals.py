"""How far a metric could be off, given how many independent recordings, speakers or generators were heard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from deepfake.metrics.checks import FloatArray, check_fraction, check_pair, group_codes
from deepfake.metrics.degenerate import bound_when_constant
from deepfake.metrics.losses import ClipLosses
from deepfake.metrics.resampling import RANKING, RATES, GroupDesign, reweighted, weighted_metrics
from deepfake.metrics.spread import leave_one_out, standard_error
from deepfake.text import with_interval

DEFAULT_METRICS = ("roc_auc", "eer", "accuracy", "balanced_accuracy", "fpr", "fnr")
# With fewer groups a standard error is itself off by more than 1 / sqrt(2 * 9) = 24 %, and the t correction that keeps
# the coverage is wider than the normal one by more than 15 %: the interval is still right, but says little.
FEW_GROUPS = 10
NEEDS_REAL_ONLY = ("tnr", "fpr", "recall_real")
NEEDS_FAKE_ONLY = ("tpr", "fnr", "recall_fake")
_NOISE = "noise of "


@dataclass(frozen=True)
class Estimate:
    """A number and its two-sided 95 % confidence interval (or of another confidence, where one was asked for).

    Attributes:
        value: None where the data do not define it.
        low, high: None where the data carry no interval; `warning` says why.
        n_groups: independent groups behind it, in the class that has fewer of those the number depends on; None where
            nobody recorded it.
        method: how the interval was made; "none" without one.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n_groups: int | None = None
    method: str = "none"
    warning: str | None = None

    def __str__(self) -> str:
        """0.912 [0.850, 0.960]"""
        return with_interval(self.value, self.low, self.high)


@dataclass(frozen=True)
class Difference:
    """Metric of system A, `a`, minus metric of system B, `b`, on the same clips, with its interval."""

    a: float | None
    b: float | None
    difference: Estimate


def binomial_interval(successes: int, n: int, confidence: float = 0.95) -> Estimate:
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
    return Estimate(successes / n, low, high, n, "clopper-pearson", few_groups_warning(n, "trials"))


def bootstrap_intervals(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[Any] | None,
    threshold: float,
    metrics: Sequence[str] = DEFAULT_METRICS,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    losses: Mapping[str, ClipLosses] | None = None,
) -> dict[str, Estimate]:
    """Confidence intervals from resampling independent groups of clips, not clips.

    Groups of real clips, of fake clips and of both are drawn with replacement apart, so that every resample has both
    classes (stratified cluster bootstrap: Davison and Hinkley 1997, ch. 3). The standard error over the resamples,
    corrected for the strata being finite, gives a t interval on the logit scale, which stays inside [0, 1] and covers
    better than percentiles do at few groups; for a metric that is not bounded by 1, on the logit of its share of its
    largest value, or on the logarithm where it has none. Where no resample differs (no error seen) the bound is the
    exact binomial one with a group as the trial.

    A metric in bins (ECE) is above 0 by noise alone, so that no standard error around it covers the truth. No sum of
    absolute values moves by more than the absolute noise of its parts: it gets its value plus and minus the quantile of
    that noise over the resamples, which is wide and covers at any number of clips.

    Args:
        scores: fake_score, shape (n,). labels: 0 real, 1 fake, shape (n,).
        groups: the recording, speaker or generator of each clip, shape (n,); None takes every clip as independent.
        threshold: a clip is called fake when its score >= threshold.
        metrics: names out of roc_auc, eer, pr_auc, min_dcf, the rates of `confusion_rates`, and those of `losses`.
        losses: metrics that are means of a loss per clip, such as Cllr, by name; see `deepfake.metrics.losses`.

    Returns:
        One `Estimate` per metric. Its ends are None, with the reason in `warning`, when the metric is undefined on
        these clips or a class it depends on has fewer than two groups. Fewer than 10 groups in a class add a warning.

    Raises:
        ValueError: bad scores, labels, groups or confidence, an unknown metric, or resamples < 2.
    """
    s, y = check_pair(scores, labels)
    losses = losses or {}
    names = check_request(metrics, resamples, confidence, losses)
    codes = group_codes(groups, s.size)
    design = GroupDesign.of(y, codes)
    noises = {_NOISE + name: losses[name].noise() for name in names if name in losses and losses[name].bins is not None}
    ranked = reweighted(s, y, codes, threshold, names, {**losses, **noises})
    everything = ranked.totals(np.ones(design.n_groups, dtype=np.int64))
    point, counts = dict(zip(names, weighted_metrics(everything, names), strict=True)), everything.counts
    rng = np.random.default_rng(seed)
    columns = (*names, *noises)
    drawn = np.array([weighted_metrics(ranked.totals(w), columns) for w in design.draw(rng, resamples)])
    left_out = leave_one_out(ranked, design, names, rng)
    result = {}
    for column, name in enumerate(names):
        largest = losses[name].largest if name in losses else 1.0
        asked = Asked(name, point[name], largest, groups_behind(name, design, losses))
        if refusal := refusal_of(asked):
            value = None if math.isnan(asked.point) else asked.point
            result[name] = Estimate(value, n_groups=asked.n_groups, warning=refusal)
        elif _NOISE + name in noises:
            result[name] = _around_bins(asked, drawn[:, columns.index(_NOISE + name)], confidence)
        else:
            spread = standard_error(drawn[:, column], [values[:, column] for values in left_out], design.strata)
            result[name] = one_interval(asked, spread, counts, confidence)
    return result


@dataclass(frozen=True)
class Asked:
    """One metric: its value on all clips, the largest value it can take, and the groups per class it depends on."""

    name: str
    point: float
    largest: float
    groups: dict[str, int]

    @property
    def n_groups(self) -> int:
        """Groups of the class that has fewer."""
        return min(self.groups.values())


def check_request(
    metrics: Sequence[str], resamples: int, confidence: float, losses: Mapping[str, ClipLosses]
) -> tuple[str, ...]:
    """The names of the metrics. Raises ValueError for an unknown one, a bad confidence, or fewer than 2 resamples."""
    check_fraction(confidence, "confidence")
    known = (*RANKING, *RATES, *losses)
    unknown = [name for name in metrics if name not in known]
    if unknown:
        raise ValueError(f"no interval for {', '.join(unknown)}; known: {', '.join(known)}.")
    if resamples < 2:
        raise ValueError(f"resamples must be at least 2; found {resamples}. 2000 is usual.")
    return tuple(metrics)


def groups_behind(name: str, design: GroupDesign, losses: Mapping[str, ClipLosses]) -> dict[str, int]:
    """Number of groups per class that the metric depends on; a class without clips is left out of pooled means."""
    counts = {"real": design.n_real, "fake": design.n_fake}
    if name in NEEDS_REAL_ONLY:
        return {"real": counts["real"]}
    if name in NEEDS_FAKE_ONLY:
        return {"fake": counts["fake"]}
    pooled = losses[name].fake is None if name in losses else name in RATES
    return {kind: n for kind, n in counts.items() if n} if pooled else counts


def refusal_of(asked: Asked) -> str | None:
    """Why there can be no interval; None where there can."""
    for kind, n in asked.groups.items():
        if n < 2:
            return f"{n} independent group{'s' if n != 1 else ''} of {kind} clips: no interval without two or more."
    return f"{asked.name} is undefined on these clips." if math.isnan(asked.point) else None


def few_groups_warning(n: int, unit: str) -> str | None:
    """What `n` independent groups are too few for; None from `FEW_GROUPS` on."""
    if n >= FEW_GROUPS:
        return None
    return f"only {n} independent {unit}: too few to say much; {FEW_GROUPS} or more are needed."


def one_interval(
    asked: Asked, spread: tuple[float, float], counts: tuple[float, float, float, float], confidence: float
) -> Estimate:
    """A t interval on the logit scale, or the exact binomial one where nothing varies.

    Args:
        spread: standard error and degrees of freedom. counts: (tp, tn, fp, fn) on all clips.
    """
    name, point, largest = asked.name, asked.point, asked.largest
    warning = few_groups_warning(asked.n_groups, "groups in a class")
    error, freedom = spread
    inside = 0 < point < largest
    if error <= 1e-12 * point and (inside or math.isinf(largest)):
        unmoved = f"no resample moves {name}: its spread cannot be estimated."
        return Estimate(point, n_groups=asked.n_groups, warning=unmoved)
    if not inside:
        low, high = bound_when_constant(name, point, counts, asked.n_groups, confidence, largest)
        return Estimate(point, low, high, asked.n_groups, "exact binomial over groups", warning)
    factor = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    if math.isinf(largest):
        low, high = (point * math.exp(min(sign * factor / point, 700.0)) for sign in (-1, 1))
        return Estimate(point, low, high, asked.n_groups, "group bootstrap, t on logarithm", warning)
    share = point / largest
    half, centre = factor / largest / (share * (1 - share)), math.log(share / (1 - share))
    low, high = (largest / (1 + math.exp(-min(max(x, -700.0), 700.0))) for x in (centre - half, centre + half))
    return Estimate(point, low, high, asked.n_groups, "group bootstrap, t on logit", warning)


def _around_bins(asked: Asked, noise: FloatArray, confidence: float) -> Estimate:
    # Resampling n of n groups makes the variance (n - 1) / n of what it should be.
    half = float(np.quantile(noise, confidence)) * math.sqrt(asked.n_groups / (asked.n_groups - 1))
    low, high = max(asked.point - half, 0.0), min(asked.point + half, asked.largest)
    warning = few_groups_warning(asked.n_groups, "groups in a class")
    return Estimate(asked.point, low, high, asked.n_groups, "group bootstrap, noise of bins", warning)
