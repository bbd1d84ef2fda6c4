"""From scores to log-likelihood ratios: what the clip says, apart from how common fakes were in training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepfake.metrics.checks import FloatArray, check_both_classes, check_fraction, check_pair, check_scores

SLOPE_RANGE = (1e-4, 1e4)


@dataclass(frozen=True)
class Calibration:
    """llr = slope * score + bias, in nats, fake over real.

    `score` is the logit difference (fake - real) the calibration was fitted on. The slope is positive: calibration
    never reorders clips, so AUC and EER stay as they were. Positive ratios speak for fake.
    """

    slope: float
    bias: float
    method: str
    n_real: int
    n_fake: int

    def __post_init__(self) -> None:
        if not (self.slope > 0 and math.isfinite(self.slope) and math.isfinite(self.bias)):
            raise ValueError(f"calibration needs a positive slope and a finite bias; found {self.slope}, {self.bias}.")

    def llr(self, scores: ArrayLike) -> FloatArray:
        """Log-likelihood ratios of scores of shape (n,). Raises ValueError on empty or non-finite scores."""
        return self.slope * check_scores(scores) + self.bias

    def probability(self, scores: ArrayLike, prior_fake: float = 0.5) -> FloatArray:
        """P(fake) in [0, 1], shape (n,), where a share `prior_fake` of the clips is expected to be fake (Bayes).

        Raises:
            ValueError: bad scores, or prior_fake outside (0, 1).
        """
        from scipy.special import expit, logit  # late: reading a stored calibration needs no scipy

        return expit(self.llr(scores) + logit(check_fraction(prior_fake, "prior_fake")))

    def score_threshold(self, llr_threshold: float) -> float:
        """The score at which the ratio equals `llr_threshold`, such as `CostModel.bayes_threshold`."""
        return (llr_threshold - self.bias) / self.slope

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, one key per field."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Calibration:
        """Rebuild from `to_dict`. Raises TypeError on unknown or missing keys, ValueError on a slope not above 0."""
        return cls(**values)


def fit_platt(scores: ArrayLike, labels: ArrayLike) -> Calibration:
    """Two numbers: llr = a score + b, the logistic regression that minimises Cllr on validation.

    Platt 1999 with his softened targets, (n + 1) / (n + 2) and 1 / (n + 2), which keep the slope finite when the
    classes are perfectly separated; each class weighs one half, so the result is a likelihood ratio whatever the mix
    of the validation clips (Brummer and du Preez 2006). Scores that rank the classes the wrong way round get the
    smallest slope, that is ratios near 0.

    Args:
        scores: any score that rises with fakeness, shape (n,); logit differences suit best. labels: shape (n,).

    Raises:
        ValueError: bad input or one class only.
    """
    s, y = check_pair(scores, labels)
    check_both_classes(y, "calibration")
    centre, scale = float(s.mean()), float(s.std()) or 1.0
    loss = _smoothed_cllr((s - centre) / scale, y)
    from scipy import optimize

    best = optimize.minimize(
        lambda x: loss(x[0], x[1]),
        x0=np.array([1.0, 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[SLOPE_RANGE, (None, None)],
        options={"ftol": 1e-14, "gtol": 1e-10},
    )
    slope = float(best.x[0]) / scale
    return Calibration(slope, float(best.x[1]) - slope * centre, "platt", int((y == 0).sum()), int(y.sum()))


def _smoothed_cllr(s: FloatArray, y: np.ndarray) -> Callable[[float, float], tuple[float, np.ndarray]]:
    """Cross-entropy in nats, each class weighing one half, against Platt's softened targets; with its gradient."""
    from scipy.special import expit

    n_fake = int(y.sum())
    n_real = y.size - n_fake
    target = np.where(y == 1, (n_fake + 1) / (n_fake + 2), 1 / (n_real + 2))
    weight = np.where(y == 1, 0.5 / n_fake, 0.5 / n_real)

    def loss(slope: float, bias: float) -> tuple[float, np.ndarray]:
        llr = slope * s + bias
        value = float(np.dot(weight, np.logaddexp(0, llr) - target * llr))
        residual = weight * (expit(llr) - target)
        return value, np.array([np.dot(residual, s), residual.sum()])

    return loss
