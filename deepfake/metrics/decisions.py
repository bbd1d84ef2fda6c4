"""Every decision a detector can take, fitted once on validation scores and carried in its config.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import ArrayLike

from deepfake.metrics.abstention import AbstentionBand, fit_abstention_band
from deepfake.metrics.calibration import Calibration, fit_platt
from deepfake.metrics.costs import ASVSPOOF5, CostModel
from deepfake.metrics.operating_points import RULES, OperatingPoint, choose_threshold, standard_operating_points
from deepfake.metrics.strength import EvidenceScale, Limits, fit_limits, limits_of_points
from deepfake.text import fake_probability

ABSTAIN_NAME = "abstain"  # the operating point that may answer "uncertain"
BAYES_NAME = "bayes"
DEFAULT_NAME = "default"  # the threshold used where nobody asks for another, measured on a set that the entry names
MAX_ERROR = 0.05  # of either class, promised by the abstention band


@dataclass(frozen=True)
class Decisions:
    """Operating points by name, calibration and abstention band; all in units of the fake logit (fake minus real).

    limits: of the calibrated ratios that validation supports; None where nothing is known of them.
    """

    points: dict[str, OperatingPoint]
    calibration: Calibration
    abstention: AbstentionBand
    limits: Limits | None = None

    def to_config(self) -> dict[str, Any]:
        """The keys operating_points, calibration, abstention and, where known, evidence, as plain JSON values.

        Beside each threshold on the fake logit stands the same one as `fake_probability`.
        """
        points = {
            name: {**point.to_dict(), "fake_probability": fake_probability(point.threshold)}
            for name, point in self.points.items()
        }
        return {
            "operating_points": points,
            "calibration": self.calibration.to_dict(),
            "abstention": self.abstention.to_dict(),
            **({} if self.limits is None else {"evidence": self.limits.to_dict()}),
        }

    @classmethod
    def from_config(cls, stored: dict[str, Any]) -> Decisions | None:
        """Rebuild from `to_config`; None when any of its first three keys is missing, as in checkpoints made elsewhere.

        A checkpoint without the key evidence gets the limits that its operating points support.

        Raises:
            TypeError: an entry with unknown or missing fields.
        """
        if not all(key in stored for key in ("operating_points", "calibration", "abstention")):
            return None
        points = {
            name: OperatingPoint.from_dict({k: v for k, v in values.items() if k != "fake_probability"})
            for name, values in stored["operating_points"].items()
        }
        band = AbstentionBand.from_dict(stored["abstention"])
        calibration = Calibration.from_dict(stored["calibration"])
        told = stored.get("evidence")
        others = [point for name, point in points.items() if name != DEFAULT_NAME]
        limits = limits_of_points(calibration, others) if told is None else Limits.from_dict(told)
        return cls(dict(sorted(points.items(), key=_place)), calibration, band, limits)  # a config sorts them by name

    @property
    def scale(self) -> EvidenceScale | None:
        """From scores to what may be said of them; None without limits."""
        return None if self.limits is None else EvidenceScale(self.calibration, self.limits)


def _place(entry: tuple[str, OperatingPoint]) -> tuple[bool, int, float]:
    """Of a point among the others: the default first, then by rule, and the largest share of false alarms first."""
    name, point = entry
    rule = RULES.index(point.rule) if point.rule in RULES else len(RULES)
    return name != DEFAULT_NAME, rule, -(point.max_fpr or 0)


def fit_decisions(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[Any] | None,
    costs: CostModel = ASVSPOOF5,
    max_error: float = MAX_ERROR,
) -> Decisions:
    """Fit everything on validation.

    The points balanced_accuracy, eer, fpr_0.05, fpr_0.01, fpr_0.001 and bayes (the threshold that `costs` set on the
    calibrated ratio); Platt calibration and the limits of its ratios; a band that promises at most `max_error` wrong
    in either class.

    Args:
        scores: fake logits, shape (n,). labels: 0 real, 1 fake, shape (n,).
        groups: the recording of each clip, shape (n,); clips of one recording are not independent.

    Raises:
        ValueError: bad input, or one class only.
    """
    calibration = fit_platt(scores, labels)
    on_ratio = choose_threshold(calibration.llr(scores), labels, "bayes", groups=groups, costs=costs)
    bayes = replace(on_ratio, threshold=calibration.score_threshold(on_ratio.threshold))
    points = (*standard_operating_points(scores, labels, groups), bayes)
    band = fit_abstention_band(scores, labels, max_error, groups=groups)
    limits = fit_limits(calibration.llr(scores), labels, groups)
    return Decisions({point.name: point for point in points}, calibration, band, limits)


def bayes_threshold(calibration: Calibration, wish: str) -> float:
    """Fake logit from which "bayes:PRIOR,MISS,FALSE_ACCEPT" calls a recording fake.

    PRIOR is the share of fakes expected, MISS the cost of calling a real recording fake and FALSE_ACCEPT that of
    letting a fake pass; both costs are 1 when left out.

    Raises:
        ValueError: not one or three numbers, or numbers outside their range.
    """
    parts = wish.partition(":")[2].split(",")
    if len(parts) not in (1, 3):
        raise ValueError(f"{wish} has {len(parts)} numbers after the colon; expected PRIOR or PRIOR,MISS,FALSE_ACCEPT")
    try:
        numbers = [float(part) for part in parts]
    except ValueError as error:
        raise ValueError(f"{wish} holds something that is not a number; expected e.g. bayes:0.01,1,10") from error
    prior, miss, false_accept = numbers if len(numbers) == 3 else (numbers[0], 1.0, 1.0)
    return calibration.score_threshold(CostModel(prior, miss, false_accept).bayes_threshold)
