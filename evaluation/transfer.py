"""Decisions fitted on validation, applied to other clips exactly as they are, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evaluation.checks import check_pair
from evaluation.decisions import ABSTAIN_NAME, Decisions
from evaluation.intervals import bootstrap_intervals
from evaluation.metrics import detection_metrics

RATES_SHOWN = ("fpr", "fnr", "balanced_accuracy")


def transfer(
    decisions: Decisions, scores: ArrayLike, labels: ArrayLike, groups: Sequence[Any] | None, resamples: int = 2000
) -> list[dict[str, Any]]:
    """What each operating point does on clips that had no part in choosing it.

    Args:
        scores: fake logits, shape (n,). labels: 0 real, 1 fake. groups: the recording of each clip, or None.

    Returns:
        One row per point, the abstention band last: name, threshold (fake logit), max_fpr and whether validation was
        large enough to promise it (`supported`, `note`), then value and interval of fpr, fnr, balanced_accuracy. The
        band has `decided`, the share of clips it answers for, and its fpr and fnr count wrong answers only.
    """
    s, y = check_pair(scores, labels)
    rows = []
    for name, point in decisions.points.items():
        known = {"name": name, "threshold": point.threshold, "max_fpr": point.max_fpr}
        promised = {"supported": point.supported, "note": point.note}
        rows.append(known | promised | _rates(s, y, groups, point.threshold, resamples))
    rows.append(_band(decisions, s, y, groups, resamples))
    return rows


def _rates(
    s: np.ndarray, y: np.ndarray, groups: Any, threshold: float, resamples: int, names: Sequence[str] = RATES_SHOWN
) -> dict[str, Any]:
    metrics = detection_metrics(s, y, threshold)
    intervals = bootstrap_intervals(s, y, groups, threshold, names, resamples=resamples)
    return {name: {"value": metrics[name], **intervals[name].to_dict()} for name in names}


def _band(decisions: Decisions, s: np.ndarray, y: np.ndarray, groups: Any, resamples: int) -> dict[str, Any]:
    band = decisions.abstention
    # Where an end is missing that answer is never given, and so never wrong.
    fake_from = np.inf if band.fake_from is None else band.fake_from
    real_below = -np.inf if band.real_below is None else band.real_below
    return {
        "name": ABSTAIN_NAME,
        "fake_from": band.fake_from,
        "real_below": band.real_below,
        "max_error": band.max_error,
        "supported": band.note is None,
        "note": band.note,
        "decided": float(np.mean(band.decide(s) >= 0)),
        **_rates(s, y, groups, fake_from, resamples, ("fpr",)),
        **_rates(s, y, groups, real_below, resamples, ("fnr",)),
    }
