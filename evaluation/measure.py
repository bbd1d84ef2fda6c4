"""One set of scored clips → everything the report says about it, as plain JSON values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from evaluation.breakdown import breakdowns
from evaluation.clips import ScoredClips
from evaluation.costs import act_dcf, cllr, min_dcf
from evaluation.decisions import Decisions
from evaluation.intervals import bootstrap_intervals, paired_difference
from evaluation.metrics import brier_score, detection_metrics, expected_calibration_error, interpolated_eer
from evaluation.series import series
from evaluation.transfer import transfer

WITH_INTERVALS = (
    "roc_auc", "eer", "pr_auc", "min_dcf", "accuracy", "balanced_accuracy", "fpr", "fnr",
    "precision_fake", "recall_fake", "f1_fake", "precision_real", "recall_real", "f1_real",
)  # fmt: skip
COMPARED = ("roc_auc", "eer", "accuracy", "balanced_accuracy", "fpr", "fnr")
UNITS = ("recordings", "speakers", "generators")


@dataclass(frozen=True)
class Judge:
    """How clips are judged: fixed before any of them was seen.

    Attributes:
        threshold: a clip is called fake at score >= threshold, in the unit of the scores.
        unit: "fake_logit", "fake_probability" or "score".
        origin: who chose the threshold and where, in words.
        split: the split it was chosen on, None when unknown.
        decisions: operating points, calibration and abstention band; None when there are none.
    """

    threshold: float
    unit: str
    origin: str
    split: str | None
    decisions: Decisions | None

    def probabilities(self, scores: np.ndarray) -> np.ndarray | None:
        """The detector's own P(fake), before any calibration; None when the scores are no such thing."""
        if self.unit == "fake_logit":
            return expit(scores)
        return scores if self.unit == "fake_probability" else None


def measure(clips: ScoredClips, judge: Judge, resamples: int = 2000) -> dict[str, Any]:
    """Facts, metrics, intervals, operating points, breakdowns and curve points of one set.

    Intervals are over recordings, and over speakers and generators where these are known. Cllr, actDCF and the
    calibrated Brier score and ECE need a stored calibration and are None without one.
    """
    intervals = {}
    for unit in UNITS:
        groups = clips.groups(unit)
        if unit == "recordings" or groups is not None:
            found = bootstrap_intervals(clips.scores, clips.labels, groups, judge.threshold, WITH_INTERVALS, resamples)
            intervals[unit] = {name: interval.to_dict() for name, interval in found.items()}
    decisions = judge.decisions
    points = None
    if decisions is not None and 0 < clips.labels.sum() < len(clips):
        points = transfer(decisions, clips.scores, clips.labels, clips.groups(), resamples)
    return {
        "facts": facts(clips),
        "metrics": metrics(clips, judge),
        "intervals": intervals,
        "operating_points": points,
        "breakdowns": breakdowns(clips, judge.threshold, resamples),
        "series": series(clips, judge),
    }


def metrics(clips: ScoredClips, judge: Judge) -> dict[str, Any]:
    """Every metric of the set; None where the clips or the judge do not define it."""
    s, y = clips.scores, clips.labels
    values: dict[str, Any] = detection_metrics(s, y, judge.threshold, judge.probabilities(s))
    both = 0 < values["n_fake"] < values["n"]
    values["eer_interpolated"] = interpolated_eer(s, y) if both else None
    values["min_dcf"] = min_dcf(s, y) if both else None
    calibration = judge.decisions.calibration if judge.decisions else None
    llr = calibration.llr(s) if calibration and both else None
    values["act_dcf"] = None if llr is None else act_dcf(llr, y)
    values["cllr"] = None if llr is None else cllr(llr, y)
    # Ratios become probabilities through the share of fakes here: that share is not the detector's to know.
    p = calibration.probability(s, values["n_fake"] / values["n"]) if calibration and both else None
    values["brier_calibrated"] = None if p is None else brier_score(p, y)
    values["ece_calibrated"] = None if p is None else expected_calibration_error(p, y)
    return {"brier": None, "ece": None} | values


def facts(clips: ScoredClips) -> dict[str, Any]:
    """How many clips, recordings, speakers and minutes of each class, and which generators and languages."""
    result: dict[str, Any] = {}
    for label, name in enumerate(("real", "fake")):
        mine = clips.take(clips.labels == label) if (clips.labels == label).any() else None
        durations = [d for d in mine.facts["duration_s"] if d is not None] if mine else []
        result[name] = {
            "clips": len(mine) if mine else 0,
            "recordings": _distinct(mine, "source"),
            "speakers": _distinct(mine, "speaker"),
            "minutes": round(sum(durations) / 60, 2) if mine and len(durations) == len(mine) else None,
        }
    for column in ("generator", "language", "container"):
        counts = Counter(str(value) for value in clips.facts[column] if value)
        result[f"{column}s"] = dict(sorted(counts.items()))
    return result


def compare(a: ScoredClips, judge_a: Judge, b: ScoredClips, judge_b: Judge, resamples: int) -> dict[str, Any]:
    """A minus B on the same clips, each at its own threshold, with intervals over recordings."""
    found = paired_difference(
        a.scores, b.scores, a.labels, a.groups(), judge_a.threshold, judge_b.threshold, COMPARED, resamples
    )
    return {name: difference.to_dict() for name, difference in found.items()}


def _distinct(clips: ScoredClips | None, column: str) -> int | None:
    if clips is None:
        return 0
    return len({value for value in clips.facts[column] if value}) or None
