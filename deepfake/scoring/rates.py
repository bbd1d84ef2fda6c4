"""What a threshold got wrong where it was measured, as the checkpoint's config records it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deepfake.metrics.decisions import DEFAULT_NAME
from deepfake.text import fake_probability

_SAME = 1e-6  # of a probability that went through a logit and back


@dataclass(frozen=True)
class MeasuredRates:
    """Error rates on named clips, as shares in [0, 1].

    Attributes:
        fpr: lowest and highest share of human recordings called fake. They are equal where this very threshold was
            measured. Elsewhere they are those of the nearest measured thresholds above and below, between which the
            share at this one lies, as it can only fall from threshold to threshold.
        fnr: the same for fakes that were missed.
        fpr_upper: upper confidence bound of `fpr` where this very threshold was measured.
        confidence: of that bound.
        n_real, n_fake: how many clips.
        measured_on: which clips, for a sentence: "on …".
    """

    fpr: tuple[float, float]
    fnr: tuple[float, float]
    fpr_upper: float | None
    confidence: float | None
    n_real: int
    n_fake: int
    measured_on: str


def measured_rates(stored: dict[str, Any], threshold: float, real_below: float | None = None) -> MeasuredRates | None:
    """What is known of a threshold; None where the checkpoint records nothing that surrounds it.

    Args:
        stored: the `detector` entry of the checkpoint's config.
        threshold: as a probability.
        real_below: fakes are missed below this one, where it is another.
    """
    points = {
        float(point.get("fake_probability", fake_probability(point["threshold"]))): point
        for name, point in stored.get("operating_points", {}).items()
        if name != DEFAULT_NAME
    }
    default = stored.get("operating_points", {}).get(DEFAULT_NAME)
    if default is not None and abs(_own_threshold(stored) - threshold) < _SAME:
        return _rates(default, default, default, default)
    below, above = _around(points, threshold)
    missed_below, missed_above = (below, above) if real_below is None else _around(points, real_below)
    if None in (below, above, missed_below, missed_above):
        return None
    return _rates(above, below, missed_below, missed_above)


def _own_threshold(stored: dict[str, Any]) -> float:
    """What the entry `default` was measured at."""
    default = stored["operating_points"][DEFAULT_NAME]
    return float(default.get("fake_probability", fake_probability(default["threshold"])))


def _around(points: dict[float, dict[str, Any]], threshold: float) -> tuple[dict | None, dict | None]:
    """The measured points next to a threshold, or twice the one at it."""
    for value, point in points.items():
        if abs(value - threshold) < _SAME:
            return point, point
    lower, higher = [v for v in points if v < threshold], [v for v in points if v > threshold]
    return (points[max(lower)] if lower else None), (points[min(higher)] if higher else None)


def _rates(fewest: dict, most: dict, least_missed: dict, most_missed: dict) -> MeasuredRates:
    exact = fewest is most
    return MeasuredRates(
        fpr=(float(fewest["fpr"]), float(most["fpr"])),
        fnr=(float(least_missed["fnr"]), float(most_missed["fnr"])),
        fpr_upper=fewest.get("fpr_upper") if exact else None,
        confidence=fewest.get("confidence") if exact else None,
        n_real=int(fewest["n_real"]),
        n_fake=int(fewest["n_fake"]),
        measured_on=fewest.get("set") or "the clips that the model's thresholds were chosen on",
    )
