"""The judge: scored clips and decisions fixed before → a `JudgedSet`. Nothing else computes metrics of a detector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import logit

from deepfake.judging.clips import ScoredClips
from deepfake.judging.record import (
    FAKE_LOGIT,
    FAKE_PROBABILITY,
    NOT_CHOSEN,
    VALIDATION,
    AppliedBand,
    AppliedPoint,
    ClassFacts,
    ClipFacts,
    Confusion,
    JudgedSet,
    Part,
    Threshold,
)
from deepfake.judging.series import Series, series
from deepfake.judging.statements import statements
from deepfake.judging.transfer import Transfer, threshold_transfer
from deepfake.judging.worst import false_alarms, matrix
from deepfake.metrics.checks import FloatArray
from deepfake.metrics.decisions import ABSTAIN_NAME, Decisions
from deepfake.metrics.definitions import confusion_rates, detection_metrics, interpolated_eer
from deepfake.metrics.intervals import Difference, Estimate, bootstrap_intervals
from deepfake.metrics.losses import ClipLosses, act_dcf_losses, brier_losses, cllr_losses, ece_losses
from deepfake.metrics.paired import paired_difference
from deepfake.metrics.strength import EvidenceScale
from deepfake.text import fake_probability

RATES = tuple(confusion_rates(1, 1, 1, 1))
OF_PROBABILITY = ("brier", "ece", "brier_calibrated", "ece_calibrated", "cllr", "act_dcf")
WITH_INTERVALS = ("roc_auc", "eer", "pr_auc", "min_dcf", *RATES, *OF_PROBABILITY)
KNOWN = (*WITH_INTERVALS, "eer_interpolated")
SHOWN = ("roc_auc", "eer", "balanced_accuracy", "fpr", "fnr")  # of parts of a set
COMPARED = ("roc_auc", "eer", "accuracy", "balanced_accuracy", "fpr", "fnr")
UNITS = ("speakers", "generators")  # what intervals are over, beside recordings
RESAMPLES = 2000
# A t interval needs no more of the resamples than their standard deviation, which 500 give to 3 %. Parts of few clips
# cost nothing and keep all; a hundred thousand clips in sixty parts would take minutes.
LARGE_PART, ITS_RESAMPLES = 10_000, 500
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Judge:
    """How clips are judged: fixed before any of them was seen.

    decisions: operating points, calibration and abstention band; None when there are none.
    """

    threshold: Threshold
    decisions: Decisions | None = None

    @classmethod
    def of_checkpoint(cls, stored: Mapping[str, Any]) -> Judge | None:
        """The judge that a checkpoint brings: the `detector` entry of its config; None when it stores no threshold."""
        if stored.get("threshold") is None:
            return None
        value = float(logit(np.clip(stored["threshold"], 1e-12, 1 - 1e-12)))
        split, rule = stored.get("threshold_split"), stored.get("threshold_rule")
        by = str(rule or "an unnamed rule").replace("_", " ")
        origin = f"stored in the checkpoint, chosen on {split or 'clips nobody recorded'} by {by}"
        return cls(Threshold(value, FAKE_LOGIT, origin, split, rule), Decisions.from_config(dict(stored)))

    @classmethod
    def by_default(cls) -> Judge:
        """For a checkpoint without a threshold, and nothing to choose one on: fake_probability 0.5."""
        origin = "none is stored; fake_probability 0.5, not chosen on any clips"
        return cls(Threshold(0.0, FAKE_LOGIT, origin, NOT_CHOSEN))

    @property
    def scale(self) -> EvidenceScale | None:
        """From scores to what may be said of them; None where no calibration with its limits is known."""
        return None if self.decisions is None else self.decisions.scale

    def probabilities(self, scores: FloatArray) -> FloatArray | None:
        """The detector's own P(fake), before any calibration; None when the scores are no such thing."""
        if self.threshold.unit == FAKE_LOGIT:
            return fake_probability(scores)
        return scores if self.threshold.unit == FAKE_PROBABILITY else None

    def calibrated(self, clips: ScoredClips) -> FloatArray | None:
        """P(fake) by the stored calibration; None without one, or without both classes.

        Ratios become probabilities through the share of fakes in the set: that share is not the detector's to know.
        """
        share = float(clips.labels.mean())
        known = self.decisions is not None and 0 < share < 1
        return self.decisions.calibration.probability(clips.scores, share) if known else None


def measure_set(
    clips: ScoredClips,
    judge: Judge,
    role: str,
    resamples: int = RESAMPLES,
    groups: Sequence[Any] | None = None,
    with_parts: bool = True,
) -> JudgedSet:
    """Facts, metrics, intervals, operating points and breakdowns of one set; without its series.

    Cllr, actDCF and the calibrated Brier score and ECE need a stored calibration and are undefined without one. The
    operating points of validation, where they were fitted, would say nothing.

    Args:
        groups: what is resampled as one, per clip; the recording where None is given.
        with_parts: also judge the parts that `breakdowns` makes.
    """
    threshold = judge.threshold.value
    values = detection_metrics(clips.scores, clips.labels, threshold)
    both = 0 < clips.labels.sum() < len(clips)
    losses = _losses(clips, judge)
    names = (*WITH_INTERVALS[: -len(OF_PROBABILITY)], *losses)
    metrics = _estimates(clips, threshold, names, resamples, losses, groups)
    metrics |= {name: Estimate(None) for name in OF_PROBABILITY if name not in losses}
    metrics["eer_threshold"] = Estimate(values["eer_threshold"])
    metrics["eer_interpolated"] = Estimate(interpolated_eer(clips.scores, clips.labels) if both else None)
    regrouped = {
        unit: _estimates(clips, threshold, WITH_INTERVALS[: -len(OF_PROBABILITY)], resamples, {}, of_unit)
        for unit in UNITS
        if (of_unit := clips.groups(unit)) is not None
    }
    applies = judge.decisions is not None and both and role != VALIDATION
    return JudgedSet(
        role=role,
        n=len(clips),
        facts=facts(clips.labels, clips.facts),
        confusion=Confusion(*(values[name] for name in ("tp", "tn", "fp", "fn"))),
        metrics=metrics,
        regrouped=regrouped,
        operating_points=applied(judge.decisions, clips, resamples) if applies else (),
        breakdowns=breakdowns(clips, threshold, resamples) if with_parts else {},
        unscored=clips.unscored,
        matrix=matrix(clips, threshold) if both else None,
        false_alarms=false_alarms(clips, threshold),
        transfer=_transfer(clips, judge, resamples) if both and role != VALIDATION else None,
        statements=statements(clips, judge.scale) if both and judge.scale is not None else None,
    )


def drawn(clips: ScoredClips, judge: Judge) -> Series:
    """The points of a set's pictures."""
    calibrated = judge.calibrated(clips)
    own = judge.probabilities(clips.scores) if judge.decisions is None else None
    return series(
        clips, judge.threshold.value, own if calibrated is None else calibrated, calibrated is not None, judge.scale
    )


def estimates(
    clips: ScoredClips,
    threshold: float,
    names: Sequence[str],
    resamples: int = RESAMPLES,
    groups: Sequence[Any] | None = None,
) -> dict[str, Estimate]:
    """The named metrics with 95 % intervals.

    Args:
        names: of `detection_metrics`, or min_dcf.
        groups: what is resampled as one, per clip; the recording where None is given.
    """
    return _estimates(clips, threshold, names, resamples, {}, groups)


def facts(labels: Sequence[int] | np.ndarray, columns: Mapping[str, Sequence[Any]]) -> ClipFacts:
    """How many clips, recordings, speakers and minutes of each class, and which generators, languages and containers.

    Args:
        labels: 0 real, 1 fake, shape (n,).
        columns: of n values each, any of source, speaker, duration_s, generator, language and container.
    """
    y = np.asarray(labels)
    classes = []
    for label in (0, 1):
        mine = np.flatnonzero(y == label)
        durations = [columns["duration_s"][i] for i in mine] if "duration_s" in columns else [None]
        classes.append(
            ClassFacts(
                clips=int(mine.size),
                recordings=_distinct(columns, "source", mine),
                speakers=_distinct(columns, "speaker", mine),
                minutes=None if None in durations else round(sum(durations) / 60, 2),
            )
        )
    counts = (Counter(str(v) for v in columns.get(name, ()) if v) for name in ("generator", "language", "container"))
    return ClipFacts(*classes, *(dict(sorted(count.items())) for count in counts))


def breakdowns(clips: ScoredClips, threshold: float, resamples: int = RESAMPLES) -> dict[str, tuple[Part, ...]]:
    """Parts by each column that knows at least one of its values.

    A generator's part sets its fakes against all real clips of the set. The other parts hold both classes; with one
    class only, ranking metrics are undefined and the rate of that class is left.
    """
    names = np.array([str(g) if g else UNKNOWN for g in clips.facts["generator"]])
    real = clips.labels == 0
    result = {"generator": {name: real | (names == name) & ~real for name in sorted(set(names[~real]))}}
    columns: dict[str, Any] = {name: clips.facts[name] for name in ("language", "speaker_group", "container")}
    columns["duration"] = clips.bands()
    for name, values in columns.items():
        known = np.array([UNKNOWN if value is None else str(value) for value in values])
        result[name] = {value: known == value for value in sorted(set(known), key=_by_number)}

    def drawn_for(chosen: np.ndarray) -> int:
        return min(resamples, ITS_RESAMPLES) if np.count_nonzero(chosen) > LARGE_PART else resamples

    return {
        column: tuple(part(value, clips.take(chosen), threshold, drawn_for(chosen)) for value, chosen in parts.items())
        for column, parts in result.items()
        if set(parts) - {UNKNOWN}
    }


def part(
    name: str,
    clips: ScoredClips,
    threshold: float,
    resamples: int = RESAMPLES,
    groups: Sequence[Any] | None = None,
) -> Part:
    """Some clips of a set, judged; `groups` as for `measure_set`."""
    found = facts(clips.labels, clips.facts)
    return Part(name, found.real, found.fake, estimates(clips, threshold, SHOWN, resamples, groups))


def applied(decisions: Decisions, clips: ScoredClips, resamples: int = RESAMPLES) -> tuple[AppliedPoint, ...]:
    """What each operating point does on clips that had no part in choosing it, the abstention band last.

    The scores must be fake logits.
    """
    points = [
        AppliedPoint(
            name=name,
            **estimates(clips, point.threshold, ("fpr", "fnr", "balanced_accuracy"), resamples),
            threshold=point.threshold,
            max_fpr=point.max_fpr,
            supported=point.supported,
            note=point.note,
        )
        for name, point in decisions.points.items()
    ]
    band = decisions.abstention
    # Where an end is missing that answer is never given, and so never wrong.
    fake_from = np.inf if band.fake_from is None else band.fake_from
    real_below = -np.inf if band.real_below is None else band.real_below
    decided = float(np.mean(band.decide(clips.scores) >= 0))
    found = AppliedPoint(
        name=ABSTAIN_NAME,
        **estimates(clips, fake_from, ("fpr",), resamples),
        **estimates(clips, real_below, ("fnr",), resamples),
        supported=band.note is None,
        note=band.note,
        band=AppliedBand(band.fake_from, band.real_below, band.max_error, decided),
    )
    return (*points, found)


def compare(
    a: ScoredClips,
    judge_a: Judge,
    b: ScoredClips,
    judge_b: Judge,
    resamples: int = RESAMPLES,
    names: Sequence[str] = COMPARED,
) -> dict[str, Difference]:
    """A minus B on the clips that both have a score of, each at its own threshold, with intervals over recordings."""
    a, b = a.shared(b)
    if not len(a):
        return dict.fromkeys(names, Difference(None, None, Estimate(None, warning="no clip has a score of both.")))
    limits = (judge_a.threshold.value, judge_b.threshold.value)
    return paired_difference(a.scores, b.scores, a.labels, a.groups(), *limits, names, resamples)


def _transfer(clips: ScoredClips, judge: Judge, resamples: int) -> Transfer:
    llr = None if judge.decisions is None else judge.decisions.calibration.llr(clips.scores)
    return threshold_transfer(clips.scores, clips.labels, clips.groups(), judge.threshold.value, llr, resamples)


def _estimates(
    clips: ScoredClips,
    threshold: float,
    names: Sequence[str],
    resamples: int,
    losses: Mapping[str, ClipLosses],
    groups: Sequence[Any] | None = None,
) -> dict[str, Estimate]:
    groups = clips.groups() if groups is None else groups
    found = bootstrap_intervals(clips.scores, clips.labels, groups, threshold, names, resamples, losses=losses)
    # The bootstrap's own value of a metric is the same to the last digits; this one is it to the last bit.
    exact = detection_metrics(clips.scores, clips.labels, threshold)
    return {name: replace(one, value=exact.get(name, one.value)) for name, one in found.items()}


def _losses(clips: ScoredClips, judge: Judge) -> dict[str, ClipLosses]:
    """The metrics of probabilities that this judge can give of these clips."""
    y, found = clips.labels, {}
    own, calibrated = judge.probabilities(clips.scores), judge.calibrated(clips)
    if own is not None:
        found |= {"brier": brier_losses(own, y), "ece": ece_losses(own, y)}
    if calibrated is not None:
        llr = judge.decisions.calibration.llr(clips.scores)
        found |= {"brier_calibrated": brier_losses(calibrated, y), "ece_calibrated": ece_losses(calibrated, y)}
        found |= {"cllr": cllr_losses(llr, y), "act_dcf": act_dcf_losses(llr, y)}
    return found


def _distinct(columns: Mapping[str, Sequence[Any]], name: str, mine: np.ndarray) -> int | None:
    """Known values among `mine`; 0 without clips, None when nobody knows one."""
    if not mine.size:
        return 0
    return len({columns[name][i] for i in mine if columns[name][i]}) or None if name in columns else None


def _by_number(name: str) -> tuple[bool, float, str]:
    """Durations by their first number ("under 3 s" before "3–5 s"), all else by name, unknown last."""
    digits = "".join(c for c in name.split("–")[0] if c.isdigit() or c == ".")
    if name.endswith(" s") or name.endswith("more"):
        return False, float(digits) - 0.5 * name.startswith("under"), name
    return name == UNKNOWN, 0.0, name
