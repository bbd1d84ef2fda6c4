"""How strong a statement validation can carry: the likelihood ratios it supports, and the words for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepfake.metrics.calibration import Calibration
from deepfake.metrics.checks import FloatArray, check_both_classes, check_pair, group_codes
from deepfake.metrics.operating_points import OperatingPoint

ELUB, OF_POINTS = "ELUB", "operating points"
# The verbal scale of the ENFSI Guideline for Evaluative Reporting in Forensic Science (2015): from this ratio on.
SCALE = (
    (2.0, "weak"),
    (10.0, "moderate"),
    (100.0, "moderately strong"),
    (1_000.0, "strong"),
    (10_000.0, "very strong"),
    (1_000_000.0, "extremely strong"),
)
NO_SUPPORT = "no"


@dataclass(frozen=True)
class Limits:
    """Natural-log likelihood ratios, fake over real, beyond which validation supports no claim.

    Attributes:
        lowest: 0 or below. highest: 0 or above.
        n_real, n_fake: independent groups of either class behind them.
        method: `ELUB`, or `OF_POINTS` where only operating points are known.
    """

    lowest: float
    highest: float
    n_real: int
    n_fake: int
    method: str = ELUB

    @property
    def lowest_lr(self) -> float:
        """As a ratio, rounded to two digits away from what is not supported."""
        return -_two_digits_down(-math.exp(self.lowest))

    @property
    def highest_lr(self) -> float:
        """As a ratio, rounded to two digits away from what is not supported."""
        return _two_digits_down(math.exp(self.highest))

    def cap(self, llr: ArrayLike) -> FloatArray:
        """Ratios, in nats, brought within the limits; any shape."""
        return np.clip(np.asarray(llr, dtype=np.float64), self.lowest, self.highest)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: the fields, and both ends as ratios."""
        return asdict(self) | {"lowest_lr": self.lowest_lr, "highest_lr": self.highest_lr}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Limits:
        """Rebuild from `to_dict`. Raises TypeError on unknown or missing keys."""
        return cls(**{name: value for name, value in values.items() if name not in ("lowest_lr", "highest_lr")})


@dataclass(frozen=True)
class Statement:
    """What a likelihood ratio may be said to mean.

    Attributes:
        llr: in nats, after the cap. capped: whether it was beyond what validation supports.
        strength: a word of ENFSI's scale, or `NO_SUPPORT`.
        favours: "fake" or "real"; None where there is no support for either.
    """

    llr: float
    capped: bool
    strength: str
    favours: str | None

    @property
    def ratio(self) -> float:
        """The ratio of the two probabilities, 1 or more, in favour of `favours`, to two digits and never rounded up."""
        return _two_digits_down(math.exp(abs(self.llr)))


@dataclass(frozen=True)
class EvidenceScale:
    """From a detector's score to a statement."""

    calibration: Calibration
    limits: Limits

    def statement(self, logit: float) -> Statement:
        """Of the fake logit of a recording."""
        raw = float(self.calibration.llr([logit])[0])
        llr = float(self.limits.cap(raw))
        strength = in_words(llr)
        favours = None if strength == NO_SUPPORT else "fake" if llr > 0 else "real"
        return Statement(llr, llr != raw, strength, favours)


def in_words(llr: float) -> str:
    """The word of `SCALE` for a ratio in nats, whichever side it favours; `NO_SUPPORT` below 2."""
    ratio = math.exp(min(abs(llr), 700.0)) * (1 + 1e-12)  # of what was 10 before it went through a logarithm
    return next((word for from_, word in reversed(SCALE) if ratio >= from_), NO_SUPPORT)


def fit_limits(llr: ArrayLike, labels: ArrayLike, groups: Sequence[Any] | None = None) -> Limits:
    """Empirical lower and upper bound of the likelihood ratio, ELUB (Vergeer et al. 2016, Science & Justice 56).

    A ratio t is supported as long as whoever decides by it at prior odds 1 / t fares better than by the prior alone,
    with one misleading observation of either class added to those that were seen:

        (misses + 1) / (n + 1) + t (false alarms + 1) / (m + 1) < min(1, t),

    for n fakes of which `misses` have a ratio below t, and m real clips. Here an observation is an independent group,
    and the shares are those of the clips. The bounds are the ends of the stretch around 1 where it holds.

    Args:
        llr: calibrated, in nats, shape (n,). labels: 0 real, 1 fake, shape (n,).
        groups: what is independent, per clip; None takes every clip as independent.

    Raises:
        ValueError: bad ratios or labels, or one class only.
    """
    s, y = check_pair(llr, labels)
    check_both_classes(y, "the limits of the likelihood ratio")
    codes = group_codes(groups, s.size)
    n_real, n_fake = (int(np.unique(codes[y == label]).size) for label in (0, 1))
    highest = _highest(s[y == 0], s[y == 1], n_real, n_fake)
    lowest = -_highest(-s[y == 1], -s[y == 0], n_fake, n_real)
    return Limits(min(lowest, 0.0), highest, n_real, n_fake)


def limits_of_points(calibration: Calibration, points: Iterable[OperatingPoint]) -> Limits | None:
    """The rule of `fit_limits` at the thresholds of operating points, for a checkpoint that stores no more than these.

    Fakes are taken to come in as few groups as real clips, where these are fewer. None without a point.
    """
    known = sorted(points, key=lambda point: point.threshold)
    if not known:
        return None
    supported = []
    for point in known:
        n_real, n_fake = point.n_real_groups, min(point.n_fake, point.n_real_groups)
        ratio = math.exp(float(calibration.llr([point.threshold])[0]))
        cost = _with_one_more(point.fnr, n_fake) + ratio * _with_one_more(point.fpr, n_real)
        supported.append((math.log(ratio), cost < min(1.0, ratio)))
    above = [(llr, ok) for llr, ok in supported if llr >= 0]
    below = [(llr, ok) for llr, ok in reversed(supported) if llr < 0]
    n_real = min(point.n_real_groups for point in known)
    n_fake = min(min(point.n_fake, point.n_real_groups) for point in known)
    return Limits(_last_supported(below), _last_supported(above), n_real, n_fake, OF_POINTS)


def _last_supported(outwards: list[tuple[float, bool]]) -> float:
    last = 0.0
    for llr, ok in outwards:
        if not ok:
            break
        last = llr
    return last


def _highest(against: FloatArray, for_it: FloatArray, n_against: int, n_for: int) -> float:
    """Upper bound in nats: of ratios that favour the clips `for_it` over those `against`, by groups of either."""
    steps = np.unique(np.concatenate([against, for_it]))
    steps = steps[steps > 0]
    against, for_it = np.sort(against), np.sort(for_it)
    # Whoever decides at a ratio in (previous step, step] calls what is at the step or above.
    alarms = _with_one_more(1 - np.searchsorted(against, steps, "left") / against.size, n_against)
    misses = _with_one_more(np.searchsorted(for_it, steps, "left") / for_it.size, n_for)
    with np.errstate(over="ignore"):
        fails = np.flatnonzero(misses + np.exp(np.minimum(steps, 700.0)) * alarms >= 1)
    if not fails.size:  # beyond the last step every observation is missed
        return float(steps[-1]) if steps.size else 0.0
    first = int(fails[0])
    reached = float(steps[first - 1]) if first else 0.0
    room = (1 - misses[first]) / alarms[first]
    return max(reached, math.log(room)) if room > 0 else reached


def _with_one_more(share: Any, groups: int) -> Any:
    return (groups * share + 1) / (groups + 1)


def _two_digits_down(value: float) -> float:
    """Rounded down to two significant digits: 8.67 to 8.6, and -0.067 to -0.067."""
    if value == 0 or not math.isfinite(value):
        return value
    digits = 1 - math.floor(math.log10(abs(value)))
    factor = 10.0**digits
    return round(math.floor(value * factor * (1 + math.copysign(1e-12, value))) / factor, max(digits, 0))
