"""When to say "cannot tell": a band of scores chosen so that each class's error rate is promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfake.metrics.bounds import smallest_supporting_n
from deepfake.metrics.checks import (
    FloatArray,
    IntArray,
    check_both_classes,
    check_fraction,
    check_pair,
    check_scores,
    group_codes,
)
from deepfake.metrics.operating_points import lowest_safe_threshold

ABSTAIN = -1


@dataclass(frozen=True)
class AbstentionBand:
    """Call a clip fake at score >= `fake_from`, real at score < `real_below`, and abstain in between.

    The promise: of fresh real clips at most a share `max_error` is called fake, and of fresh fakes at most that share
    is called real. Without a `confidence` it holds on average over validation sets (split conformal); with one, it
    holds for both classes at once in at least that share of validation sets. It assumes fresh clips (or groups) drawn
    as the validation ones were: a new generator or channel voids it. An end is None where the validation set is too
    small to promise it; that decision is then never made, and `note` says so.
    """

    fake_from: float | None
    real_below: float | None
    max_error: float
    confidence: float | None
    n_real: int
    n_fake: int
    note: str | None = None

    def decide(self, scores: ArrayLike) -> NDArray[np.int64]:
        """1 fake, 0 real, -1 abstain per score, shape (n,). Raises ValueError on empty or non-finite scores."""
        s = check_scores(scores)
        decision = np.full(s.size, ABSTAIN, dtype=np.int64)
        if self.real_below is not None:
            decision[s < self.real_below] = 0
        if self.fake_from is not None:
            decision[s >= self.fake_from] = 1
        return decision

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, one key per field."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AbstentionBand:
        """Rebuild from `to_dict`. Raises TypeError on unknown or missing keys."""
        return cls(**values)


def fit_abstention_band(
    scores: ArrayLike,
    labels: ArrayLike,
    max_error: float,
    confidence: float | None = 0.95,
    groups: Sequence[Any] | None = None,
) -> AbstentionBand:
    """Fit the band on validation clips, one class at a time (class-conditional split conformal).

    With `confidence` None: a clip is called fake when fewer than max_error (n_real + 1) of the real validation clips
    and itself score as high (Vovk et al. 2005, Mondrian conformal); clips must be exchangeable. With a confidence,
    each class's limit is the order statistic whose exceedance is promised by the exact binomial bound (Vovk 2012,
    training-conditional validity), at half the risk per class; with `groups`, by the bound for the average group of
    `lowest_safe_threshold`. Where the two limits cross, no clip needs abstaining and both become the middle.

    Args:
        scores: fake_score, shape (n,). labels: 0 real, 1 fake, shape (n,). max_error: in (0, 1).

    Raises:
        ValueError: bad input, one class only, numbers outside (0, 1), or groups without a confidence.
    """
    s, y = check_pair(scores, labels)
    check_both_classes(y, "an abstention band")
    check_fraction(max_error, "max_error")
    if confidence is None and groups is not None:
        raise ValueError("groups need a confidence: the average-case promise takes every clip as independent.")
    codes = group_codes(groups, s.size) if groups is not None else None
    fake_from = _limit(s, y == 0, codes, max_error, confidence)
    mirrored = _limit(-s, y == 1, codes, max_error, confidence)
    real_below = None if mirrored is None else _just_inside(-mirrored)
    if fake_from is not None and real_below is not None and real_below > fake_from:
        fake_from = real_below = fake_from / 2 + real_below / 2
    note = _note(fake_from, real_below, y, max_error, confidence)
    n_fake = int(y.sum())
    return AbstentionBand(fake_from, real_below, max_error, confidence, y.size - n_fake, n_fake, note)


def _limit(
    s: FloatArray, of_class: NDArray[np.bool_], codes: IntArray | None, max_error: float, confidence: float | None
) -> float | None:
    """Lowest score from which the class may be ruled out, or None when its clips are too few."""
    mine = s[of_class]
    if confidence is not None:
        check_fraction(confidence, "confidence")
        per_class = 1 - (1 - confidence) / 2
        return lowest_safe_threshold(mine, None if codes is None else codes[of_class], max_error, per_class)
    rank = int(np.floor(max_error * (mine.size + 1) + 1e-9))  # this many may reach the limit, the fresh clip included
    if rank < 1:
        return None
    return float(np.nextafter(np.sort(mine)[mine.size - rank], np.inf))


def _just_inside(limit: float) -> float:
    """Scores <= limit are safe to call real, but the rule reads score < real_below."""
    return float(np.nextafter(limit, np.inf))


def _note(
    fake_from: float | None, real_below: float | None, y: IntArray, max_error: float, confidence: float | None
) -> str | None:
    missing = [word for word, end in (("fake", fake_from), ("real", real_below)) if end is None]
    if not missing:
        return None
    if confidence is None:
        needed = int(np.ceil(1 / max_error - 1e-9)) - 1
    else:
        needed = smallest_supporting_n(max_error, 1 - (1 - confidence) / 2)
    return (
        f"not supported by n: never calls a clip {' or '.join(missing)}; at least {needed} independent validation "
        f"clips or groups of each class are needed to promise errors <= {max_error:g}."
    )
