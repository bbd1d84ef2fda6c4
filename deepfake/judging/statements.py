"""What a detector's likelihood ratios may be said to mean, and how often they would have misled on these clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfake.judging.clips import ScoredClips
from deepfake.metrics.checks import FloatArray, group_codes
from deepfake.metrics.intervals import Estimate
from deepfake.metrics.rates import group_rate
from deepfake.metrics.strength import NO_SUPPORT, SCALE, EvidenceScale, Limits, fit_limits


@dataclass(frozen=True)
class Band:
    """Clips of which one thing would be said.

    Attributes:
        favours: "fake", "real", or None where there is no support for either. strength: the word for it.
        real, fake: clips of either class.
    """

    favours: str | None
    strength: str
    real: int
    fake: int


@dataclass(frozen=True)
class Statements:
    """Everything that would be said of the clips of a set.

    Attributes:
        limits: within which ratios are stated, from validation.
        limits_here: that this set would support by itself. Where it supports less, the stated ones say too much here.
        bands: from the strongest support for human speech to the strongest for synthesis, those that can occur.
        misleading_real: share of human clips with support for synthesis, of any strength.
        misleading_fake: share of fakes with support for human speech.
    """

    limits: Limits
    limits_here: Limits
    bands: tuple[Band, ...]
    misleading_real: Estimate
    misleading_fake: Estimate


def statements(clips: ScoredClips, scale: EvidenceScale) -> Statements:
    """What the scale says of fake logits. Raises ValueError with one class only."""
    codes = group_codes(clips.independent(), len(clips))
    llr = scale.calibration.llr(clips.scores)
    capped = scale.limits.cap(llr)
    bands, of_clip = _bands(scale.limits, capped)
    real, fake = clips.labels == 0, clips.labels == 1
    side = np.array([{"fake": 1, "real": -1, None: 0}[favours] for favours, _ in bands])[of_clip]
    return Statements(
        limits=scale.limits,
        limits_here=fit_limits(llr, clips.labels, codes.tolist()),
        bands=tuple(
            Band(*name, int((real & (of_clip == i)).sum()), int((fake & (of_clip == i)).sum()))
            for i, name in enumerate(bands)
        ),
        misleading_real=group_rate(side[real] == 1, codes[real], 0),
        misleading_fake=group_rate(side[fake] == -1, codes[fake], 1),
    )


def _bands(limits: Limits, capped: FloatArray) -> tuple[list[tuple[str | None, str]], np.ndarray]:
    """(favours, strength) of every band within the limits, rising, and which of them each clip is in."""
    tiny = 1e-12  # a ratio of exactly 10 is in the band from 10 on, on either side
    edges = np.log([start for start, _ in SCALE]) - tiny
    words = [word for _, word in SCALE]
    above, below = int((edges <= limits.highest).sum()), int((edges <= -limits.lowest).sum())
    names = [("real", word) for word in reversed(words[:below])]
    names += [(None, NO_SUPPORT), *(("fake", word) for word in words[:above])]
    of_clip = below + np.searchsorted(edges[:above], capped, "right") - np.searchsorted(edges[:below], -capped, "right")
    return names, of_clip
