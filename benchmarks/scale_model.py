#!/usr/bin/env python3
"""How long 100 million files take on any number of workers: measured here, fitted, and simulated.

python -m benchmarks.scale_model measure --audio FOLDER --work DIR --json MODEL.json     minutes, on this machine
python -m benchmarks.scale_model simulate --model MODEL.json                             workers, failures, stragglers

A worker is a process of one core, as `infer.py --engine ray` starts it. Measured are seconds of CPU time, so that other
work on the machine lengthens the measurement and hardly changes it. Assumed, as no cluster and no distant store was at
hand, are the values of `Assumed`.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

_LENGTHS_S = (0.6, 2.0, 5.0, 20.0, 60.0)
_BATCH = 32  # files, as in deepfake.scoring.on_ray
_MOST_BATCHES = 100_000  # are simulated one by one; more are put together
_STORE = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel("ERROR")
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Model:
    """What was measured. Times in seconds of CPU time, but for `fetch_s`, which is elapsed.

    Attributes:
        file_s, audio_s: of a file, and of a second of it (least squares over lengths from 0.6 to 60 s).
        fit_error: the largest relative error of that line.
        spread: standard deviation of the logarithm of one file's time around its mean, over files of one length.
        start_s: from the start of a worker's process to its first score.
        fetch_s: of a file of 20 s from an S3 server on the same machine, and `fetch_cpu_s` of it in this process.
        row_s, batch_s: of the process that leads, for a row (summed up and written) and for a batch of them (Ray).
        list_s: of finding a file in a folder here. `list_bytes`: of its memory.
        join_s: of bringing a row into the order of the files.
    """

    file_s: float
    audio_s: float
    fit_error: float
    spread: float
    start_s: float
    fetch_s: float
    fetch_cpu_s: float
    row_s: float
    batch_s: float
    list_s: float
    list_bytes: float
    join_s: float
    load: float


@dataclass(frozen=True)
class Assumed:
    """What was not measured.

    Attributes:
        files: how many.
        median_s, sigma: of their lengths, which are lognormal.
        latency_s: median from asking a distant store for a file to having it; lognormal with `latency_sigma`.
        threads: that fetch at once, for each worker (`--workers`).
        slow_share, slow_factor: workers on machines that are slower throughout.
        failures_an_hour: of each worker, whose batch is then done again; it is back after `restart_s` and its start.
        keys_a_second: that one process lists from the store.
    """

    files: int = 100_000_000
    median_s: float = 5.0
    sigma: float = 0.8
    latency_s: float = 0.05
    latency_sigma: float = 0.7
    threads: int = 4
    slow_share: float = 0.02
    slow_factor: float = 3.0
    failures_an_hour: float = 0.01
    restart_s: float = 120.0
    keys_a_second: float = 5_000.0


@dataclass(frozen=True)
class Outcome:
    """Of a simulated run. `busy` is the share of the workers' time that went into batches that counted."""

    workers: int
    runs: int
    hours: float
    worker_hours: float
    busy: float
    failures: int
    lost_share: float  # of the work, done twice because a worker died
    tail_s: float  # from when no batch is left to give out to the last row
    leader_busy: float  # share of the time that the busiest leading process works
    leader_gb: float  # of its memory, for the list of files
    join_h: float


def measure(arguments: argparse.Namespace) -> Model:
    """Run everything that the model rests on. Under a load as told in `load`."""
    from benchmarks.cluster import make_files

    load = os.getloadavg()[0]
    per_file, spread = {}, []
    os.environ["OMP_NUM_THREADS"] = "1"
    from deepfake.audio.files import AudioFile
    from deepfake.scoring.on_ray import FileTask, scorer
    from deepfake.scoring.options import ScoringOptions

    work = scorer(ScoringOptions(device="cpu", workers=0))
    for seconds in _LENGTHS_S:
        arguments.seconds, arguments.files = seconds, max(8, min(arguments.most, round(arguments.audio_s / seconds)))
        paths = sorted(make_files(arguments).rglob("*.flac"))
        tasks = [FileTask(AudioFile(path, path.name)) for path in paths]
        work(tasks[:2])
        alone = [_cpu(lambda task=task: work([task])) for task in tasks]
        per_file[seconds] = float(np.mean(alone))
        spread.append(np.std(np.log(alone)))
        print(f"{seconds:g} s: {per_file[seconds] * 1e3:.1f} ms of CPU time, {len(tasks)} files", flush=True)
    lengths, times = np.array(list(per_file)), np.array(list(per_file.values()))
    # Weighted so that every length counts by its relative error.
    design = np.stack((np.ones_like(lengths), lengths), axis=1) / times[:, None]
    (file_s, audio_s), *_ = np.linalg.lstsq(design, np.ones_like(times), rcond=None)
    error = float(np.max(np.abs((file_s + audio_s * lengths) / times - 1)))
    fetched = _measure_store(sorted(make_files(arguments).rglob("*.flac"))[:8])
    leading = _measure_leading(arguments.work)
    start_s = _measure_start(paths[0])
    return Model(float(file_s), float(audio_s), error, float(np.median(spread)), start_s, *fetched, *leading, load)


def _cpu(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def _measure_start(path: Path) -> float:
    code = (
        "import sys; from pathlib import Path; from deepfake.audio.files import AudioFile;"
        "from deepfake.scoring.on_ray import FileTask, scorer; from deepfake.scoring.options import ScoringOptions;"
        "scorer(ScoringOptions(device='cpu'))([FileTask(AudioFile(Path(sys.argv[1]), 'a'))])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=Path(__file__).parents[1])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def _store() -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", _STORE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as at:
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{int(at.stdout.readline())}", "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
        yield
        at.stdin.close()


def _measure_store(paths: list[Path]) -> tuple[float, float]:
    """Elapsed and CPU time of fetching a file."""
    from deepfake.audio.remote import RemoteFile, filesystem

    with _store():
        system = filesystem("s3://")
        system.mkdir("clips")
        for path in paths:
            system.put_file(str(path), f"clips/{path.name}")
        files = [RemoteFile(f"s3://clips/{path.name}") for path in paths]
        files[0].open().close()
        elapsed, cpu = [], []
        for file in files * 8:
            begun, used = time.perf_counter(), time.process_time()
            file.open().close()
            elapsed.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - used)
    return float(np.median(elapsed)), float(np.mean(cpu))


def _nothing() -> Callable[[list[int]], list[int]]:
    return lambda tasks: tasks


def _measure_leading(work: Path, rows: int = 20_000) -> tuple[float, float, float, float, float]:
    """Of the process that leads: a row, a batch, listing a file, its memory, and joining a row."""
    import tracemalloc

    from deepfake.cluster import ClusterOptions, run_on_ray
    from deepfake.scoring.listing import list_files
    from deepfake.scoring.on_ray import _batches, _tasks
    from deepfake.scoring.result import Score
    from deepfake.scoring.sharding import Shard, clear, join, part_path
    from deepfake.scoring.summary import Summary
    from deepfake.scoring.writers import ScoreWriter

    folder = work / "empty"
    for index in range(rows):
        place = folder / f"{index // 1000:04d}" / f"{index:07d}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    listed: list[str] = []
    list_s = _cpu(lambda: list(_batches(_tasks(list_files([str(folder)]), set(), listed)))) / rows
    tracemalloc.start()
    kept: list[str] = []
    search = list_files([str(folder)])
    for _ in _batches(_tasks(search, set(), kept)):
        pass
    list_bytes = tracemalloc.get_traced_memory()[0] / rows
    tracemalloc.stop()
    del search
    output = work / "leading.csv"
    clear(output)
    summary = Summary(0.5)

    def write() -> None:
        with ScoreWriter(part_path(output, Shard(0, 1))) as writer:
            for path in listed:
                row = Score(path, 0.123456789, "real", 0.5, 5.12, 1, 0.123456789, operating_point="default")
                writer.write(row)
                summary.add(row)

    row_s = _cpu(write) / rows
    join_s = _cpu(lambda: join(output, listed)) / rows
    batches = [list(range(_BATCH))] * 2000
    batch_s = _cpu(lambda: list(run_on_ray(_nothing, batches, lambda task: task, ClusterOptions())))
    # Starting Ray is not part of a batch.
    batch_s -= _cpu(lambda: list(run_on_ray(_nothing, batches[:1], lambda task: task, ClusterOptions())))
    return row_s, max(batch_s, 0.0) / len(batches), list_s, list_bytes, join_s


def simulate(model: Model, assumed: Assumed, workers: int, runs: int, seed: int = 0) -> Outcome:
    """One event after another: batches are listed, given to the worker that is free next, and taken in by the leader.

    Args:
        workers: of each run.
        runs: one after the other, over a share of the files each. They are alike, so that one is simulated.
    """
    chance = np.random.default_rng(seed)
    files, workers_here = assumed.files // runs, workers
    together = max(1, files // (_BATCH * _MOST_BATCHES))
    batch = _BATCH * together
    count = files // batch
    service = _service(model, assumed, count, batch, chance)
    speed = np.where(chance.random(workers_here) < assumed.slow_share, assumed.slow_factor, 1.0)
    leader_s = together * model.batch_s + batch * (model.row_s + model.list_s)
    listed_s = batch / assumed.keys_a_second
    rate = assumed.failures_an_hour / 3600
    # A worker has one batch more than it works on, which was given to it when the leader took in the one before.
    given_at = np.full(workers_here, model.start_s)
    events = [(model.start_s, index, None) for index in range(workers_here)]  # time, worker, seconds of what it did
    leader_free = busy = lost = last_given = 0.0
    failures, given = 0, 0
    again: list[float] = []
    unfailed = iter(chance.exponential(1.0, count + 100_000))
    while events:
        now, index, did = heapq.heappop(events)
        if did is not None:
            busy += did
            leader_free = max(leader_free, now) + leader_s
        if again:
            need, listed = again.pop(), 0.0
        elif given < count:
            given += 1
            need, listed = service[given - 1], given * listed_s
        else:
            continue
        begin = max(now, given_at[index], listed)
        given_at[index] = leader_free
        last_given = max(last_given, begin)
        takes = need * speed[index]
        until_failure = next(unfailed, np.inf) / rate if rate else np.inf
        if until_failure >= takes:
            heapq.heappush(events, (begin + takes, index, takes))
            continue
        # Of batches that were put together, a failure costs part of one.
        failures += 1
        lost_here = min(until_failure, takes / together)
        lost += lost_here
        busy += until_failure - lost_here
        again.append(need - (until_failure - lost_here) / speed[index])
        heapq.heappush(events, (begin + until_failure + assumed.restart_s + model.start_s, index, None))
    end = leader_free
    hours = runs * (end + files * model.join_s) / 3600
    return Outcome(
        workers=workers, runs=runs, hours=hours, worker_hours=end / 3600 * workers_here * runs,
        busy=busy / (end * workers_here), failures=failures * runs, lost_share=lost / busy, tail_s=end - last_given,
        leader_busy=count * leader_s / end, leader_gb=files * model.list_bytes / 1e9,
        join_h=runs * files * model.join_s / 3600,
    )  # fmt: skip


def _service(model: Model, assumed: Assumed, count: int, batch: int, chance: np.random.Generator) -> np.ndarray:
    """Seconds of each batch on a worker of normal speed: computing, and what waiting for the store is not hidden."""
    lengths = np.zeros(count)
    waits = np.zeros(count)
    for _ in range(_BATCH):
        lengths += chance.lognormal(np.log(assumed.median_s), assumed.sigma, count)
        waits += chance.lognormal(np.log(assumed.latency_s), assumed.latency_sigma, count)
    scale = batch / _BATCH
    noise = chance.lognormal(0.0, model.spread / np.sqrt(_BATCH), count)
    compute = scale * (_BATCH * (model.file_s + model.fetch_cpu_s) + model.audio_s * lengths) * noise
    # Threads fetch while others compute; the first file of a batch waits alone.
    return np.maximum(compute, scale * waits / assumed.threads) + scale * assumed.latency_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "simulate"))
    parser.add_argument("--audio", type=Path, help="folder of clips of speech, to measure with")
    parser.add_argument("--work", type=Path, help="folder for what is made; kept")
    parser.add_argument("--audio-s", type=float, default=240.0, help="seconds of audio measured for each length")
    parser.add_argument("--most", type=int, default=120, help="files measured for each length, at most")
    parser.add_argument("--model", type=Path, help="what measure wrote")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 100], help="into which the files are divided")
    for one in fields(Assumed):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default)
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    if arguments.what == "measure":
        arguments.work.mkdir(parents=True, exist_ok=True)
        results: object = asdict(measure(arguments))
    else:
        model = Model(**json.loads(arguments.model.read_text()))
        assumed = Assumed(**{one.name: getattr(arguments, one.name) for one in fields(Assumed)})
        pairs = [(workers, runs) for workers in arguments.workers for runs in arguments.runs]
        outcomes = [asdict(simulate(model, assumed, *pair)) for pair in pairs]
        results = {"assumed": asdict(assumed), "outcomes": outcomes}
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
