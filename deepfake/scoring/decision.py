"""From fake_probability to a word, by the stored threshold, a named operating point, or one the user gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from deepfake.errors import UserError
from deepfake.metrics.decisions import ABSTAIN_NAME, BAYES_NAME, DEFAULT_NAME, Decisions, bayes_threshold
from deepfake.metrics.strength import EvidenceScale
from deepfake.scoring.rates import MeasuredRates, measured_rates
from deepfake.text import fake_probability

DEFAULT_THRESHOLD = 0.5  # used, and said so, when the checkpoint stores none
# Names of what decides where no operating point is asked for: the threshold that the checkpoint stores (`DEFAULT_NAME`
# where it records what that one gets wrong), a threshold of the user's, and `DEFAULT_THRESHOLD`.
STORED, GIVEN, UNFITTED = "stored", "given", "unfitted"


@dataclass(frozen=True)
class Decision:
    """Call a recording fake at fake_probability >= `threshold`, real below `real_below`, uncertain in between.

    Attributes:
        threshold: probability from which it is fake.
        real_below: probability below which it is real; equal to `threshold` but for the abstention band.
        name: of the operating point; one of `STORED`, `GIVEN`, `UNFITTED` or "default" where none was asked for.
        note: what the validation set could not promise for it.
        never_fake: the band's upper end is missing, so that "fake" is never the answer.
        rates: what it got wrong where it was measured; None where nothing was.
        scale: how strong a statement the scores carry, whatever the threshold; None where nothing is known of it.
    """

    threshold: float
    real_below: float
    name: str = UNFITTED
    note: str | None = None
    never_fake: bool = False
    rates: MeasuredRates | None = None
    scale: EvidenceScale | None = None

    @property
    def is_default(self) -> bool:
        """Nothing was stored or given, and `threshold` is 0.5."""
        return self.name == UNFITTED

    def prediction(self, fake_probability: float) -> str:
        """ "fake", "real" or, in the abstention band only, "uncertain"."""
        if fake_probability >= self.threshold and not self.never_fake:
            return "fake"
        return "real" if fake_probability < self.real_below else "uncertain"


def decide_by(stored: dict[str, Any], threshold: float | None = None, operating_point: str | None = None) -> Decision:
    """The rule asked for.

    Args:
        stored: the `detector` entry of the checkpoint's config; may be empty.
        threshold: a fake_probability that overrides what is stored.
        operating_point: a stored name, "default", "abstain", or "bayes:PRIOR,MISS,FALSE_ACCEPT".

    Raises:
        UserError: both are given, or the checkpoint stores no such operating point.
    """
    if threshold is not None and operating_point is not None:
        raise UserError("a threshold and an operating point were both given; give one of the two")
    decision = _decide_by(stored, threshold, operating_point)
    below = None if decision.real_below == decision.threshold else decision.real_below
    decisions = Decisions.from_config(stored)
    scale = None if decisions is None else decisions.scale
    return replace(decision, rates=measured_rates(stored, decision.threshold, below), scale=scale)


def _decide_by(stored: dict[str, Any], threshold: float | None, operating_point: str | None) -> Decision:
    default = stored.get("operating_points", {}).get(DEFAULT_NAME)
    if operating_point is None or (operating_point == DEFAULT_NAME and default is not None):
        return _decide_by_default(stored, threshold, default)
    decisions = Decisions.from_config(stored)
    if decisions is None:
        raise UserError(
            f"the checkpoint stores no operating points, so {operating_point} is unknown; give a threshold instead, or "
            "a checkpoint trained with train_wav2vec2.py"
        )
    if operating_point == ABSTAIN_NAME:
        band = decisions.abstention
        high = 1.0 if band.fake_from is None else fake_probability(band.fake_from)
        low = 0.0 if band.real_below is None else fake_probability(band.real_below)
        return Decision(high, low, name=ABSTAIN_NAME, note=band.note, never_fake=band.fake_from is None)
    if operating_point.startswith(f"{BAYES_NAME}:"):
        try:
            value = fake_probability(bayes_threshold(decisions.calibration, operating_point))
        except ValueError as error:
            raise UserError(str(error)) from error
        return Decision(value, value, name=operating_point)
    if operating_point not in decisions.points:
        known = ", ".join((*decisions.points, ABSTAIN_NAME))
        raise UserError(f"there is no operating point {operating_point}; stored are {known}, and bayes:PRIOR works too")
    point = decisions.points[operating_point]
    value = fake_probability(point.threshold)
    return Decision(value, value, name=operating_point, note=point.note)


def _decide_by_default(stored: dict[str, Any], threshold: float | None, default: dict[str, Any] | None) -> Decision:
    """The threshold of the user's, or the stored one, by which the entry `default` may also leave some uncertain."""
    if threshold is not None:
        return Decision(threshold, threshold, name=GIVEN)
    value = stored.get("threshold")
    if default is None:
        return Decision(DEFAULT_THRESHOLD, DEFAULT_THRESHOLD) if value is None else Decision(value, value, name=STORED)
    value = fake_probability(default["threshold"]) if value is None else value
    low = default.get("real_below")
    return Decision(value, value if low is None else min(value, fake_probability(low)), name=DEFAULT_NAME)
