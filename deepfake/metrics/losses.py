"""Brier score, ECE, Cllr and actDCF as means of one loss per clip, to be averaged under whole-number weights."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfake.metrics.checks import FloatArray, IntArray, check_pair, check_probabilities
from deepfake.metrics.costs import ASVSPOOF5, CostModel

ECE_BINS = 15  # as in `deepfake.metrics.definitions.expected_calibration_error`


@dataclass(frozen=True)
class ClipLosses:
    """One number per clip, and how a metric is made of them.

    Attributes:
        losses: shape (n,).
        largest: value of the metric at the worst losses; infinity where they have no bound.
        fake: shape (n,), whether a clip is fake: the metric is then half the mean over real plus half that over fake
            clips. None: the mean over all clips.
        bins: shape (n,); the metric is then the sum over bins of the absolute summed loss, divided by the clips.
        reference: shape (bins,): of each bin's summed loss, divided by the clips, this is taken off first.
    """

    losses: FloatArray
    largest: float
    fake: NDArray[np.bool_] | None = None
    bins: IntArray | None = None
    reference: FloatArray | None = None

    def take(self, order: IntArray) -> ClipLosses:
        """The same clips in another order; in that of the scores a metric in bins is fastest."""
        fake, bins = (None if values is None else values[order] for values in (self.fake, self.bins))
        return replace(self, losses=self.losses[order], fake=fake, bins=bins)

    def mean(self, weight: FloatArray, n_real: int, n_fake: int) -> float | None:
        """The metric of the clips repeated by `weight`; None where a class that it needs is missing.

        Args:
            weight: whole numbers, shape (n,). n_real, n_fake: their sums over each class.
        """
        if self.bins is not None:
            shares = self._summed(weight) / (n_real + n_fake)
            return float(np.abs(shares if self.reference is None else shares - self.reference).sum())
        total = _dot(weight, self.losses)
        if self.fake is None:
            return total / (n_real + n_fake)
        if not n_real or not n_fake:
            return None
        of_fakes = _dot(weight, self._of_fakes)
        return (of_fakes / n_fake + (total - of_fakes) / n_real) / 2

    def noise(self) -> ClipLosses:
        """Of a metric in bins: how far a resample's bins lie from those of all clips, summed up."""
        return replace(self, reference=self._summed(np.ones(self.losses.size)) / self.losses.size)

    def _summed(self, weight: FloatArray) -> FloatArray:
        starts, bins = self._runs
        return np.bincount(bins, np.add.reduceat(weight * self.losses, starts), minlength=ECE_BINS)

    @functools.cached_property
    def _runs(self) -> tuple[IntArray, IntArray]:
        """Where runs of one bin start, and which bin it is: as many as there are bins, where clips lie by P(fake)."""
        starts = np.append(0, np.flatnonzero(np.diff(self.bins)) + 1)
        return starts, self.bins[starts]

    @functools.cached_property
    def _of_fakes(self) -> FloatArray:
        return self.losses * self.fake


def _dot(a: FloatArray, b: FloatArray) -> float:
    """Not np.dot, whose threads cost more than the sum where other programs are running."""
    return float(np.einsum("i,i", a, b))


def brier_losses(probabilities: ArrayLike, labels: ArrayLike) -> ClipLosses:
    """Of the Brier score: the squared distance of P(fake) from the label. Raises ValueError as `brier_score` does."""
    p, y = check_probabilities(probabilities, labels)
    return ClipLosses((p - y) ** 2, largest=1.0)


def ece_losses(probabilities: ArrayLike, labels: ArrayLike) -> ClipLosses:
    """Of the expected calibration error. Raises ValueError as `expected_calibration_error` does."""
    p, y = check_probabilities(probabilities, labels)
    return ClipLosses(p - y, largest=1.0, bins=np.minimum((p * ECE_BINS).astype(np.int64), ECE_BINS - 1))


def cllr_losses(llr: ArrayLike, labels: ArrayLike) -> ClipLosses:
    """Of Cllr, in bits: log2(1 + e^-llr) of a fake, log2(1 + e^llr) of a real clip; see `metrics.costs.cllr`."""
    s, y = check_pair(llr, labels)
    return ClipLosses(np.logaddexp(0, np.where(y == 1, -s, s)) / math.log(2), largest=math.inf, fake=y == 1)


def act_dcf_losses(llr: ArrayLike, labels: ArrayLike, costs: CostModel = ASVSPOOF5) -> ClipLosses:
    """Of actDCF: twice the normalised cost of a clip that is decided wrongly; see `deepfake.metrics.costs.act_dcf`."""
    s, y = check_pair(llr, labels)
    called_fake = s > costs.bayes_threshold
    miss, accept = (2 * weight / costs.normaliser for weight in (costs.weight_miss, costs.weight_false_accept))
    losses = np.where(y == 1, accept * ~called_fake, miss * called_fake)
    return ClipLosses(losses, largest=(miss + accept) / 2, fake=y == 1)
