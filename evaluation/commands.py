"""What `python -m evaluation report` and `scores` do: from names on the command line to a written report."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.special import logit

from data_prep.errors import EXIT_SOME_FAILED, UserError
from data_prep.read_dataset import labels_of, read_splits
from evaluation.clips import ScoredClips
from evaluation.decisions import Decisions, fit_decisions
from evaluation.gaps import NOT_CHOSEN
from evaluation.gates import Gate
from evaluation.leave_out import generators_to_leave_out, leave_one_generator_out
from evaluation.measure import Judge
from evaluation.operating_points import choose_threshold
from evaluation.options import ReportOptions, ScoresOptions
from evaluation.report import build_report, write_report
from evaluation.score_dataset import score_rows
from evaluation.score_files import JoinedScores, read_scores
from evaluation.text import report_table
from scoring.detector import Detector

OTHERS = ("train", "validation")  # splits that a detector may have learnt from


def report(arguments: ReportOptions) -> int:
    """Score the dataset's test split (and others) with the model and report; exit status 1 when a gate fails."""
    gates = [Gate.parse(text) for text in arguments.gate]
    splits = read_splits(arguments.dataset)
    if arguments.split not in splits:
        raise UserError(f"{arguments.dataset} has no split {arguments.split}; it has {', '.join(splits)}")
    if arguments.leave_one_generator_out:
        generators_to_leave_out(arguments.model, splits)  # what stands against it is told before anything is scored
    outside = {_name(name): read_splits(name) for name in arguments.ood}
    rows = {arguments.split: ("test", splits[arguments.split])}
    for name, parts in outside.items():
        for split, part in parts.items():
            rows[name if len(parts) == 1 else f"{name} {split}"] = ("out_of_domain", part)
    detector = Detector.from_options(arguments.scoring)
    learnt = [s for s in OTHERS if s in splits and s != arguments.split]
    heard = {s: splits[s] for s in learnt}
    judge = judge_of(detector, heard.get("validation"))
    sets = {name: (role, _scored(detector, part, heard, name)) for name, (role, part) in rows.items()}
    base = _base(arguments, rows, heard)
    if base is not None:  # both are judged on the clips that both can score
        for name, scored in base[2].items():
            role, clips = sets[name]
            clips, base[2][name] = clips.shared(scored)
            sets[name] = role, clips
    left_out = None
    if arguments.leave_one_generator_out:
        left_out = leave_one_generator_out(arguments.model, splits, arguments.output / "leave_one_out")
    run = _run_facts(arguments.model)
    found = build_report(
        {"name": _name(arguments.model), "dataset": _name(arguments.dataset)},
        judge,
        sets,
        base=base,
        training=run["training"],
        audit=audit(splits[arguments.split], heard, splits),
        unscored=sum(clips.unscored for _, clips in sets.values()),
        fine_tuned=run["fine_tuned"] or base is not None,
        left_out=left_out,
        resamples=arguments.resamples,
    )
    return _finish(found, arguments.output, gates)


def scores(arguments: ScoresOptions) -> int:
    """Report on any detector's scores from two CSV files; exit status 1 when a gate fails."""
    gates = [Gate.parse(text) for text in arguments.gate]
    joined = read_scores(
        arguments.scores, arguments.labels, arguments.column, arguments.lower_is_fake, arguments.threshold is None
    )
    if joined.by_end:
        count, (label, score) = len(joined.by_end), joined.by_end[0]
        what = "clip is" if count == 1 else "clips are"
        print(f"{count} {what} matched by the end of the path: {label} is taken for {score}, e.g.", file=sys.stderr)
    judged = {name: clips for name, clips in joined.splits.items() if name not in OTHERS}
    if not judged:
        raise UserError(
            f"{arguments.labels} holds the splits {', '.join(joined.splits)} only; nothing is left to judge on"
        )
    judge = _judge_of_scores(joined, arguments.threshold)
    order = sorted(judged, key=lambda name: name != "test")
    sets = {name: ("test" if i == 0 else "out_of_domain", judged[name]) for i, name in enumerate(order)}
    known = {name: clips for name, clips in joined.splits.items() if name in OTHERS}
    found = build_report(
        {"name": arguments.name or arguments.scores.stem, "dataset": arguments.labels.stem},
        judge,
        sets,
        audit=_audit_of_scores(judged[order[0]], known),
        unscored=joined.unscored,
        unlabelled=joined.unlabelled,
        fine_tuned=False,
        resamples=arguments.resamples,
    )
    return _finish(found, arguments.output, gates)


def judge_of(detector: Detector, validation: Dataset | None) -> Judge:
    """The stored decisions; where the checkpoint stores none, those fitted on `validation`, else 0.5."""
    checkpoint = detector.checkpoint
    if checkpoint.threshold is not None:
        threshold = float(logit(np.clip(checkpoint.threshold, 1e-12, 1 - 1e-12)))
        split = checkpoint.stored.get("threshold_split")
        rule = str(checkpoint.stored.get("threshold_rule", "an unnamed rule")).replace("_", " ")
        origin = f"stored in the checkpoint, chosen on {split or 'clips nobody recorded'} by {rule}"
        return Judge(threshold, "fake_logit", origin, split, Decisions.from_config(checkpoint.stored))
    if validation is not None:
        return fitted_judge(score_rows(detector, validation, "validation"), "fake_logit")
    return Judge(0.0, "fake_logit", "none is stored; fake_probability 0.5, not chosen on any clips", NOT_CHOSEN, None)


def fitted_judge(validation: ScoredClips, unit: str) -> Judge:
    """Decisions fitted here, on validation clips, for a system that brings none."""
    try:
        point = choose_threshold(validation.scores, validation.labels)
        decisions = fit_decisions(validation.scores, validation.labels, validation.groups())
    except ValueError as error:
        raise UserError(f"the validation split cannot be used: {error}") from error
    origin = "fitted here, as the best balanced accuracy on validation"
    return Judge(point.threshold, unit, origin, "validation", decisions)


def audit(judged: Dataset, heard: dict[str, Dataset], splits: dict[str, Dataset]) -> dict[str, Any]:
    """What the judged split shares with the splits a detector learnt from; None where the columns do not say."""
    names = splits if heard else {}
    return {
        "shared_recordings": _shared(judged, heard, "source"),
        "shared_speakers": _shared(judged, heard, "speaker"),
        "splits": {name: [int((labels_of(part) == k).sum()) for k in (0, 1)] for name, part in names.items()},
        "training_generators": sorted(_values(heard.get("train"), "generator") - {"human"}) or None,
    }


def _audit_of_scores(judged: ScoredClips, known: dict[str, ScoredClips]) -> dict[str, Any]:
    result: dict[str, Any] = {"splits": {}, "training_generators": None}
    for key, column in (("shared_recordings", "source"), ("shared_speakers", "speaker")):
        mine = {v for v in judged.facts[column] if v}
        others = {v for clips in known.values() for v in clips.facts[column] if v}
        result[key] = len(mine & others) if mine and others else None
    if "train" in known:
        result["training_generators"] = sorted({g for g in known["train"].facts["generator"] if g} - {"human"}) or None
    return result


def _shared(judged: Dataset, heard: dict[str, Dataset], column: str) -> int | None:
    mine, others = _values(judged, column), [_values(part, column) for part in heard.values()]
    return len(mine & set().union(*others)) if mine and any(others) else None


def _values(rows: Dataset | None, column: str) -> set[str]:
    return {v for v in rows[column] if v} if rows is not None and column in rows.column_names else set()


def _scored(detector: Detector, part: Dataset, heard: dict[str, Dataset], name: str) -> ScoredClips:
    """Scores, with speakers grouped by whether training held them where the dataset does not group them itself."""
    clips = score_rows(detector, part, name)
    known = _values(heard.get("train"), "speaker")
    if known and not any(clips.facts["speaker_group"]):
        groups = tuple(None if not s else "in training" if s in known else "new" for s in clips.facts["speaker"])
        clips = replace(clips, facts={**clips.facts, "speaker_group": groups})
    return clips


def _base(
    arguments: ReportOptions, rows: dict[str, tuple[str, Dataset]], heard: dict[str, Dataset]
) -> tuple[dict[str, Any], Judge, dict[str, ScoredClips]] | None:
    if arguments.base_model is None:
        return None
    detector = Detector.from_options(replace(arguments.scoring, model=arguments.base_model))
    judge = judge_of(detector, heard.get("validation"))
    scored = {name: _scored(detector, part, heard, f"base, {name}") for name, (_, part) in rows.items()}
    return {"name": _name(arguments.base_model)}, judge, scored


def _judge_of_scores(joined: JoinedScores, threshold: float | None) -> Judge:
    validation = joined.splits.get("validation")
    fitted = None if validation is None else fitted_judge(validation, joined.unit)
    if threshold is not None:
        if not math.isfinite(threshold):
            raise UserError(f"--threshold is {threshold}; expected a number in the unit of the scores")
        return Judge(threshold, joined.unit, "given with --threshold", None, fitted.decisions if fitted else None)
    if joined.decided is not None:
        origin = "stands in the scores file"
        if joined.decided.uncertain:
            origin += f"; its {joined.decided.uncertain} uncertain clips are counted as called real"
        return Judge(joined.decided.threshold, joined.unit, origin, None, fitted.decisions if fitted else None)
    if fitted is not None:
        return fitted
    if joined.unit == "fake_probability":
        return Judge(0.5, joined.unit, "0.5, not chosen on any clips", NOT_CHOSEN, None)
    if joined.unit == "fake_logit":
        return Judge(0.0, joined.unit, "0, not chosen on any clips", NOT_CHOSEN, None)
    raise UserError(
        "the scores have no known unit, so a threshold is needed; give --threshold T, or rows with split=validation in "
        "the labels file"
    )


def _run_facts(model: str) -> dict[str, Any]:
    """Training history and origin, from the results.json that a training run leaves beside its weights."""
    path = Path(model) / "results.json"
    if not path.is_file():
        return {"training": None, "fine_tuned": True}
    results = json.loads(path.read_text(encoding="utf-8"))
    training = results["training"]
    return {
        "training": {"history": training["history"], "best_step": training["best_step"]},
        "fine_tuned": not results["model"]["from_scratch"],
    }


def _finish(found: dict[str, Any], output: Path, gates: Sequence[Gate]) -> int:
    outcomes = write_report(found, output, gates)
    print(report_table(found))
    print(f"report    {output / 'report.html'}\nnumbers   {output / 'report.json'}")
    for outcome in outcomes:
        verdict = "passed" if outcome["passed"] else "FAILED"
        value = "undefined" if outcome["value"] is None else f"{outcome['value']:.4f}"
        print(f"gate      {outcome['gate']}: {value}, {verdict}")
    if any(not outcome["passed"] for outcome in outcomes):
        print("some gates failed", file=sys.stderr)
        return EXIT_SOME_FAILED
    return 0


def _name(given: str) -> str:
    """A folder's own name or a Hub id: paths of this machine mean nothing to a reader."""
    path = Path(given)
    return path.resolve().name if path.exists() else given
