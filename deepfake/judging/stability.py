"""Whether a verdict outlives what recordings go through every day: how often it flips, how far the score moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deepfake.judging.clips import ScoredClips
from deepfake.metrics.checks import FloatArray, IntArray, group_codes
from deepfake.metrics.intervals import Estimate
from deepfake.metrics.rates import group_mean, group_rate


@dataclass(frozen=True)
class Moved:
    """The clips of one class under one condition, each against itself as it was.

    Attributes:
        clips: scored both ways.
        flips: share of them whose verdict changed.
        wronged: share of them that was called rightly, and now is not.
        shift: mean change of the log-odds, positive towards fake.
        deviation: standard deviation of that change over the clips, in nats.
    """

    clips: int
    flips: Estimate
    wronged: Estimate
    shift: Estimate
    deviation: float


@dataclass(frozen=True)
class Stability:
    """The human clips over all benign conditions together.

    Attributes:
        conditions: how many. clips: human ones.
        flipped: share whose verdict changes under at least one of them.
        accused: share that is called human as it is, and fake under at least one of them.
        deviation, deviation_90: of one clip's log-odds over the conditions and as it is, the standard deviation: that
            of the middle clip, and that which nine of ten clips stay below.
    """

    conditions: int
    clips: int
    flipped: Estimate
    accused: Estimate
    deviation: float
    deviation_90: float


def moved(clean: ScoredClips, changed: ScoredClips, threshold: float, label: int) -> Moved | None:
    """What a condition does to the clips of one class; None where no clip of it was scored both ways.

    Args:
        clean, changed: fake logits of rows of one set. threshold: on the fake logit. label: 0 real, 1 fake.
    """
    before, after = clean.shared(changed)
    mine = np.flatnonzero(before.labels == label)
    if not mine.size:
        return None
    codes = group_codes(before.independent(), len(before))[mine]
    was, now = before.scores[mine] >= threshold, after.scores[mine] >= threshold
    change = after.scores[mine] - before.scores[mine]
    return Moved(
        clips=mine.size,
        flips=group_rate(was != now, codes, label),
        wronged=group_rate((was == bool(label)) & (now != bool(label)), codes, label),
        shift=group_mean(change, codes),
        deviation=float(change.std(ddof=1)) if mine.size > 1 else 0.0,
    )


def stability(clean: ScoredClips, others: Mapping[str, ScoredClips | None], threshold: float) -> Stability | None:
    """Over several conditions; None without a human clip, without a condition, or where rows are not known.

    A clip that a condition leaves without a score counts with the conditions that it has scores of.
    """
    human = np.flatnonzero(clean.labels == 0)
    if not human.size or not others or clean.rows is None:
        return None
    logits = np.vstack([clean.scores[human], *(_of_rows(one, clean.rows[human]) for one in others.values())])
    known, called = np.isfinite(logits), logits >= threshold
    turned = (called != called[0]) & known
    flipped, accused = turned.any(axis=0), (turned & called).any(axis=0)
    spread = np.array([column[ok].std(ddof=1) for column, ok in zip(logits.T, known.T, strict=True) if ok.sum() > 1])
    codes = group_codes(clean.independent(), len(clean))[human]
    return Stability(
        conditions=len(others),
        clips=human.size,
        flipped=group_rate(flipped, codes, 0),
        accused=group_rate(accused, codes, 0),
        deviation=float(np.median(spread)) if spread.size else 0.0,
        deviation_90=float(np.quantile(spread, 0.9)) if spread.size else 0.0,
    )


def _of_rows(clips: ScoredClips | None, rows: IntArray) -> FloatArray:
    """The scores of these rows, NaN where there is none; shape (rows,)."""
    if clips is None or clips.rows is None:
        return np.full(rows.size, np.nan)
    place = np.minimum(np.searchsorted(clips.rows, rows), clips.rows.size - 1)
    return np.where(clips.rows[place] == rows, clips.scores[place], np.nan)
