"""`python -m data_prep build`: recordings of labelled corpora into a leak-free `DatasetDict`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tqdm import tqdm

from data_prep.fingerprint import near_duplicates
from data_prep.inputs import Inputs, read_inputs, sample_per_class
from data_prep.layouts import AUTO, Row
from data_prep.layouts.base import EXAMPLES
from data_prep.layouts.remote import is_remote
from data_prep.layouts.subfolders import AUTO as SUBFOLDERS_AUTO
from data_prep.partition import SplitOptions, achieved, held_out, partition
from data_prep.parts import Recipe, RecordingFacts, package_versions, part_path, read_fingerprint
from data_prep.recording import PrepareTask, prepare_recording
from data_prep.report import DUPLICATE, FAILED, NO_CHUNKS, USED, Outcome, report_of, table
from data_prep.splits import split_fractions
from data_prep.workers import run_ordered
from data_prep.writing import OutputFolder, PreparedRecording
from deepfake.cluster import ClusterOptions, run_ordered_on_ray
from deepfake.errors import EXIT_SOME_FAILED, UserError
from deepfake.groups import connected_groups
from deepfake.labels import LABELS
from deepfake.pages.dataset_card import dataset_card

_REPORTED_PACKAGES = ("av", "datasets", "numpy", "onnxruntime", "pyarrow", "silero-vad", "soxr")


@dataclass(frozen=True)
class BuildOptions:
    """What a build is asked for. Paths apart, all of it is recorded in report.json.

    Attributes:
        inputs: files, folders, hub:org/name or kaggle:owner/name.
        layout: one of `LAYOUT_NAMES`.
        subfolders: what the folders below real/ and fake/ name, see `parse_subfolders`.
        sample_per_class: so many recordings of each class, at random; None takes all.
        splits: see `SplitOptions`.
        workers: processes; the result does not depend on it.
        cluster: what prepares recordings in place of these; the result does not depend on it either.
        overwrite: replace a finished dataset in `output` (only once the new one is complete).
    """

    inputs: Sequence[str | Path]
    output: Path
    layout: str = AUTO
    subfolders: tuple[str, ...] = (SUBFOLDERS_AUTO,)
    sample_per_class: int | None = None
    recipe: Recipe = field(default_factory=Recipe)
    splits: SplitOptions = field(default_factory=lambda: SplitOptions(split_fractions((0.8, 0.1, 0.1))))
    workers: int = 1
    cluster: ClusterOptions | None = None
    overwrite: bool = False


def build(options: BuildOptions) -> int:
    """Build the dataset, print its table on stdout, and say on stderr what could not be used.

    Returns:
        0, or `EXIT_SOME_FAILED` when some recordings could not be read (the dataset holds the others).

    Raises:
        UserError: nothing to do, labels missing or contradictory, too few recordings for the splits, or an output that
            is in use.
    """
    output = OutputFolder(options.output, options.overwrite)
    found = read_inputs(options.inputs, options.layout, output.work / "downloads", options.subfolders)
    rows = sample_per_class(found.rows, options.sample_per_class, options.splits.seed)
    _say(f"found {len(found.rows)} recordings, passed over {found.skipped} other files")
    _mention_readings(found)
    held_out(rows, options.splits)  # a misspelt name is told before hours of decoding
    outcomes = _prepare(rows, output, options)
    outcomes, parted = _with_splits(outcomes, output, options)
    facts = {
        "options": _asked(options),
        "versions": package_versions(_REPORTED_PACKAGES),
        "inputs": found.readings,
        "splits": parted,
        "skipped_files": found.skipped,
        "unreadable_folders": found.unreadable_folders,
    }
    report = report_of(outcomes, facts)
    output.write(_chosen(outcomes, output, options), report, dataset_card(report))
    print(table(outcomes))
    _say(f"dataset and report.json are in {options.output}")
    return EXIT_SOME_FAILED if any(outcome.status == FAILED for outcome in outcomes) else 0


def _asked(options: BuildOptions) -> dict:
    """The options without the paths of this machine."""
    manifest = options.splits.test_manifest
    return {
        "inputs": [name if is_remote(name) else Path(name).resolve().name for name in map(str, options.inputs)],
        "layout": options.layout,
        "subfolders": list(options.subfolders),
        "sample_per_class": options.sample_per_class,
        **asdict(options.recipe),
        "splits": asdict(options.splits) | {"test_manifest": manifest.name if manifest else None},
    }


def _mention_readings(found: Inputs) -> None:
    _say_some([f"cannot read the folder {folder}" for folder in found.unreadable_folders])
    for reading in found.readings:
        counts = f"{reading['input']}: {reading['recordings']} recordings, read as {reading['layout']}"
        if reading["unlisted"]:
            counts += f", {reading['unlisted']} passed over that the corpus does not list"
        if reading["listed_but_absent"]:
            counts += f", {reading['listed_but_absent']} listed ones are not there"
        _say(counts)
    for name, understood in found.understood:
        if sentence := understood.sentence():
            _say(f"{name}: {sentence}")


def _prepare(rows: Sequence[Row], output: OutputFolder, options: BuildOptions) -> list[Outcome]:
    parts = output.parts.absolute()  # which is the same for every machine of a cluster
    tasks = [PrepareTask(row.file.path, parts, options.recipe) for row in rows]
    if options.cluster is None:
        results = run_ordered(prepare_recording, tasks, min(options.workers, len(tasks)), _died)
    else:
        results = run_ordered_on_ray(prepare_recording, tasks, _died, options.cluster)
    outcomes: list[Outcome] = []
    first: dict[str, Outcome] = {}  # by sha256
    bar = tqdm(results, total=len(tasks), desc="preparing", unit="recording", smoothing=0)
    for row, facts in zip(rows, bar, strict=True):
        outcome = Outcome(row, facts)
        if facts.sha256 is not None:
            earlier = first.setdefault(facts.sha256, outcome)
            if earlier.label != row.label:
                raise UserError(
                    f"the same recording is {earlier.label} as {earlier.name} and {row.label} as {row.file.name}; one "
                    "of the two labels is wrong: remove one"
                )
            if earlier is not outcome:
                outcome = replace(outcome, duplicate_of=earlier.name)
        outcomes.append(outcome)
    _mention(outcomes)
    return outcomes


def _mention(outcomes: Sequence[Outcome]) -> None:
    """Say what did not make it into the dataset; report.json has the rest."""
    told = (
        (FAILED, "could not be used", lambda o: o.facts.error),
        (NO_CHUNKS, "hold too little speech for a chunk", lambda o: f"{o.facts.speech_s:.1f} s of sound"),
        (None, "are incomplete", lambda o: o.facts.warning),
        (DUPLICATE, "are copies of another one", lambda o: f"like {o.duplicate_of}"),
    )
    for status, what, why in told:
        held = [o for o in outcomes if (o.status == status if status else o.facts.warning is not None)]
        if held:
            _say(f"{len(held)} recordings {what}:")
            _say_some([f"  {outcome.name}: {why(outcome)}" for outcome in held])


def _with_splits(
    outcomes: Sequence[Outcome], output: OutputFolder, options: BuildOptions
) -> tuple[list[Outcome], dict]:
    """The outcomes with their groups and splits, and what report.json says about the splits."""
    used = [index for index, outcome in enumerate(outcomes) if outcome.status == USED]
    rows = [outcomes[index].row for index in used]
    for label in LABELS:
        if all(row.label != label for row in rows):
            raise UserError(
                f"none of the {label} recordings holds a chunk of speech; add {label} recordings, or lower --min-s if "
                "they are short"
            )
    parts = (part_path(output.parts, outcomes[index].facts.sha256, options.recipe) for index in used)
    copies = near_duplicates([read_fingerprint(part) for part in parts])
    if copies:
        told = f"{rows[copies[0].first].file.name} and {rows[copies[0].second].file.name}"
        _say(f"{len(copies)} pairs of recordings hold the same audio and stay in one split, e.g. {told}")
    keys = [_keys(row, options.splits.group_by) for row in rows]
    groups = connected_groups(keys, [(copy.first, copy.second) for copy in copies])
    seconds = [outcomes[index].chunk_s for index in used]
    parted = partition(rows, groups, seconds, options.splits)
    if parted.crossing:
        what = "add --splits 0.8 0.1 0.1 to deal them anew, or --leaks drop to leave out what test shares with training"
        if parted.left_out:
            counts = ", ".join(f"{count} of {split}" for split, count in parted.left_out.items())
            what = f"their recordings outside test (or validation) are left out: {counts}"
        _say(
            f"the corpus' own splits part {len(parted.crossing)} groups that share a source, speaker or audio, e.g. "
            f"{' and '.join(parted.crossing[0][:2])}; {what}"
        )
    nameless = sum(row.speaker is None for row in rows)
    if nameless and "speaker" in options.splits.group_by:
        _say(
            f"note: who speaks in {nameless} of {len(rows)} recordings is not known, so that one voice may be in "
            "several splits; name speakers by folders (real/SPEAKER/…) or in a metadata.csv"
        )
    shares = achieved(rows, parted.splits, seconds)
    for split, share in shares.items():
        missing = [label for label in LABELS if not share.get(label)]
        if missing:
            _say(
                f"warning: {split} holds no {missing[0]} recording; nothing can be trained or judged on one class alone"
            )
    changed = list(outcomes)
    for index, group, split in zip(used, parted.groups, parted.splits, strict=True):
        changed[index] = replace(outcomes[index], group=rows[group].file.name, split=split, left_out=split is None)
    return changed, {
        "achieved": shares,
        "groups": len(set(groups)),
        "recordings_without_speaker": nameless,
        "held_out_recordings": parted.forced,
        "kept_from_corpus": parted.kept,
        "crossing_groups": parted.crossing[:EXAMPLES],
        "crossing_group_count": len(parted.crossing),
        "left_out_recordings": parted.left_out,
        "near_duplicates": [
            {
                "first": rows[copy.first].file.name,
                "second": rows[copy.second].file.name,
                "shift_s": copy.shift_s,
                "share": copy.share,
            }
            for copy in copies
        ],
    }


def _keys(row: Row, group_by: Sequence[str]) -> list[tuple[str, ...] | None]:
    """What connects a recording to others."""
    return [
        ("source", row.corpus, row.group) if "source" in group_by and row.group else None,
        ("speaker", row.speaker) if "speaker" in group_by and row.speaker else None,
    ]


def _chosen(outcomes: Sequence[Outcome], output: OutputFolder, options: BuildOptions) -> list[PreparedRecording]:
    chosen = []
    for outcome in outcomes:
        if outcome.status == USED:
            sha256 = outcome.facts.sha256
            part = part_path(output.parts, sha256, options.recipe)
            chosen.append(PreparedRecording(outcome.row, sha256, outcome.split, part))
    return chosen


def _died(task: PrepareTask) -> RecordingFacts:
    return RecordingFacts(error="the process died while preparing it (a crash in a decoder, or out of memory)")


def _say_some(lines: Sequence[str]) -> None:
    """The first few of many lines, and how many more there are."""
    for line in lines[:EXAMPLES]:
        _say(line)
    if len(lines) > EXAMPLES:
        _say(f"  and {len(lines) - EXAMPLES} more")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
