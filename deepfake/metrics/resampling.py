"""Metrics recomputed under whole-number weights of groups: sort once, then cumulative sums, many resamples at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from deepfake.metrics.checks import FloatArray, IntArray
from deepfake.metrics.costs import ASVSPOOF5, CostModel
from deepfake.metrics.definitions import confusion_rates, rates_of
from deepfake.metrics.losses import ClipLosses

# Numbers of one array: enough that NumPy's calls cost little beside its sums, and few enough for a processor's cache.
_AT_ONCE = 2**14
_FEWEST_ROWS = 4  # of any number of clips
_MANY_GROUPS = 1000  # see GroupDesign._drawn_each


@dataclass(frozen=True)
class GroupDesign:
    """Which groups hold which class, and the strata they are drawn from.

    strata: group numbers per stratum; groups of real clips only, of fake clips only, and of both are drawn apart, so
        that every resample has as many groups of each kind as the data. A stratum of one group would never vary, so
        then all groups form one stratum.
    n_real, n_fake: how many groups hold at least one clip of the class.
    """

    strata: tuple[IntArray, ...]
    n_real: int
    n_fake: int
    n_groups: int
    in_real: np.ndarray
    in_fake: np.ndarray

    @classmethod
    def of(cls, labels: IntArray, codes: IntArray) -> GroupDesign:
        """Lay out the groups of the clips; `labels` and `codes` have shape (n,)."""
        n_groups = int(codes.max()) + 1
        fakes = np.bincount(codes, weights=labels, minlength=n_groups)
        in_fake = fakes > 0
        in_real = np.bincount(codes, minlength=n_groups) > fakes
        kinds = (in_real & ~in_fake, in_fake & ~in_real, in_real & in_fake)
        strata = tuple(np.flatnonzero(kind) for kind in kinds if kind.any())
        if any(stratum.size == 1 for stratum in strata):
            strata = (np.arange(n_groups),)
        return cls(strata, int(in_real.sum()), int(in_fake.sum()), n_groups, in_real, in_fake)

    def draw(self, rng: np.random.Generator, resamples: int, at_once: int) -> Iterator[IntArray]:
        """Yield weights of the groups, shape (at most `at_once`, n_groups), `resamples` rows of them in all.

        A row says how often each group was drawn with replacement. The rows do not depend on `at_once`.
        """
        pooled = len(self.strata) == 1
        made = 0
        while made < resamples:
            rows = min(at_once, resamples - made)
            weights = self._drawn(rng, rows) if self.n_groups < _MANY_GROUPS else self._drawn_each(rng, rows)
            if pooled:
                weights = weights[self._has_both(weights)]
            made += len(weights)
            yield weights

    def _drawn(self, rng: np.random.Generator, rows: int) -> IntArray:
        sizes = np.array([stratum.size for stratum in self.strata])
        first, size = (np.repeat(values, sizes) for values in (np.cumsum(sizes) - sizes, sizes))
        chosen = np.concatenate(self.strata)[first + rng.integers(size, size=(rows, size.size))]
        chosen += np.arange(rows)[:, None] * self.n_groups
        return np.bincount(chosen.ravel(), minlength=rows * self.n_groups).reshape(rows, self.n_groups)

    def _drawn_each(self, rng: np.random.Generator, rows: int) -> IntArray:
        """The same row by row; of many groups in a third of the time, as the numbers of a stratum have one bound."""
        weights = np.zeros((rows, self.n_groups), dtype=np.int64)
        for row in weights:
            for stratum in self.strata:
                row[stratum] = np.bincount(rng.integers(stratum.size, size=stratum.size), minlength=stratum.size)
        return weights

    def _has_both(self, weights: IntArray) -> np.ndarray:
        kinds = ((self.in_real, self.n_real), (self.in_fake, self.n_fake))
        return np.all([weights[:, kind].any(axis=1) for kind, n in kinds if n], axis=0)


@dataclass(frozen=True)
class TiedRuns:
    """Runs of equal scores in the ranking: where each ends, and the bounds of those that mix classes."""

    ends: IntArray
    mixed_before: IntArray  # place just before the run, -1 for the first
    mixed_last: IntArray

    @classmethod
    def of(cls, ranked: FloatArray, labels: IntArray) -> TiedRuns:
        """Find the runs; real clips come first within each."""
        ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), ranked.size - 1)
        starts = np.append(0, ends[:-1] + 1)
        mixed = labels[starts] != labels[ends]
        return cls(ends, starts[mixed] - 1, ends[mixed])


@dataclass(frozen=True)
class Totals:
    """Weighted cumulative counts of some resamples along the scores, from the highest score down."""

    real: IntArray  # real clips among the first i + 1, shape (resamples, n)
    fake: IntArray
    weight: IntArray  # of clip i
    fake_weight: IntArray  # weight of clip i if fake, else 0
    ties: TiedRuns
    called_fake: int  # clips at or above the threshold
    losses: Mapping[str, ClipLosses]  # of the clips in this order

    @property
    def n_real(self) -> IntArray:
        return self.real[:, -1]

    @property
    def n_fake(self) -> IntArray:
        return self.fake[:, -1]

    @property
    def counts(self) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        """(tp, tn, fp, fn) at the fixed threshold, each of shape (resamples,)."""
        last = self.called_fake - 1
        none = np.zeros_like(self.n_real)
        fp, tp = (self.real[:, last], self.fake[:, last]) if self.called_fake else (none, none)
        return tp, self.n_real - fp, fp, self.n_fake - tp


@dataclass(frozen=True)
class Counts:
    """What `Totals` says of decisions, without an order of the clips: (tp, tn, fp, fn), each of shape (resamples,)."""

    counts: tuple[IntArray, IntArray, IntArray, IntArray]

    @property
    def losses(self) -> Mapping[str, ClipLosses]:
        """None: a loss needs each clip."""
        return {}

    @property
    def n_real(self) -> IntArray:
        return self.counts[1] + self.counts[2]

    @property
    def n_fake(self) -> IntArray:
        return self.counts[0] + self.counts[3]


class Reweighted(Protocol):
    """Clips that can be counted anew under other weights of their groups.

    at_once: for how many resamples in one call; it bounds the memory.
    """

    at_once: int

    def totals(self, group_weights: IntArray) -> Totals | Counts:
        """The counts under whole `group_weights`, shape (at most at_once, n_groups)."""


class TalliedGroups:
    """Decisions counted once per group: all that rates at a fixed threshold need, and far less than a ranking."""

    def __init__(self, called_fake: np.ndarray, labels: IntArray, codes: IntArray) -> None:
        n_groups, fake = int(codes.max()) + 1, labels == 1
        kinds = (fake & called_fake, ~fake & ~called_fake, ~fake & called_fake, fake & ~called_fake)
        self._tallies = np.array([np.bincount(codes[kind], minlength=n_groups) for kind in kinds])
        self.at_once = max(_FEWEST_ROWS, _AT_ONCE // n_groups)

    def totals(self, group_weights: IntArray) -> Counts:
        """(tp, tn, fp, fn) under whole `group_weights`, shape (at most at_once, n_groups)."""
        tp, tn, fp, fn = np.einsum("kg,rg->kr", self._tallies, group_weights)
        return Counts((tp, tn, fp, fn))


class RankedScores:
    """Scores sorted once, highest first and real before fake among equals, ready to be reweighted by group."""

    def __init__(
        self,
        scores: FloatArray,
        labels: IntArray,
        codes: IntArray,
        threshold: float,
        losses: Mapping[str, ClipLosses] | None = None,
    ) -> None:
        order = np.lexsort((labels, -scores))
        ranked = scores[order]
        self._codes = codes[order]
        self._fake = labels[order]
        self._ties = TiedRuns.of(ranked, self._fake)
        self._called_fake = int(np.count_nonzero(scores >= threshold))
        self._losses = {name: found.take(order) for name, found in (losses or {}).items()}
        # Fresh arrays of this size are handed back to the system each time; the page faults cost more than the sums.
        self.at_once = max(_FEWEST_ROWS, _AT_ONCE // ranked.size)
        self._room = np.empty((4, self.at_once, ranked.size), dtype=np.int64)

    def totals(self, group_weights: IntArray) -> Totals:
        """Cumulative counts under whole `group_weights`, shape (at most at_once, n_groups).

        The next call overwrites them.
        """
        weight, fake_weight, real, fake = self._room[:, : len(group_weights)]
        np.take(group_weights, self._codes, axis=1, out=weight, mode="clip")
        np.multiply(weight, self._fake, out=fake_weight)
        np.cumsum(fake_weight, axis=1, out=fake)
        np.cumsum(weight, axis=1, out=real)
        np.subtract(real, fake, out=real)
        return Totals(real, fake, weight, fake_weight, self._ties, self._called_fake, self._losses)


def reweighted(
    scores: FloatArray,
    labels: IntArray,
    codes: IntArray,
    threshold: float,
    metrics: Sequence[str],
    losses: Mapping[str, ClipLosses] | None = None,
) -> Reweighted:
    """What gives the named metrics under any weights of the groups, as cheaply as they allow."""
    if all(name in RATES for name in metrics):
        return TalliedGroups(scores >= threshold, labels, codes)
    return RankedScores(scores, labels, codes, threshold, losses)


def weighted_auc(t: Totals) -> FloatArray:
    """ROC-AUC, ties counting half: `deepfake.metrics.definitions.roc_auc` of the clips repeated by their weights."""
    losses = np.einsum("rn,rn->r", t.fake_weight, t.real).astype(np.float64)
    if t.ties.mixed_last.size:
        losses -= _mixed_pairs(t) / 2  # the real clips of a run stand before its fakes, so each pair counted as lost
    return 1 - losses / (t.n_real * t.n_fake)


def _mixed_pairs(t: Totals) -> IntArray:
    before, last = t.ties.mixed_before, t.ties.mixed_last
    real, fake = (
        counts.take(last, axis=1) - np.where(before < 0, 0, counts.take(before, axis=1)) for counts in (t.real, t.fake)
    )
    return np.einsum("rn,rn->r", real, fake)


def weighted_eer(t: Totals) -> FloatArray:
    """ASVspoof EER of the clips repeated by their weights, the walk stepping over one repeat at a time."""
    n_real, n_fake, rows = t.n_real, t.n_fake, np.arange(len(t.real))
    goal, clip = n_real * n_fake, _crossing(t)
    real, fake = (np.where(clip > 0, counts[rows, clip - 1], 0) for counts in (t.real, t.fake))
    short = goal - real * n_fake - fake * n_real
    fake_step = (t.fake[rows, clip] > fake).astype(np.int64)
    repeats = short // np.where(fake_step, n_real, n_fake)
    rates = []
    for taken in (repeats, repeats + 1):
        rates.append(((real + taken * (1 - fake_step)) / n_real, (n_fake - fake - taken * fake_step) / n_fake))
    gaps = [abs(fpr - fnr) for fpr, fnr in rates]
    return np.where(gaps[1] < gaps[0], sum(rates[1]), sum(rates[0])) / 2


def _crossing(t: Totals) -> IntArray:
    """The first clip with FPR >= FNR: where real n_fake + fake n_real reaches n_real n_fake, as it does at the last."""
    n_real, n_fake, rows, n = t.n_real, t.n_fake, np.arange(len(t.real)), t.real.shape[1]
    goal = n_real * n_fake
    first, last = np.zeros_like(rows), np.full_like(rows, n - 1)
    for _ in range(n.bit_length()):
        middle = (first + last) // 2
        reached = t.real[rows, middle] * n_fake + t.fake[rows, middle] * n_real >= goal
        first, last = np.where(reached, first, np.minimum(middle + 1, last)), np.where(reached, middle, last)
    return first


def weighted_pr_auc(t: Totals) -> FloatArray:
    """Average precision of the clips repeated by their weights."""
    real, fake = t.real.take(t.ties.ends, axis=1), t.fake.take(t.ties.ends, axis=1)
    precision = fake / np.maximum(real + fake, 1)
    return np.einsum("rn,rn->r", np.diff(fake, axis=1, prepend=0).astype(np.float64), precision) / t.n_fake


def weighted_min_dcf(t: Totals, costs: CostModel = ASVSPOOF5) -> FloatArray:
    """ASVspoof 5 minDCF of the clips repeated by their weights; the start of the walk calls nothing fake."""
    miss, false_accept = costs.weight_miss / t.n_real, costs.weight_false_accept / t.n_fake
    least = (miss[:, None] * t.real - false_accept[:, None] * t.fake).min(axis=1) + costs.weight_false_accept
    return np.minimum(least, costs.weight_false_accept) / costs.normaliser


RANKING: dict[str, Callable[[Totals], FloatArray]] = {
    "roc_auc": weighted_auc,
    "eer": weighted_eer,
    "pr_auc": weighted_pr_auc,
    "min_dcf": weighted_min_dcf,
}
RATES = tuple(confusion_rates(1, 1, 1, 1))


def weighted_metrics(t: Totals | Counts, metrics: tuple[str, ...]) -> FloatArray:
    """The named metrics (of `RANKING`, `RATES` or the losses), shape (resamples, metrics); NaN where undefined.

    Of `Counts` only `RATES` can be asked for.
    """
    rates = rates_of(*t.counts) if any(name in RATES for name in metrics) else {}
    weight = t.weight.astype(np.float64) if any(name in t.losses for name in metrics) else None
    both = (t.n_real > 0) & (t.n_fake > 0)
    found = np.empty((len(both), len(metrics)))
    with np.errstate(divide="ignore", invalid="ignore"):
        for column, name in enumerate(metrics):
            if name in RANKING:
                found[:, column] = np.where(both, RANKING[name](t), np.nan)
            else:
                found[:, column] = rates[name] if name in RATES else t.losses[name].mean(weight, t.n_real, t.n_fake)
    return found


def on_all_clips(ranked: Reweighted, metrics: tuple[str, ...], n_groups: int) -> tuple[FloatArray, tuple[int, ...]]:
    """The metrics of the clips as they are, shape (metrics,), and their (tp, tn, fp, fn)."""
    totals = ranked.totals(np.ones((1, n_groups), dtype=np.int64))
    return weighted_metrics(totals, metrics)[0], tuple(int(count[0]) for count in totals.counts)


def under_weights(ranked: Reweighted, weights: Iterable[IntArray], metrics: tuple[str, ...]) -> FloatArray:
    """The metrics under each row of arrays of weights, such as `GroupDesign.draw` yields: shape (rows, metrics)."""
    return np.concatenate([weighted_metrics(ranked.totals(rows), metrics) for rows in weights])
