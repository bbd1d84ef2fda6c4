"""The report of one detector: report.json first, then pictures and a page made from it alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepfake.judging import figures
from deepfake.judging.clips import ScoredClips
from deepfake.judging.judge import RESAMPLES, Judge, compare, drawn, measure_set
from deepfake.judging.limits import Evidence, gaps
from deepfake.judging.record import Audit, Base, JudgedSet, Judgement, Part
from deepfake.judging.report import REPORT, GateOutcome, History, Report, System, write_report_json
from evaluation.gates import Gate
from evaluation.page import write_page


@dataclass(frozen=True)
class Control:
    """The base model: its name, its own judge, and the same clips with its scores, by set name."""

    name: str
    judge: Judge
    clips: Mapping[str, ScoredClips]


def build_report(
    system: System,
    judge: Judge,
    sets: Mapping[str, tuple[str, ScoredClips]],
    *,
    control: Control | None = None,
    training: History | None = None,
    audit: Audit | None = None,
    unscored: int = 0,
    unlabelled: int = 0,
    fine_tuned: bool = True,
    left_out: Sequence[Part] | None = None,
    resamples: int = RESAMPLES,
) -> Report:
    """Everything the report says.

    Args:
        system: names the detector, for the reader.
        judge: its threshold and decisions, fixed before these clips were seen.
        sets: by name, its role ("test" or "out_of_domain") and its clips; the first is what the headline is about.
        unscored, unlabelled: labelled clips that have no score, and scores that have no label.
        fine_tuned: whether there is a checkpoint it started from.
        left_out: the trainings without one generator each, judged, if asked for.
    """
    found = {name: _with_series(clips, judge, role, resamples) for name, (role, clips) in sets.items()}
    base = None
    if control is not None:
        base = Base(
            name=control.name,
            threshold=control.judge.threshold,
            sets={n: _with_series(c, control.judge, found[n].role, resamples) for n, c in control.clips.items()},
            differences={
                name: compare(sets[name][1], judge, clips, control.judge, resamples)
                for name, clips in control.clips.items()
            },
        )
    evidence = Evidence(
        sets=found,
        audit=audit or Audit(),
        base=base.sets if base else {},
        threshold_split=judge.threshold.split,
        fine_tuned=fine_tuned,
        unscored=unscored,
        unlabelled=unlabelled,
    )
    return Report(
        system=system,
        judgement=Judgement(judge.threshold, judge.decisions, found, base, resamples, unscored),
        audit=audit,
        leave_one_generator_out=None if left_out is None else tuple(left_out),
        training=training,
        unlabelled=unlabelled,
        gaps=tuple(gaps(evidence)),
    )


def write_report(report: Report, folder: Path, gates: Sequence[Gate] = ()) -> tuple[GateOutcome, ...]:
    """Write report.json, the PNGs and report.html into `folder`; returns the outcome of each gate on the first set."""
    folder.mkdir(parents=True, exist_ok=True)
    headline = next(iter(report.judgement.sets.values()))
    report = replace(report, gates=tuple(gate.check(headline) for gate in gates))
    write_report_json(folder / REPORT, report)
    write_page(report, draw(report, folder), folder / "report.html")
    return report.gates


def draw(report: Report, folder: Path) -> list[Path]:
    """The PNGs that the data define, in the order of the page."""
    sets, base, threshold = report.judgement.sets, report.judgement.base, report.judgement.threshold
    first = next(iter(sets.values()))
    systems = [figures.Curve(name, found, False) for name, found in sets.items()]
    if base is not None:
        systems += [figures.Curve(f"base: {name}", found, True) for name, found in base.sets.items()]
    seen = None
    if report.audit is not None and report.audit.training_generators:
        seen = frozenset(report.audit.training_generators)
    tippett = first.series.tippett
    moved = [(name, found.transfer) for name, found in sets.items() if found.transfer is not None]
    logged = report.training if report.training and report.training.history else None
    wanted: list[tuple[str, bool, Any]] = [
        ("threshold_transfer", bool(moved), lambda axes: figures.transfer(axes, moved)),
        ("roc", first.series.roc is not None, lambda axes: figures.roc(axes, systems)),
        ("det", first.series.roc is not None, lambda axes: figures.det(axes, systems)),
        ("precision_recall", first.series.roc is not None, lambda axes: figures.precision_recall(axes, systems)),
        ("confusion_matrix", True, lambda axes: figures.confusion(axes, first)),
        ("score_histogram", True, lambda axes: figures.histogram(axes, first, threshold)),
        ("reliability", first.series.reliability is not None, lambda axes: figures.reliability(axes, first)),
        ("likelihood_ratios", tippett is not None, lambda axes: figures.tippett(axes, tippett)),
        ("generators", "generator" in first.breakdowns, lambda axes: figures.generators(axes, first, seen)),
        ("training_history", logged is not None, lambda axes: figures.history(axes, logged)),
    ]
    size, of_curves = figures.curve_size(systems), ("roc", "det", "precision_recall")
    return [
        figures.save(folder / f"{name}.png", function, *([size] if name in of_curves else []))
        for name, defined, function in wanted
        if defined
    ]


def _with_series(clips: ScoredClips, judge: Judge, role: str, resamples: int) -> JudgedSet:
    return replace(measure_set(clips, judge, role, resamples), series=drawn(clips, judge))
