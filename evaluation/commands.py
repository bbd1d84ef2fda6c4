"""What `python -m evaluation report` and `scores` do: from names on the command line to a written report."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets import Dataset

from deepfake.dataset import labels_of, read_splits
from deepfake.errors import EXIT_SOME_FAILED, UserError
from deepfake.judging.clips import ScoredClips
from deepfake.judging.freeze import hash_of_file, hash_of_split, read_frozen, registration
from deepfake.judging.judge import Judge
from deepfake.judging.record import (
    FAKE_LOGIT,
    FAKE_PROBABILITY,
    NOT_CHOSEN,
    OUT_OF_DOMAIN,
    TEST,
    VALIDATION,
    Audit,
    Threshold,
)
from deepfake.judging.report import History, Report, StressRecord, System, read_stress
from deepfake.judging.run import RESULTS, read_run
from deepfake.judging.tables import report_table
from deepfake.metrics.decisions import fit_decisions
from deepfake.metrics.operating_points import choose_threshold
from deepfake.scoring.detector import Detector
from deepfake.text import number
from evaluation.gates import Gate
from evaluation.leave_out import generators_to_leave_out, leave_one_generator_out
from evaluation.options import ReportOptions, ScoresOptions
from evaluation.report import Control, build_report, write_report
from evaluation.score_dataset import score_rows
from evaluation.score_files import JoinedScores, read_scores

OTHERS = ("train", "validation")  # splits that a detector may have learnt from


def report(arguments: ReportOptions) -> int:
    """Score the dataset's test split (and others) with the model and report; exit status 1 when a gate fails."""
    gates = [Gate.parse(text) for text in arguments.gate]
    frozen = None if arguments.frozen is None else read_frozen(arguments.frozen)
    stressed = None if arguments.stress is None else _stress_of(arguments.stress, _name(arguments.model))
    splits = read_splits(arguments.dataset)
    if arguments.split not in splits:
        raise UserError(f"{arguments.dataset} has no split {arguments.split}; it has {', '.join(splits)}")
    if arguments.leave_one_generator_out:
        generators_to_leave_out(arguments.model, splits)  # what stands against it is told before anything is scored
    outside = {_name(name): read_splits(name) for name in arguments.ood}
    rows = {arguments.split: (TEST, splits[arguments.split])}
    for name, parts in outside.items():
        for split, part in parts.items():
            rows[name if len(parts) == 1 else f"{name} {split}"] = (OUT_OF_DOMAIN, part)
    detector = Detector.from_options(arguments.scoring)
    learnt = [s for s in OTHERS if s in splits and s != arguments.split]
    heard = {s: splits[s] for s in learnt}
    judge = judge_of(detector, heard.get("validation"))
    sets = {name: (role, _scored(detector, part, heard, name)) for name, (role, part) in rows.items()}
    control = _control(arguments, rows, heard)
    if control is not None:  # both are judged on the clips that both can score
        both = {name: clips.shared(control.clips[name]) for name, (_, clips) in sets.items()}
        sets = {name: (role, both[name][0]) for name, (role, _) in sets.items()}
        control = replace(control, clips={name: clips for name, (_, clips) in both.items()})
    left_out = None
    if arguments.leave_one_generator_out:
        left_out = leave_one_generator_out(arguments.model, splits, arguments.output / "leave_one_out")
    results = Path(arguments.model) / RESULTS
    run = read_run(results).facts if results.is_file() else None
    found = build_report(
        System(_name(arguments.model), _name(arguments.dataset)),
        judge,
        sets,
        control=control,
        training=None if run is None else History(run.training.history, run.training.best_step),
        audit=audit(splits[arguments.split], heard, splits),
        unscored=sum(clips.unscored for _, clips in sets.values()),
        fine_tuned=run is None or not run.model.from_scratch or control is not None,
        left_out=left_out,
        resamples=arguments.resamples,
    )
    found = replace(found, stress=stressed)
    if frozen is not None:
        digest = hash_of_split(splits[arguments.split])
        found = replace(found, registration=registration(frozen, digest, judge.threshold, Path(arguments.model)))
    return _finish(found, arguments.output, gates)


def scores(arguments: ScoresOptions) -> int:
    """Report on any detector's scores from two CSV files; exit status 1 when a gate fails."""
    gates = [Gate.parse(text) for text in arguments.gate]
    frozen = None if arguments.frozen is None else read_frozen(arguments.frozen)
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
    judge = judge_of_scores(joined, arguments.threshold)
    order = sorted(judged, key=lambda name: name != "test")
    sets = {name: (TEST if i == 0 else OUT_OF_DOMAIN, judged[name]) for i, name in enumerate(order)}
    known = {name: clips for name, clips in joined.splits.items() if name in OTHERS}
    found = build_report(
        System(arguments.name or arguments.scores.stem, arguments.labels.stem),
        judge,
        sets,
        audit=_audit_of_scores(judged[order[0]], known),
        unscored=joined.unscored,
        unlabelled=joined.unlabelled,
        fine_tuned=False,
        resamples=arguments.resamples,
    )
    if frozen is not None:
        scored_at = arguments.scores.stat().st_mtime
        held = registration(frozen, hash_of_file(arguments.labels), judge.threshold, scored_at=scored_at)
        found = replace(found, registration=held)
    return _finish(found, arguments.output, gates)


def _stress_of(path: Path, model: str) -> StressRecord:
    """The stress test of this model. Raises UserError for one of another."""
    found = read_stress(path)
    if found.system.name != model:
        raise UserError(f"{path} is the stress test of {found.system.name}; expected one of {model}")
    return found


def judge_of(detector: Detector, validation: Dataset | None) -> Judge:
    """The stored decisions; where the checkpoint stores none, those fitted on `validation`, else 0.5."""
    checkpoint = detector.checkpoint
    stored = Judge.of_checkpoint(checkpoint.stored | {"threshold": checkpoint.threshold})
    if stored is not None:
        return stored
    if validation is not None:
        return fitted_judge(score_rows(detector, validation, VALIDATION), FAKE_LOGIT)
    return Judge.by_default()


def fitted_judge(validation: ScoredClips, unit: str) -> Judge:
    """Decisions fitted here, on validation clips, for a system that brings none."""
    try:
        point = choose_threshold(validation.scores, validation.labels)
        decisions = fit_decisions(validation.scores, validation.labels, validation.groups())
    except ValueError as error:
        raise UserError(f"the validation split cannot be used: {error}") from error
    origin = "fitted here, as the best balanced accuracy on validation"
    return Judge(Threshold(point.threshold, unit, origin, VALIDATION, point.rule), decisions)


def audit(judged: Dataset, heard: dict[str, Dataset], splits: dict[str, Dataset]) -> Audit:
    """What the judged split shares with the splits a detector learnt from; None where the columns do not say."""
    counts = {name: labels_of(part) for name, part in splits.items()} if heard else {}
    return Audit(
        shared_recordings=_shared(judged, heard, "source"),
        shared_speakers=_shared(judged, heard, "speaker"),
        splits={name: (int((y == 0).sum()), int((y == 1).sum())) for name, y in counts.items()},
        training_generators=tuple(sorted(_values(heard.get("train"), "generator") - {"human"})) or None,
    )


def _audit_of_scores(judged: ScoredClips, known: dict[str, ScoredClips]) -> Audit:
    def shared(column: str) -> int | None:
        mine = {v for v in judged.facts[column] if v}
        others = {v for clips in known.values() for v in clips.facts[column] if v}
        return len(mine & others) if mine and others else None

    heard = {g for g in known["train"].facts["generator"] if g} if "train" in known else set()
    return Audit(shared("source"), shared("speaker"), training_generators=tuple(sorted(heard - {"human"})) or None)


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


def _control(
    arguments: ReportOptions, rows: dict[str, tuple[str, Dataset]], heard: dict[str, Dataset]
) -> Control | None:
    if arguments.base_model is None:
        return None
    detector = Detector.from_options(replace(arguments.scoring, model=arguments.base_model))
    judge = judge_of(detector, heard.get("validation"))
    scored = {name: _scored(detector, part, heard, f"base, {name}") for name, (_, part) in rows.items()}
    return Control(_name(arguments.base_model), judge, scored)


def judge_of_scores(joined: JoinedScores, threshold: float | None) -> Judge:
    """The threshold that was given, else the one that stands in the file, was fitted on validation, or is the default.

    Raises:
        UserError: none of these, as for scores of no known unit.
    """
    validation = joined.splits.get("validation")
    fitted = None if validation is None else fitted_judge(validation, joined.unit)
    if threshold is not None:
        if not math.isfinite(threshold):
            raise UserError(f"--threshold is {threshold}; expected a number in the unit of the scores")
        given = Threshold(threshold, joined.unit, "given with --threshold", None)
        return Judge(given, fitted.decisions if fitted else None)
    if joined.decided is not None:
        origin = "stands in the scores file"
        if joined.decided.uncertain:
            origin += f"; its {joined.decided.uncertain} uncertain clips are counted as called real"
        stated = Threshold(joined.decided.threshold, joined.unit, origin, None)
        return Judge(stated, fitted.decisions if fitted else None)
    if fitted is not None:
        return fitted
    if joined.unit == FAKE_PROBABILITY:
        return Judge(Threshold(0.5, joined.unit, "0.5, not chosen on any clips", NOT_CHOSEN))
    if joined.unit == FAKE_LOGIT:
        return Judge(Threshold(0.0, joined.unit, "0, not chosen on any clips", NOT_CHOSEN))
    raise UserError(
        "the scores have no known unit, so a threshold is needed; give --threshold T, or rows with split=validation in "
        "the labels file"
    )


def _finish(found: Report, output: Path, gates: Sequence[Gate]) -> int:
    outcomes = write_report(found, output, gates)
    print(report_table(found))
    print(f"report    {output / 'report.html'}\nnumbers   {output / 'report.json'}")
    for outcome in outcomes:
        verdict = "passed" if outcome.passed else "FAILED"
        print(f"gate      {outcome.gate}: {number(outcome.value, 4)}, {verdict}")
    if any(not outcome.passed for outcome in outcomes):
        print("some gates failed", file=sys.stderr)
        return EXIT_SOME_FAILED
    return 0


def _name(given: str) -> str:
    """A folder's own name or a Hub id: paths of this machine mean nothing to a reader."""
    path = Path(given)
    return path.resolve().name if path.exists() else given
