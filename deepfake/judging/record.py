"""What a judge found, as the same small records everywhere: in results.json, in report.json and in the card."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from deepfake.judging.series import Series
from deepfake.judging.statements import Statements
from deepfake.judging.transfer import Transfer
from deepfake.judging.worst import HumanRate, Matrix
from deepfake.metrics.decisions import Decisions
from deepfake.metrics.intervals import Difference, Estimate
from deepfake.text import fake_probability

VALIDATION, TEST, OUT_OF_DOMAIN = "validation", "test", "out_of_domain"  # the roles of a set
FAKE_LOGIT, FAKE_PROBABILITY, SCORE = "fake_logit", "fake_probability", "score"  # the units of scores
NOT_CHOSEN = "none"  # in place of a split: the threshold is a default


@dataclass(frozen=True)
class Threshold:
    """From which score on a clip is called fake, fixed before the clips that are judged were seen.

    Attributes:
        value: in the unit of the scores.
        unit: "fake_logit", "fake_probability" or "score".
        origin: who chose it and where, in words.
        split: the split it was chosen on; `NOT_CHOSEN` for a default; None when nobody recorded it.
        rule: how it was chosen, such as "balanced_accuracy"; None when unknown.
    """

    DERIVED: ClassVar = ("fake_probability",)

    value: float
    unit: str
    origin: str
    split: str | None
    rule: str | None = None

    @property
    def fake_probability(self) -> float | None:
        """The threshold as P(fake); None where the scores are no such thing."""
        if self.unit == FAKE_LOGIT:
            return fake_probability(self.value)
        return self.value if self.unit == FAKE_PROBABILITY else None


@dataclass(frozen=True)
class ClassFacts:
    """How much there is of one class; None for unknown."""

    clips: int | None
    recordings: int | None = None
    speakers: int | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class ClipFacts:
    """What clips are of, by class; and how many clips each known generator, language and container has."""

    real: ClassFacts
    fake: ClassFacts
    generators: dict[str, int | None] = field(default_factory=dict)
    languages: dict[str, int] = field(default_factory=dict)
    containers: dict[str, int] = field(default_factory=dict)

    @property
    def of_classes(self) -> tuple[tuple[str, ClassFacts], ...]:
        """("real", its facts), ("fake", its facts)"""
        return ("real", self.real), ("fake", self.fake)

    @property
    def synthetic(self) -> frozenset[str]:
        """The generators of fake speech that are known by name."""
        return frozenset(self.generators) - {"human", "unknown"}


@dataclass(frozen=True)
class Confusion:
    """Clips by what they are and what they were called; fake is positive."""

    tp: int
    tn: int
    fp: int
    fn: int


@dataclass(frozen=True)
class AppliedBand:
    """The abstention band on these clips: its ends on the fake logit, None for an answer that is never given.

    max_error: what it promises for either class. decided: share of the clips that it answers for.
    """

    fake_from: float | None
    real_below: float | None
    max_error: float
    decided: float


@dataclass(frozen=True)
class AppliedPoint:
    """An operating point as it came out on clips that had no part in choosing it.

    Attributes:
        threshold: on the fake logit; None for the band.
        max_fpr: what the point promises; None where it promises nothing.
        supported, note: whether validation was large enough for that promise, and what it lacked.
        band: for the abstention band, whose rates count wrong answers only.
    """

    name: str
    fpr: Estimate
    fnr: Estimate
    threshold: float | None = None
    max_fpr: float | None = None
    supported: bool = True
    note: str | None = None
    balanced_accuracy: Estimate | None = None
    band: AppliedBand | None = None


@dataclass(frozen=True)
class Part:
    """Some clips of a set, judged by the same threshold."""

    name: str
    real: ClassFacts
    fake: ClassFacts
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class JudgedSet:
    """Everything known about one set of clips at one threshold.

    Attributes:
        role: "validation", "test" or "out_of_domain".
        n: clips that have a score. unscored: clips of the set that have none and are not among them.
        metrics: by name, intervals over recordings. A metric that is not in it was never computed; one whose value is
            None is not defined on these clips.
        regrouped: the metrics again with intervals over "speakers" or "generators", where these are known.
        operating_points: of the detector, as fitted on validation; empty on validation and where there are none.
        breakdowns: by column ("generator", "language", …) the parts of the set. A generator's part, or that of a kind
            of fakes, sets its fakes against all real clips of the set.
        series: only in reports.
        matrix: generator families by human sources by channels, the worst first; None where no two can be told apart.
        false_alarms: real clips called fake, by "page", "corpus", "speaker", "language", "sex" and "age" where known.
        transfer: what the threshold and the calibration lose here; None on validation, where they were chosen.
        statements: what may be said of the clips by likelihood ratio; None without a calibration or without a class.
    """

    role: str
    n: int
    facts: ClipFacts
    confusion: Confusion | None
    metrics: dict[str, Estimate]
    regrouped: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    operating_points: tuple[AppliedPoint, ...] = ()
    breakdowns: dict[str, tuple[Part, ...]] = field(default_factory=dict)
    series: Series | None = None
    unscored: int = 0
    matrix: Matrix | None = None
    false_alarms: dict[str, tuple[HumanRate, ...]] = field(default_factory=dict)
    transfer: Transfer | None = None
    statements: Statements | None = None

    def value(self, metric: str) -> float | None:
        """The metric's value; None where it is undefined or was never computed."""
        found = self.metrics.get(metric)
        return None if found is None else found.value


@dataclass(frozen=True)
class Base:
    """The control: the checkpoint that training started from, unchanged, on the same clips.

    Attributes:
        name: None where it is the start checkpoint of the run.
        differences: by set and metric, this detector minus the base, each at its own threshold.
    """

    name: str | None
    threshold: Threshold | None
    sets: dict[str, JudgedSet]
    differences: dict[str, dict[str, Difference]] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """A detector, judged.

    Attributes:
        sets: by name, in the order they are shown; without those of which no clip has a score.
        unscored: labelled clips that were left out for want of a score.
        warnings: sentences that whoever uses the detector must read.
    """

    threshold: Threshold | None
    decisions: Decisions | None
    sets: dict[str, JudgedSet]
    base: Base | None = None
    resamples: int | None = None
    unscored: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gap:
    """One thing the numbers do not show. `disqualifies`: the in-domain numbers must not be quoted as results at all."""

    heading: str
    text: str
    disqualifies: bool = False


@dataclass(frozen=True)
class Audit:
    """What the judged split shares with the splits a detector learnt from; None for unknown.

    Attributes:
        splits: clips (real, fake) per split of the dataset that it was trained on.
        training_generators: of the training split's fakes.
        split_unit: what the splits were drawn by: "recording", "clip", or None when unknown.
    """

    shared_recordings: int | None = None
    shared_speakers: int | None = None
    splits: dict[str, tuple[int, int]] = field(default_factory=dict)
    training_generators: tuple[str, ...] | None = None
    split_unit: str | None = "recording"
