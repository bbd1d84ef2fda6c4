"""Detection costs and the log-likelihood-ratio cost, with the ASVspoof 5 parameters as defaults.

ASVspoof 5 scores bona fide speech high; here fake is high, so a *miss* is a real clip called fake and a *false
accept* is a fake clip called real. Source of the parameters and formulas: ASVspoof 5 evaluation plan, track 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deepfake.metrics.checks import check_both_classes, check_fraction, check_pair
from deepfake.metrics.curves import det_walk


@dataclass(frozen=True)
class CostModel:
    """What each error costs and how often fakes occur; the defaults are ASVspoof 5, track 1."""

    prior_fake: float = 0.05
    cost_miss: float = 1.0  # a real clip called fake
    cost_false_accept: float = 10.0  # a fake clip called real

    def __post_init__(self) -> None:
        check_fraction(self.prior_fake, "prior_fake")
        if not (0 < self.cost_miss < math.inf and 0 < self.cost_false_accept < math.inf):
            raise ValueError(f"costs must be positive; found {self.cost_miss} and {self.cost_false_accept}.")

    @property
    def weight_miss(self) -> float:
        """Expected cost of calling every clip fake."""
        return self.cost_miss * (1 - self.prior_fake)

    @property
    def weight_false_accept(self) -> float:
        """Expected cost of calling every clip real."""
        return self.cost_false_accept * self.prior_fake

    @property
    def normaliser(self) -> float:
        """Cost of the better of the two detectors that never listen: 0.5 for ASVspoof 5."""
        return min(self.weight_miss, self.weight_false_accept)

    @property
    def bayes_threshold(self) -> float:
        """The fake-over-real log-likelihood ratio (nats) at which both decisions cost the same: +0.642 for ASVspoof 5,
        which is the plan's -0.642 for bona-fide-over-spoof ratios."""
        return math.log(self.weight_miss / self.weight_false_accept)


ASVSPOOF5 = CostModel()


def min_dcf(scores: ArrayLike, labels: ArrayLike, costs: CostModel = ASVSPOOF5) -> float:
    """Smallest normalised detection cost over all thresholds (ASVspoof 5 evaluation plan, minDCF).

    min over t of [Cmiss (1 - Pspoof) Pmiss(t) + Cfa Pspoof Pfa(t)] / min(Cmiss (1 - Pspoof), Cfa Pspoof).
    Between 0 and 1; ties in the scores do not change it.

    Raises:
        ValueError: bad scores or labels, or only one class.
    """
    s, y = check_pair(scores, labels)
    check_both_classes(y, "minDCF")
    fpr, fnr, _ = det_walk(s, y)
    cost = costs.cost_miss * fpr * (1 - costs.prior_fake) + costs.cost_false_accept * fnr * costs.prior_fake
    return float(cost.min() / costs.normaliser)


def act_dcf(llr: ArrayLike, labels: ArrayLike, costs: CostModel = ASVSPOOF5) -> float:
    """Normalised detection cost at the Bayes threshold (ASVspoof 5 evaluation plan, actDCF).

    `llr` are calibrated natural-log likelihood ratios, fake over real, shape (n,). A ratio exactly at the threshold
    is accepted as real, as in the official tool (bona fide rejected when its own ratio is strictly below).

    Raises:
        ValueError: bad ratios or labels, or only one class.
    """
    s, y = check_pair(llr, labels)
    check_both_classes(y, "actDCF")
    called_fake = s > costs.bayes_threshold
    p_miss = float(called_fake[y == 0].mean())
    p_false_accept = float((~called_fake[y == 1]).mean())
    return (costs.weight_miss * p_miss + costs.weight_false_accept * p_false_accept) / costs.normaliser


def cllr(llr: ArrayLike, labels: ArrayLike) -> float:
    """Cost of the log-likelihood ratios in bits (Brummer and du Preez 2006, eq. 46; ASVspoof 5 evaluation plan).

    Half the mean of log2(1 + e^-llr) over fakes plus half the mean of log2(1 + e^llr) over real clips. 0 is perfect,
    1 says no more than llr = 0 everywhere, above 1 misleads. `llr` are natural-log, fake over real, shape (n,).

    Raises:
        ValueError: bad ratios or labels, or only one class.
    """
    s, y = check_pair(llr, labels)
    check_both_classes(y, "Cllr")
    fake_bits = np.logaddexp(0, -s[y == 1]).mean()
    real_bits = np.logaddexp(0, s[y == 0]).mean()
    return float(0.5 * (fake_bits + real_bits) / math.log(2))
