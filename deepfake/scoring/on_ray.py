"""Scoring by the processes of a Ray cluster: what is sent are paths, what comes back are rows.

Only this process writes rows, and resumes as it does without a cluster: each file has one row, whoever dies.
"""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from deepfake.audio.files import AudioFile
from deepfake.cluster import ClusterOptions, Work, connected, resources, run_on_ray
from deepfake.scoring.analysis import analyse, for_these, load_detector
from deepfake.scoring.detector import Detector
from deepfake.scoring.options import ScoringOptions
from deepfake.scoring.progress import Progress
from deepfake.scoring.record import Record
from deepfake.scoring.result import Score, path_text, row_key
from deepfake.scoring.sharding import Shard, clear, earlier_rows, join, part_path
from deepfake.scoring.summary import Summary
from deepfake.scoring.writers import ScoreWriter, scored_keys

# A batch is what a process that dies has to do again, and what the last process of a run works on alone.
_FILES = 32
_FETCHED_FILES = 8  # of unknown size
_BYTES = 16 << 20  # a quarter of an hour of FLAC at 16 kHz
_MOST_CORES = 8  # that decode for one GPU


@dataclass(frozen=True)
class FileTask:
    """A file to score, without the channels whose keys (see `row_key`) are in `done`."""

    file: AudioFile
    done: frozenset[str] = frozenset()


def score_on_ray(
    options: ScoringOptions,
    files: Iterable[AudioFile],
    output: Path,
    cluster: ClusterOptions,
    *,
    resume: bool = False,
    after_row: Callable[[], None] | None = None,
) -> Summary:
    """Score files on a cluster; rows are written as they come in, and joined in the order of the files at the end.

    Args:
        options: how. Without a device, GPUs are used where the cluster has some.
        files: taken lazily; every machine sees them under the same paths.
        output: .csv, .jsonl or .parquet.
        cluster: where. Processes have one core each unless it says so, and with GPUs a share of the cores.
        resume, after_row: as for `deepfake.scoring.command.score_shard`.

    Raises:
        UserError: as for `score_shard`, or there is no cluster.
    """
    options, files = for_these(options, files)
    with connected(cluster):
        options, cluster = _settled(options, cluster)
        detector = load_detector(replace(options, device="cpu"))
        record = Record.of(detector)
        if not resume:
            clear(output)
        # One part for all processes: this one writes it.
        part = part_path(output, Shard(0, 1))
        earlier = [rows for rows in earlier_rows(output) if rows != part] if resume else []
        for rows in earlier:
            record.require_same(rows)
        listed: list[str] = []
        with ScoreWriter(part, resume, record) as writer:
            done = writer.done.union(*map(scored_keys, earlier))
            failed = frozenset(writer.failed)
            summary = Summary(detector.threshold, kept=len(done))
            tasks = _tasks(files, done, listed)
            died = partial(_died, detector.threshold, detector.decision.name)
            with Progress() as bar:
                for _, scores in run_on_ray(partial(scorer, options), _batches(tasks), died, cluster):
                    for row in itertools.chain.from_iterable(scores):
                        writer.write(row)
                        summary.add(row, again=bool({row.key, row_key(row.path, None)} & failed))
                        bar.finished()
                    if after_row is not None:
                        after_row()
    join(output, listed)
    return summary


def scorer(options: ScoringOptions) -> Work:
    """What a process of the cluster does: it loads the detector once, and turns each `FileTask` into its rows."""
    detector = Detector.from_options(options)

    def score(tasks: list[FileTask]) -> list[list[Score]]:
        rows: dict[AudioFile, list[Score]] = {task.file: [] for task in tasks}
        done = frozenset().union(*(task.done for task in tasks))
        for file, result in analyse(detector, rows, done=done):
            rows[file].append(detector.row(result))
        return [rows[task.file] for task in tasks]

    return score


def _settled(options: ScoringOptions, cluster: ClusterOptions) -> tuple[ScoringOptions, ClusterOptions]:
    """The options with everything decided that the machines could decide differently."""
    has = resources(cluster)
    gpus = int(has.get("GPU", 0))
    on_gpus = gpus > 0 and not (options.device or "cuda").startswith("cpu")
    cores = cluster.cores
    if cores is None:
        cores = max(1, min(_MOST_CORES, int(has.get("CPU", 1)) // gpus)) if on_gpus else 1
    if options.model is not None and os.path.exists(options.model):
        options = replace(options, model=os.path.abspath(options.model))
    workers = options.workers
    if workers is None:  # one core decodes and computes in turn; several do both at once
        workers = cores if cores > 1 or on_gpus else 0
    backend = "torch" if on_gpus and options.backend == "auto" else options.backend
    device = options.device or ("cuda" if on_gpus else "cpu")
    options = replace(options, device=device, workers=workers, backend=backend)
    return options, replace(cluster, cores=cores, gpus=int(on_gpus))


def _tasks(files: Iterable[AudioFile], done: set[str], listed: list[str]) -> Iterator[FileTask]:
    """What is left to do; all that is there goes into `listed`."""
    channels: defaultdict[str, set[str]] = defaultdict(set)
    for key in done:
        path, separator, _ = key.rpartition("\0")
        if separator:
            channels[path].add(key)
    for file in files:
        path = str(file.path)
        listed.append(path)
        if row_key(path, None) not in done:
            yield FileTask(file, frozenset(channels.get(path_text(path), ())))


def _batches(tasks: Iterable[FileTask]) -> Iterator[list[FileTask]]:
    held: list[FileTask] = []
    size = 0
    for task in tasks:
        held.append(task)
        size += _size(task.file)
        if len(held) == _FILES or size >= _BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def _size(file: AudioFile) -> int:
    if not isinstance(file.path, Path):
        return _BYTES // _FETCHED_FILES
    try:
        return os.stat(file.path).st_size
    except OSError:  # which its row will say
        return 0


def _died(threshold: float, operating_point: str, task: FileTask) -> list[Score]:
    error = "the process died while scoring it (a crash in a decoder, or out of memory)"
    row = Score(str(task.file.path), None, None, threshold, None, 0, None, error, operating_point=operating_point)
    return [row]
