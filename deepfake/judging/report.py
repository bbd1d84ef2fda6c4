"""report.json and stress.json of `python -m evaluation`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake.judging.codec import FORMAT, from_json, read_document, to_json
from deepfake.judging.format_1 import report_of_format_1
from deepfake.judging.freeze import Registration
from deepfake.judging.record import Audit, Gap, Judgement, Part, Threshold
from deepfake.judging.stability import Moved, Stability
from deepfake.metrics.intervals import Difference, Estimate
from deepfake.text import write_json

REPORT = "report.json"


@dataclass(frozen=True)
class System:
    """What a report is about, by names that mean something to a reader."""

    name: str
    dataset: str | None = None


@dataclass(frozen=True)
class History:
    """What was logged in training, and the step of the checkpoint that was kept."""

    history: tuple[dict[str, Any], ...]
    best_step: int | None


@dataclass(frozen=True)
class GateOutcome:
    """A condition, the value it was held against (None: undefined), and whether it was met."""

    gate: str
    value: float | None
    passed: bool


@dataclass(frozen=True)
class Report:
    """report.json: a detector on sets of clips; the first of them is what the headline is about.

    Attributes:
        leave_one_generator_out: the trainings without one generator each, judged on its fakes; None if none was made.
        unlabelled: scores without a label, which were left out.
        registration: whether what was frozen before held; None where nothing was frozen.
        stress: the stress test of the same detector, where one was given.
    """

    system: System
    judgement: Judgement
    audit: Audit | None = None
    leave_one_generator_out: tuple[Part, ...] | None = None
    training: History | None = None
    unlabelled: int = 0
    gaps: tuple[Gap, ...] = ()
    gates: tuple[GateOutcome, ...] = ()
    registration: Registration | None = None
    stress: StressRecord | None = None


@dataclass(frozen=True)
class ConditionResult:
    """The test clips under one condition.

    Attributes:
        unscored: clips that the condition left without speech that can be heard, and so without a score.
        change: of balanced accuracy against the clean clips, `a` being this condition.
        audio_sha256: of all samples that were scored.
        benign: whether it is one of those that people's recordings go through every day.
        human, fakes: what became of the verdicts and the scores of either class; None for clean, and without clips.
    """

    name: str
    family: str
    label: str
    unscored: int
    metrics: dict[str, Estimate]
    change: Difference
    fails: bool
    audio_sha256: str
    benign: bool = False
    human: Moved | None = None
    fakes: Moved | None = None


@dataclass(frozen=True)
class StressRecord:
    """stress.json: the same clips under every condition, clean first, at one threshold.

    first_failures: by family of conditions the mildest that fails; None where none does.
    stability: of human clips over the benign conditions; None where none of these was tried.
    """

    system: System
    split: str
    clips: int
    seed: int
    resamples: int
    max_drop: float
    threshold: Threshold
    conditions: tuple[ConditionResult, ...]
    first_failures: dict[str, str | None]
    stability: Stability | None = None


def write_report_json(path: Path, report: Report) -> None:
    """Write report.json. Raises ValueError on NaN or infinity."""
    values = to_json(report)
    judgement = values.pop("judgement")
    write_json(path, {"format": FORMAT} | values | judgement)


def read_report(path: Path) -> Report:
    """Read report.json of `python -m evaluation`, of this or an earlier format.

    Raises:
        UserError: there is none, it is no such report, or it cannot be read.
    """
    return read_document(path, "a report of python -m evaluation", report_of_format_1, report_of)


def report_of(values: dict[str, Any]) -> Report:
    """The report that JSON values of format 2 hold. Raises ValueError when they do not."""
    return from_json(Report, values | {"judgement": values})


def read_stress(path: Path) -> StressRecord:
    """Read stress.json of `python -m evaluation stress`.

    Raises:
        UserError: there is none, it is no such record, or it cannot be read.
    """
    return read_document(path, "what python -m evaluation stress wrote", dict, lambda v: from_json(StressRecord, v))


def write_stress_json(path: Path, record: StressRecord) -> None:
    """Write stress.json. Raises ValueError on NaN or infinity."""
    write_json(path, {"format": FORMAT} | to_json(record))
