"""The report of one detector: report.json first, then pictures and a page made from it alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation import figures
from evaluation.clips import ScoredClips
from evaluation.gaps import Evidence, Measured, gaps
from evaluation.gates import Gate
from evaluation.measure import Judge, compare, measure
from evaluation.page import write_page

REPORT = "report.json"
FORMAT = 1


def build_report(
    system: dict[str, Any],
    judge: Judge,
    sets: dict[str, tuple[str, ScoredClips]],
    *,
    base: tuple[dict[str, Any], Judge, dict[str, ScoredClips]] | None = None,
    training: dict[str, Any] | None = None,
    audit: dict[str, Any] | None = None,
    unscored: int = 0,
    unlabelled: int = 0,
    fine_tuned: bool = True,
    left_out: list[dict[str, Any]] | None = None,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Everything the report says, as plain JSON values.

    Args:
        system: facts that name the detector, for the reader.
        judge: its threshold and decisions, fixed before these clips were seen.
        sets: by name, its role ("test" or "out_of_domain") and its clips; the first is what the headline is about.
        base: the control: its facts, its own judge, and the same clips with its scores, by set name.
        training: {"history", "best_step"} of the run, if recorded.
        audit: {"shared_recordings", "shared_speakers", "splits", "training_generators"}, None entries for unknown.
        unscored, unlabelled: labelled clips that have no score, and scores that have no label.
        fine_tuned: whether there is a checkpoint it started from.
        left_out: results of the trainings without one generator each, if asked for.
    """
    report: dict[str, Any] = {
        "format": FORMAT,
        "system": system,
        "threshold": {"value": judge.threshold, "unit": judge.unit, "origin": judge.origin, "split": judge.split},
        "decisions": judge.decisions.to_config() if judge.decisions else None,
        "resamples": resamples,
        "audit": audit,
        "sets": {},
        "base": None,
        "leave_one_generator_out": left_out,
        "training": training,
        "unscored": unscored,
        "unlabelled": unlabelled,
    }
    for name, (role, clips) in sets.items():
        report["sets"][name] = {"role": role, **measure(clips, judge, resamples)}
    if base is not None:
        facts, base_judge, base_clips = base
        report["base"] = {
            "system": facts,
            "threshold": {"value": base_judge.threshold, "unit": base_judge.unit, "origin": base_judge.origin},
            "sets": {name: measure(clips, base_judge, resamples) for name, clips in base_clips.items()},
            "differences": {
                name: compare(sets[name][1], judge, clips, base_judge, resamples) for name, clips in base_clips.items()
            },
        }
    report["gaps"] = [gap.to_dict() for gap in gaps(evidence_of(report, fine_tuned))]
    return report


def evidence_of(report: dict[str, Any], fine_tuned: bool = True) -> Evidence:
    """The report's facts as the gap checks read them."""
    audit = report["audit"] or {}
    known = audit.get("training_generators")
    heard = {g for s in report["sets"].values() for g in s["facts"]["generators"]} - {"human"}
    measured = []
    for name, found in report["sets"].items():
        facts = found["facts"]
        counts = [facts[kind]["recordings"] for kind in ("real", "fake")]
        clips = [facts[kind]["clips"] for kind in ("real", "fake")]
        auc = found["intervals"]["recordings"]["roc_auc"]
        ends = None if auc["low"] is None else (auc["low"], auc["high"])
        measured.append(Measured(name, found["role"], *clips, *counts, auc=ends, base=_against_base(report, name)))
    return Evidence(
        measured=tuple(measured),
        splits={name: tuple(counts) for name, counts in (audit.get("splits") or {}).items()},
        shared_recordings=audit.get("shared_recordings"),
        shared_speakers=audit.get("shared_speakers"),
        threshold_split=report["threshold"]["split"],
        fine_tuned=fine_tuned,
        unseen_generators=None if not known or not heard else tuple(sorted(heard - set(known))),
        unscored=report["unscored"],
        unlabelled=report["unlabelled"],
    )


def _against_base(report: dict[str, Any], name: str) -> dict[str, Any] | None:
    if report["base"] is None or name not in report["base"]["differences"]:
        return None
    found = report["base"]["differences"][name]["roc_auc"]
    if found["a"] is None:
        return None
    return {"metric": "ROC-AUC", "model": round(found["a"], 4), "base": round(found["b"], 4)}


def write_report(report: dict[str, Any], folder: Path, gates: Sequence[Gate] = ()) -> list[dict[str, Any]]:
    """Write report.json, the PNGs and report.html into `folder`; returns the outcome of each gate on the first set."""
    folder.mkdir(parents=True, exist_ok=True)
    headline = next(iter(report["sets"].values()))
    report["gates"] = [gate.check(headline) for gate in gates]
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")
    pictures = draw(report, folder)
    write_page(report, pictures, folder / "report.html")
    return report["gates"]


def draw(report: dict[str, Any], folder: Path) -> list[Path]:
    """The PNGs that the data define, in the order of the page."""
    (name, first), *_ = report["sets"].items()
    systems: figures.Systems = [(n, s, False) for n, s in report["sets"].items()]
    if report["base"]:
        systems += [(f"base: {n}", s, True) for n, s in report["base"]["sets"].items()]
    audit = report["audit"] or {}
    seen = set(audit["training_generators"]) if audit.get("training_generators") else None
    threshold = report["threshold"]
    wanted: list[tuple[str, bool, Any]] = [
        ("roc", bool(first["series"]["roc"]), lambda axes: figures.roc(axes, systems)),
        ("det", bool(first["series"]["roc"]), lambda axes: figures.det(axes, systems)),
        ("precision_recall", bool(first["series"]["roc"]), lambda axes: figures.precision_recall(axes, systems)),
        ("confusion_matrix", True, lambda axes: figures.confusion(axes, first)),
        (
            "score_histogram", True,
            lambda axes: figures.histogram(axes, first, threshold["value"], threshold["unit"]),
        ),
        ("reliability", bool(first["series"]["reliability"]), lambda axes: figures.reliability(axes, first)),
        ("generators", "generator" in first["breakdowns"], lambda axes: figures.generators(axes, first, seen)),
        (
            "training_history", bool(report["training"]),
            lambda axes: figures.history(axes, report["training"]["history"], report["training"]["best_step"]),
        ),
    ]  # fmt: skip
    size = figures.curve_size(systems)
    curves = ("roc", "det", "precision_recall")
    return [
        figures.save(folder / f"{name}.png", function, *([size] if name in curves else []))
        for name, defined, function in wanted
        if defined
    ]
