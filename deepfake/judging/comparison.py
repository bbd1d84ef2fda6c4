"""Several detectors on the same clips: compare.json of `python -m evaluation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.judging.clips import ScoredClips
from deepfake.judging.codec import FORMAT, from_json, read_document, to_json
from deepfake.judging.judge import RESAMPLES, SHOWN, Judge, drawn, facts
from deepfake.judging.record import TEST, ClipFacts, Confusion, JudgedSet, Threshold
from deepfake.metrics.checks import IntArray, group_codes
from deepfake.metrics.definitions import detection_metrics
from deepfake.metrics.intervals import Estimate
from deepfake.metrics.paired import Scored, Tested, holm, paired_systems
from deepfake.metrics.rates import group_rate
from deepfake.text import write_json

COMPARISON = "compare.json"
FAKE_COLUMNS = ("generator", "family", "kind", "year", "language", "channel")  # by which misses are told apart
REAL_COLUMNS = ("page", "corpus", "speaker", "language", "channel")  # by which false alarms are


@dataclass(frozen=True)
class ComparedSystem:
    """One detector. layout: how its scores were read. left_out: clips that it scored and another did not."""

    name: str
    threshold: Threshold
    judged: JudgedSet
    layout: str
    left_out: int


@dataclass(frozen=True)
class Contrast:
    """Detector `a` minus detector `b`, by metric.

    p_holm: the p-values of one metric, corrected for the number of pairs (Holm 1979).
    """

    a: str
    b: str
    tested: dict[str, Tested]
    p_holm: dict[str, float | None]


@dataclass(frozen=True)
class Place:
    """The clips of one class that share a value, and each detector's error rate on them.

    Attributes:
        column, value: what they share, such as generator and its name.
        error: "fnr" for fake clips, "fpr" for real ones.
        rates: one per detector, in their order.
    """

    column: str
    value: str
    error: str
    clips: int
    groups: int
    rates: tuple[Estimate, ...]

    @property
    def worst(self) -> float:
        """The highest error rate that any of the detectors has here."""
        return max(rate.value or 0.0 for rate in self.rates)

    @property
    def spread(self) -> float:
        """Between the best and the worst detector here."""
        return self.worst - min(rate.value or 0.0 for rate in self.rates)


@dataclass(frozen=True)
class Comparison:
    """compare.json.

    Attributes:
        facts: of the clips that every detector scored; nothing else was compared.
        clips, groups: how many of these, and how many independent groups of them.
        contrasts: every pair of detectors.
        places: where who fails, the widest differences between the detectors first.
    """

    labels: str
    facts: ClipFacts
    clips: int
    groups: int
    resamples: int
    systems: tuple[ComparedSystem, ...]
    contrasts: tuple[Contrast, ...]
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Contender:
    """A detector before it is compared: the clips must be the same, in the same order, for all."""

    name: str
    clips: ScoredClips
    judge: Judge
    layout: str = "scores"
    left_out: int = 0


def compare_systems(
    contenders: Sequence[Contender], labels: str, resamples: int = RESAMPLES, metrics: Sequence[str] = SHOWN
) -> Comparison:
    """Every detector and every pair of them; intervals over the corpus' groups where known, else over recordings.

    Args:
        labels: name of what holds the labels.

    Raises:
        ValueError: fewer than two detectors, two of one name, or clips that are not the same.
    """
    names = [one.name for one in contenders]
    if len(set(names)) != len(names) or len(names) < 2:
        raise ValueError(f"to compare, two or more detectors of different names are needed; found {', '.join(names)}")
    first = contenders[0].clips
    if any(not np.array_equal(one.clips.labels, first.labels) for one in contenders):
        raise ValueError("all detectors must be compared on the same clips")
    groups = first.independent()
    scored = [Scored(one.clips.scores, one.judge.threshold.value) for one in contenders]
    paired = paired_systems(scored, first.labels, groups, metrics, resamples)
    known = facts(first.labels, first.facts)
    systems = tuple(
        ComparedSystem(one.name, one.judge.threshold, _judged(one, known, found), one.layout, one.left_out)
        for one, found in zip(contenders, paired.estimates, strict=True)
    )
    codes = group_codes(groups, len(first))
    return Comparison(
        labels=labels,
        facts=known,
        clips=len(first),
        groups=int(codes.max()) + 1,
        resamples=resamples,
        systems=systems,
        contrasts=_contrasts(names, paired.differences, metrics),
        places=places(contenders, codes),
    )


def places(contenders: Sequence[Contender], codes: IntArray) -> tuple[Place, ...]:
    """Each detector's error rate on every known value of the columns, the widest differences first.

    Args:
        codes: the independent group of each clip, shape (n,).
    """
    clips = contenders[0].clips
    wrong = [(one.clips.scores >= one.judge.threshold.value) != (clips.labels == 1) for one in contenders]
    found = []
    for label, error, columns in ((1, "fnr", FAKE_COLUMNS), (0, "fpr", REAL_COLUMNS)):
        for column in columns:
            for value, mine in clips.parts(column, label).items():
                rates = tuple(group_rate(errors[mine], codes[mine], label) for errors in wrong)
                found.append(Place(column, value, error, mine.size, int(np.unique(codes[mine]).size), rates))
    return tuple(sorted(found, key=lambda place: (-place.spread, -place.worst, place.column, place.value)))


def write_comparison(path: Path, found: Comparison) -> None:
    """Write compare.json. Raises ValueError on NaN or infinity."""
    write_json(path, {"format": FORMAT} | to_json(found))


def read_comparison(path: Path) -> Comparison:
    """Read compare.json. Raises UserError when there is none or it cannot be read."""
    return read_document(path, "a comparison of python -m evaluation", dict, comparison_of)


def comparison_of(values: dict[str, Any]) -> Comparison:
    """The comparison that JSON values hold. Raises ValueError when they do not."""
    return from_json(Comparison, values)


def _judged(one: Contender, known: ClipFacts, found: dict[str, Estimate]) -> JudgedSet:
    counted = detection_metrics(one.clips.scores, one.clips.labels, one.judge.threshold.value)
    confusion = Confusion(*(counted[name] for name in ("tp", "tn", "fp", "fn")))
    return JudgedSet(TEST, len(one.clips), known, confusion, found, series=drawn(one.clips, one.judge))


def _contrasts(
    names: Sequence[str], differences: Mapping[tuple[int, int], dict[str, Tested]], metrics: Sequence[str]
) -> tuple[Contrast, ...]:
    corrected = {m: holm([tested[m].p_value for tested in differences.values()]) for m in metrics}
    return tuple(
        Contrast(names[i], names[j], tested, {m: corrected[m][k] for m in metrics})
        for k, ((i, j), tested) in enumerate(differences.items())
    )
