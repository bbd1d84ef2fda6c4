#!/usr/bin/env python3
"""Scoring by a Ray cluster on one machine: what it costs, what it needs, and whether a row is lost or doubled.

python -m benchmarks.cluster overhead --audio FOLDER --work DIR --files 600 --seconds 20   against one process
python -m benchmarks.cluster kills --audio FOLDER --work DIR --files 2000 --kills 10       killed at random, resumed
python -m benchmarks.cluster node --audio FOLDER --work DIR --files 2000                   a machine of two is lost
python -m benchmarks.cluster memory --audio FOLDER --work DIR --files 20000                of all its processes
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks.scoring_scale import speech_without_end
from deepfake.audio.decode import SAMPLING_RATE, encode_flac

_ROOT = Path(__file__).parents[1]
_DISTINCT = 200
_PARTS = ".part-00000-of-00001.jsonl"


@dataclass(frozen=True)
class Watched:
    """A run of the command. `cpu_s` and `memory_mb` (samples over time) are of all its processes together."""

    status: int
    wall_s: float
    cpu_s: float
    memory_mb: tuple[float, ...]


def make_files(arguments: argparse.Namespace) -> Path:
    """A folder of FLAC files of one length, of which `_DISTINCT` differ; by `--speech-every` others are broken."""
    every = getattr(arguments, "speech_every", 1)
    folder = arguments.work / f"{arguments.files}_files_of_{arguments.seconds:g}s{'' if every == 1 else f'_{every}'}"
    clips: list[bytes] = []
    for index in range(arguments.files):
        place = folder / f"{index // 1000:04d}" / f"{index:07d}.flac"
        if place.exists():
            continue
        if not clips:
            clips = list(_encoded(arguments))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"no audio" if index % every else clips[index // every % len(clips)])
    return folder


def _encoded(arguments: argparse.Namespace) -> Iterator[bytes]:
    speech = speech_without_end(arguments.audio)
    held = np.zeros(0, np.float32)
    for _ in range(min(_DISTINCT, arguments.files)):
        while len(held) < arguments.seconds * SAMPLING_RATE:
            held = np.concatenate((held, next(speech)))
        cut = round(arguments.seconds * SAMPLING_RATE)
        yield encode_flac(held[:cut])
        held = held[cut:]


def watch(words: Sequence[object], kill: Callable[[], bool] | None = None, every_s: float = 1.0) -> Watched:
    """Run `infer.py` with these words; it is killed once `kill` says so."""
    command = [sys.executable, str(_ROOT / "infer.py"), *map(str, words)]
    # Ray's processes would otherwise give way to everything else that runs here.
    environment = {**os.environ, "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    started = time.perf_counter()
    process = psutil.Popen(command, cwd=_ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cpu_s: dict[int, float] = {}
    memory: list[float] = []
    while process.poll() is None:
        if kill is not None and kill():
            process.send_signal(signal.SIGKILL)
            kill = None
        used = 0
        for one in _family(process):
            try:
                times = one.cpu_times()
                cpu_s[one.pid] = times.user + times.system
                used += one.memory_info().rss
            except psutil.Error:
                continue
        memory.append(used / 2**20)
        time.sleep(every_s)
    return Watched(process.returncode, time.perf_counter() - started, sum(cpu_s.values()), tuple(memory))


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def compare(ours: Path, reference: Path) -> dict[str, float]:
    """Rows that are lost, doubled or out of order, and the largest difference of a score."""
    rows, expected = read(ours), read(reference)
    paths, wanted = [row["path"] for row in rows], [row["path"] for row in expected]
    scores = [
        abs(float(a["fake_probability"]) - float(b["fake_probability"]))
        for a, b in zip(rows, expected, strict=False)
        if a["path"] == b["path"] and a["fake_probability"] and b["fake_probability"]
    ]
    return {
        "files": len(wanted),
        "rows": len(paths),
        "lost": len(set(wanted) - set(paths)),
        "doubled": len(paths) - len(set(paths)),
        "in_order": paths == wanted,
        "same_errors": [row["error"] for row in rows] == [row["error"] for row in expected],
        "largest_difference": max(scores, default=float("nan")),
    }


def reference_of(folder: Path, arguments: argparse.Namespace) -> Path:
    """The rows of one process, made once."""
    rows = arguments.work / f"{folder.name}.csv"
    if not rows.exists():
        watch([folder, "--output", rows])
    return rows


def overhead(arguments: argparse.Namespace) -> dict[str, object]:
    """One process and Ray in turn, over all files and over a quarter of them, which parts starting from scoring.

    An hour of work is one that takes one process an hour of CPU time.
    """
    seconds: dict[str, list[tuple[float, float]]] = {"local": [], "ray": []}  # CPU and elapsed, by size
    sizes = (max(1, arguments.files // 4), arguments.files)
    for arguments.files in sizes:
        folder = make_files(arguments)
        runs: dict[str, list[Watched]] = {"local": [], "ray": []}
        for round_ in range(arguments.rounds):
            for engine in ("local", "ray") if round_ % 2 == 0 else ("ray", "local"):
                output = arguments.work / f"overhead_{engine}.csv"
                words = [folder, "--output", output, "--overwrite", "--engine", engine]
                runs[engine].append(watch(words, every_s=0.2))
                print(arguments.files, engine, runs[engine][-1].cpu_s, runs[engine][-1].wall_s, flush=True)
        for engine, of in runs.items():
            seconds[engine].append((min(run.cpu_s for run in of), min(run.wall_s for run in of)))
    found: dict[str, dict[str, float]] = {}
    for engine, ((few_s, _), (many_s, _)) in seconds.items():
        file_s = (many_s - few_s) / (sizes[1] - sizes[0])
        found[engine] = {"file_s": file_s, "start_s": few_s - file_s * sizes[0]}
    hour = {engine: of["start_s"] + of["file_s"] * 3600 / found["local"]["file_s"] for engine, of in found.items()}
    return {
        "sizes": sizes,
        "file_of_s": arguments.seconds,
        "best_of": arguments.rounds,
        "cpu_and_wall_s": seconds,
        **found,
        "ratio_of_an_hour": hour["ray"] / hour["local"],
        **compare(arguments.work / "overhead_ray.csv", arguments.work / "overhead_local.csv"),
    }


def kills(arguments: argparse.Namespace) -> dict[str, object]:
    """Killed at random moments, resumed each time, and at last left to end."""
    folder = make_files(arguments)
    reference = reference_of(folder, arguments)
    output = arguments.work / "kills.csv"
    for left in arguments.work.glob("kills.csv*"):
        left.unlink()
    part = output.with_name(output.name + _PARTS)
    chance, rows = random.Random(arguments.seed), [0]

    def written() -> int:
        return part.read_bytes().count(b"\n") if part.exists() else 0

    for number in range(arguments.kills):
        more, later_s = chance.randrange(2 * arguments.files // arguments.kills), chance.uniform(0, 2)

        def due(enough: int = rows[-1] + more, later_s: float = later_s) -> bool:
            if written() < enough:
                return False
            time.sleep(later_s)
            return True

        run = watch([folder, "--output", output, "--engine", "ray", *(["--resume"] if number else [])], due, 0.2)
        if run.status == 0:
            break
        rows.append(written())
        print(f"killed with {rows[-1]} rows", flush=True)
    last = watch([folder, "--output", output, "--engine", "ray", "--resume"])
    return {"rows_at_each_kill": rows[1:], "status": last.status, **compare(output, reference)}


def node(arguments: argparse.Namespace) -> dict[str, object]:
    """Two machines of one core, as far as Ray knows, beside one that only leads; one of the two is lost."""
    folder = make_files(arguments)
    reference = reference_of(folder, arguments)
    os.environ.update({"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"})
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    output = arguments.work / "node.csv"
    part = output.with_name(output.name + _PARTS)
    command = [sys.executable, "infer.py", folder, "--output", output, "--overwrite", "--engine", "ray"]
    words = [str(word) for word in (*command, "--address", cluster.address)]
    run = subprocess.Popen(words, cwd=_ROOT, stderr=subprocess.DEVNULL)
    while run.poll() is None and not (part.exists() and part.read_bytes().count(b"\n") > arguments.files / 4):
        time.sleep(0.2)
    rows = part.read_bytes().count(b"\n")
    cluster.remove_node(nodes[0], allow_graceful=False)
    status = run.wait()
    cluster.shutdown()
    return {"rows_when_it_was_lost": rows, "status": status, **compare(output, reference)}


def memory(arguments: argparse.Namespace) -> dict[str, object]:
    """The memory of all processes at each tenth of the run."""
    folder = make_files(arguments)
    run = watch([folder, "--output", arguments.work / "memory.csv", "--overwrite", "--engine", "ray"])
    tenths = [float(np.median(tenth)) for tenth in np.array_split(run.memory_mb, 10)]
    rows = read(arguments.work / "memory.csv")
    scored = sum(not row["error"] for row in rows)
    return {
        "files": arguments.files,
        "rows": len(rows),
        "scored": scored,
        "wall_s": run.wall_s,
        "memory_mb_by_tenth": tenths,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overhead", "kills", "node", "memory"))
    parser.add_argument("--audio", type=Path, required=True, help="folder of clips of speech")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made; kept")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=0.6, help="length of each file")
    parser.add_argument("--speech-every", type=int, default=1, metavar="N", help="only each N-th file holds any")
    parser.add_argument("--rounds", type=int, default=2, help="of overhead")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    results = {"overhead": overhead, "kills": kills, "node": node, "memory": memory}[arguments.what](arguments)
    results |= {"cores": len(os.sched_getaffinity(0)), "load_before": load, "load_after": os.getloadavg()[0]}
    print(json.dumps(results, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
