"""Metrics recomputed under whole-number weights of groups: sort once, then cumulative sums per resample."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from deepfake.metrics.checks import FloatArray, IntArray
from deepfake.metrics.costs import ASVSPOOF5, CostModel
from deepfake.metrics.definitions import confusion_rates
from deepfake.metrics.losses import ClipLosses


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

    def draw(self, rng: np.random.Generator, resamples: int) -> Iterator[IntArray]:
        """Yield `resamples` weight vectors, shape (n_groups,): how often each group was drawn with replacement."""
        pooled = len(self.strata) == 1
        made = 0
        while made < resamples:
            weights = np.zeros(self.n_groups, dtype=np.int64)
            for stratum in self.strata:
                weights[stratum] = np.bincount(rng.integers(stratum.size, size=stratum.size), minlength=stratum.size)
            if not pooled or self._has_both(weights):
                made += 1
                yield weights

    def _has_both(self, weights: IntArray) -> bool:
        held = [weights[kind].any() for kind, n in ((self.in_real, self.n_real), (self.in_fake, self.n_fake)) if n]
        return all(held)


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
    """Weighted cumulative counts of one resample along the scores, from the highest score down."""

    real: IntArray  # real clips among the first i + 1, shape (n,)
    fake: IntArray
    weight: IntArray  # of clip i
    fake_weight: IntArray  # weight of clip i if fake, else 0
    ties: TiedRuns
    called_fake: int  # clips at or above the threshold
    losses: Mapping[str, ClipLosses]  # of the clips in this order

    @property
    def n_real(self) -> int:
        return int(self.real[-1])

    @property
    def n_fake(self) -> int:
        return int(self.fake[-1])

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """(tp, tn, fp, fn) at the fixed threshold."""
        last = self.called_fake - 1
        fp, tp = (int(self.real[last]), int(self.fake[last])) if self.called_fake else (0, 0)
        return tp, self.n_real - fp, fp, self.n_fake - tp


@dataclass(frozen=True)
class Counts:
    """What `Totals` says of decisions, without an order of the clips: (tp, tn, fp, fn) of one resample."""

    counts: tuple[int, int, int, int]

    @property
    def losses(self) -> Mapping[str, ClipLosses]:
        """None: a loss needs each clip."""
        return {}

    @property
    def n_real(self) -> int:
        return self.counts[1] + self.counts[2]

    @property
    def n_fake(self) -> int:
        return self.counts[0] + self.counts[3]


class Reweighted(Protocol):
    """Clips that can be counted anew under other weights of their groups."""

    def totals(self, group_weights: IntArray) -> Totals | Counts:
        """The counts under whole `group_weights`, shape (n_groups,)."""


class TalliedGroups:
    """Decisions counted once per group: all that rates at a fixed threshold need, and far less than a ranking."""

    def __init__(self, called_fake: np.ndarray, labels: IntArray, codes: IntArray) -> None:
        n_groups, fake = int(codes.max()) + 1, labels == 1
        kinds = (fake & called_fake, ~fake & ~called_fake, ~fake & called_fake, fake & ~called_fake)
        self._tallies = np.array([np.bincount(codes[kind], minlength=n_groups) for kind in kinds])

    def totals(self, group_weights: IntArray) -> Counts:
        """(tp, tn, fp, fn) under whole `group_weights`, shape (n_groups,)."""
        tp, tn, fp, fn = np.einsum("kg,g->k", self._tallies, group_weights).tolist()
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
        self._weight, self._fake_weight, self._real, self._cumulated = np.empty((4, ranked.size), dtype=np.int64)

    def totals(self, group_weights: IntArray) -> Totals:
        """Cumulative counts under whole `group_weights`, shape (n_groups,). The next call overwrites them."""
        np.take(group_weights, self._codes, out=self._weight, mode="clip")
        np.multiply(self._weight, self._fake, out=self._fake_weight)
        np.cumsum(self._fake_weight, out=self._cumulated)
        np.cumsum(self._weight, out=self._real)
        np.subtract(self._real, self._cumulated, out=self._real)
        return Totals(
            self._real, self._cumulated, self._weight, self._fake_weight, self._ties, self._called_fake, self._losses
        )


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


def weighted_auc(t: Totals) -> float:
    """ROC-AUC, ties counting half: `deepfake.metrics.definitions.roc_auc` of the clips repeated by their weights."""
    losses = float(np.dot(t.fake_weight, t.real))
    if t.ties.mixed_last.size:
        losses -= _mixed_pairs(t) / 2  # the real clips of a run stand before its fakes, so each pair counted as lost
    return 1 - losses / (t.n_real * t.n_fake)


def _mixed_pairs(t: Totals) -> float:
    before, last = t.ties.mixed_before, t.ties.mixed_last
    inside = [counts[last] - np.where(before < 0, 0, counts[before]) for counts in (t.real, t.fake)]
    return float(np.dot(inside[0], inside[1]))


def weighted_eer(t: Totals) -> float:
    """ASVspoof EER of the clips repeated by their weights, the walk stepping over one repeat at a time."""
    n_real, n_fake = t.n_real, t.n_fake
    goal = n_real * n_fake  # FPR >= FNR from the first clip where real n_fake + fake n_real reaches this
    clip = bisect_left(range(t.real.size), goal, key=lambda i: int(t.real[i]) * n_fake + int(t.fake[i]) * n_real)
    real, fake = (int(t.real[clip - 1]), int(t.fake[clip - 1])) if clip else (0, 0)
    short = goal - real * n_fake - fake * n_real
    fake_step = int(int(t.fake[clip]) > fake)
    repeats = short // (n_real if fake_step else n_fake)
    steps = [(real + k * (1 - fake_step), fake + k * fake_step) for k in (repeats, repeats + 1)]
    fpr, fnr = min(((r / n_real, (n_fake - f) / n_fake) for r, f in steps), key=lambda rates: abs(rates[0] - rates[1]))
    return (fpr + fnr) / 2


def weighted_pr_auc(t: Totals) -> float:
    """Average precision of the clips repeated by their weights."""
    real, fake = t.real[t.ties.ends], t.fake[t.ties.ends]
    precision = fake / np.maximum(real + fake, 1)
    gained = fake.astype(np.float64)
    gained[1:] -= fake[:-1]
    return float(np.dot(gained, precision)) / t.n_fake


def weighted_min_dcf(t: Totals, costs: CostModel = ASVSPOOF5) -> float:
    """ASVspoof 5 minDCF of the clips repeated by their weights; the start of the walk calls nothing fake."""
    cost = (costs.weight_miss / t.n_real) * t.real - (costs.weight_false_accept / t.n_fake) * t.fake
    return min(float(cost.min()) + costs.weight_false_accept, costs.weight_false_accept) / costs.normaliser


RANKING: dict[str, Callable[[Totals], float]] = {
    "roc_auc": weighted_auc,
    "eer": weighted_eer,
    "pr_auc": weighted_pr_auc,
    "min_dcf": weighted_min_dcf,
}
RATES = tuple(confusion_rates(1, 1, 1, 1))


def weighted_metrics(t: Totals | Counts, metrics: tuple[str, ...]) -> list[float]:
    """The named metrics (of `RANKING`, `RATES` or the losses) of one resample; NaN where it leaves one undefined.

    Of `Counts` only `RATES` can be asked for.
    """
    both = t.n_real > 0 and t.n_fake > 0
    rates = confusion_rates(*t.counts) if any(name in RATES for name in metrics) else {}
    weight = t.weight.astype(np.float64) if any(name in t.losses for name in metrics) else None
    values = []
    for name in metrics:
        if name in RANKING:
            value = RANKING[name](t) if both else None
        else:
            value = rates[name] if name in RATES else t.losses[name].mean(weight, t.n_real, t.n_fake)
        values.append(np.nan if value is None else float(value))
    return values
