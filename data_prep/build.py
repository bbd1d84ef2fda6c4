"""`python -m data_prep build`: recordings in labelled folders into a leak-free `DatasetDict`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath

from datasets import load_from_disk
from tqdm import tqdm

from data_prep.chunking import ChunkingOptions
from data_prep.errors import EXIT_SOME_FAILED, UserError
from data_prep.files import AudioFile, find_audio_files
from data_prep.hub import cache_only, first_line
from data_prep.labels import LABELS, label_of_folders
from data_prep.parts import RecordingFacts, package_versions, part_path
from data_prep.recording import PrepareTask, prepare_recording
from data_prep.report import DUPLICATE, FAILED, NO_CHUNKS, USED, Outcome, report_of, table
from data_prep.splits import assign_splits, split_fractions
from data_prep.workers import run_ordered
from data_prep.writing import OutputFolder, PreparedRecording

_EXAMPLES = 5
_REPORTED_PACKAGES = ("av", "datasets", "numpy", "onnxruntime", "pyarrow", "silero-vad", "soxr")


@dataclass(frozen=True)
class BuildOptions:
    """What a build is asked for. `inputs` and `output` are paths; the rest is recorded in report.json.

    Attributes:
        splits: fractions of train, validation and test by seconds of each class; 0 leaves a split out.
        workers: processes; the result does not depend on it.
        overwrite: replace a finished dataset in `output` (only once the new one is complete).
    """

    inputs: Sequence[Path]
    output: Path
    chunking: ChunkingOptions = field(default_factory=ChunkingOptions)
    splits: Sequence[float] = (0.8, 0.1, 0.1)
    seed: int = 42
    workers: int = 1
    overwrite: bool = False


def build(options: BuildOptions) -> int:
    """Build the dataset, print its table on stdout, and say on stderr what could not be used.

    Returns:
        0, or `EXIT_SOME_FAILED` when some recordings could not be read (the dataset holds the others).

    Raises:
        UserError: nothing to do, labels missing or contradictory, too few recordings for the splits, or an output that
            is in use.
    """
    fractions = split_fractions(options.splits)
    search = find_audio_files(options.inputs)
    files = list(search)
    labels = _labels(files, options.inputs, search.skipped)
    output = OutputFolder(options.output, options.overwrite)
    _say(f"found {len(files)} recordings, passed over {search.skipped} other files")
    for folder in search.unreadable_folders[:_EXAMPLES]:
        _say(f"cannot read the folder {folder}")
    outcomes = _with_splits(_prepare(files, labels, output, options), fractions, options.seed)
    asked = {
        "inputs": [path.resolve().name for path in map(Path, options.inputs)],
        "chunking": asdict(options.chunking),
        "splits": fractions,
        "seed": options.seed,
    }
    versions = package_versions(_REPORTED_PACKAGES)
    report = report_of(outcomes, asked, versions, search.skipped, search.unreadable_folders)
    output.write(_chosen(outcomes, output, options), report)
    print(table(outcomes))
    _say(f"dataset and report.json are in {options.output}")
    return EXIT_SOME_FAILED if any(outcome.status == FAILED for outcome in outcomes) else 0


def push(folder: Path, repo_id: str) -> None:
    """Push a finished dataset to the Hub.

    Raises:
        UserError: the Hub could not be reached or refused; the dataset on disk stays as it is.
    """
    try:
        if cache_only():
            raise ConnectionError("the Hub cannot be reached from here")
        load_from_disk(str(folder)).push_to_hub(repo_id)
    except Exception as error:  # no network, no token, no permission: each library layer has its own exception
        raise UserError(
            f"the dataset is finished in {folder} but could not be pushed to {repo_id} ({first_line(error)}); "
            f"check the network and `hf auth login`, then push it with: python -m data_prep push {folder} {repo_id}"
        ) from error


def _labels(files: Sequence[AudioFile], inputs: Sequence[Path], skipped: int) -> list[str]:
    """The label of each file by its folders; every problem is one sentence with a count and examples."""
    if not files:
        places = ", ".join(map(str, inputs))
        raise UserError(f"no audio file found in {places} ({skipped} other files passed over); name a folder of them")
    evidence = [label_of_folders(PurePosixPath(file.name)) for file in files]
    for wrong, problem in ((0, "lie in no folder that names a class"), (2, "lie in folders that name both classes")):
        names = [file.name for file, found in zip(files, evidence, strict=True) if len(found) == wrong]
        if names:
            raise UserError(
                f"{len(names)} of {len(files)} recordings {problem}, e.g. {', '.join(names[:_EXAMPLES])}; expected a "
                "folder such as real/ (bonafide, genuine, human) or fake/ (spoof, synthetic, tts) above each: move "
                "them, or name only the folders meant"
            )
    labels = [next(iter(found)) for found in evidence]
    missing = [label for label in LABELS if label not in labels]
    if missing:
        raise UserError(
            f"all {len(files)} recordings are {labels[0]}; a detector needs {missing[0]} ones as well: name a folder "
            f"that has them under {missing[0]}/"
        )
    return labels


def _prepare(
    files: Sequence[AudioFile], labels: Sequence[str], output: OutputFolder, options: BuildOptions
) -> list[Outcome]:
    tasks = [PrepareTask(file.path, output.parts, options.chunking) for file in files]
    results = run_ordered(prepare_recording, tasks, min(options.workers, len(tasks)), _died)
    outcomes: list[Outcome] = []
    first: dict[str, Outcome] = {}  # by sha256
    bar = tqdm(results, total=len(tasks), desc="preparing", unit="recording", smoothing=0)
    for file, label, facts in zip(files, labels, bar, strict=True):
        outcome = Outcome(file.name, label, facts)
        if facts.sha256 is not None:
            earlier = first.setdefault(facts.sha256, outcome)
            if earlier.label != label:
                raise UserError(
                    f"the same recording is {earlier.label} as {earlier.name} and {label} as {file.name}; one of "
                    "the two folders is wrong about it: remove one"
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
        (NO_CHUNKS, "hold too little speech for a chunk", lambda o: f"{o.facts.speech_s:.1f} s"),
        (DUPLICATE, "are copies of another one", lambda o: f"like {o.duplicate_of}"),
    )
    for status, what, why in told:
        held = [outcome for outcome in outcomes if outcome.status == status]
        if held:
            _say(f"{len(held)} recordings {what}:")
            for outcome in held[:_EXAMPLES]:
                _say(f"  {outcome.name}: {why(outcome)}")


def _with_splits(outcomes: Sequence[Outcome], fractions: dict[str, float], seed: int) -> list[Outcome]:
    used = [outcome for outcome in outcomes if outcome.status == USED]
    labels = [outcome.label for outcome in used]
    for label in LABELS:
        if label not in labels:
            raise UserError(
                f"none of the {label} recordings holds a chunk of speech; add {label} recordings, or lower --min-s if "
                "they are short"
            )
    groups = [str(outcome.facts.sha256) for outcome in used]
    splits = assign_splits(groups, labels, [outcome.chunk_s for outcome in used], fractions, seed)
    by_sha256 = dict(zip(groups, splits, strict=True))
    return [replace(o, split=by_sha256[o.facts.sha256]) if o.status == USED else o for o in outcomes]


def _chosen(outcomes: Sequence[Outcome], output: OutputFolder, options: BuildOptions) -> list[PreparedRecording]:
    chosen = []
    for outcome in outcomes:
        if outcome.status == USED:
            sha256 = outcome.facts.sha256
            part = part_path(output.parts, sha256, options.chunking)
            chosen.append(PreparedRecording(outcome.name, sha256, outcome.label, outcome.split, part))
    return chosen


def _died(task: PrepareTask) -> RecordingFacts:
    return RecordingFacts(error="the process died while preparing it (a crash in a decoder, or out of memory)")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
