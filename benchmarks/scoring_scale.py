#!/usr/bin/env python3
"""Very long recordings and very many of them: time and peak memory of `infer.py`, each in a process of its own.

python -m benchmarks.scoring_scale long --audio FOLDER --hours 1 10 --work DIR     streamed, with and without timeline
python -m benchmarks.scoring_scale many --audio FOLDER --files 100000 --work DIR   killed once, then resumed
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from deepfake.audio.decode import SAMPLING_RATE, encode_flac, load_audio
from deepfake.audio.files import find_audio_files

_INFER = [sys.executable, str(Path(__file__).parents[1] / "infer.py")]
_DISTINCT = 200  # short clips; the rest are links to them


def speech_without_end(folder: Path) -> Iterator[np.ndarray]:
    """The clips of a folder, float32 of shape (samples,), over and over, with half a second between them."""
    paths = [file.path for file in find_audio_files([folder])][:_DISTINCT]
    clips = [load_audio(path) for path in paths]
    for clip in itertools.cycle(clips):
        yield np.concatenate((clip, np.zeros(SAMPLING_RATE // 2, np.float32)))


def write_long(path: Path, clips: Iterator[np.ndarray], hours: float) -> None:
    """A recording of that length, encoded as it is made; the extension says how."""
    left = round(hours * 3600 * SAMPLING_RATE)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame" if path.suffix == ".mp3" else "flac", rate=SAMPLING_RATE)
        stream.layout = "mono"
        while left > 0:
            clip = next(clips)[:left]
            left -= len(clip)
            steps = (np.clip(clip, -1, 1) * 32767).astype(np.int16)
            if path.suffix == ".mp3":
                frame = av.AudioFrame.from_ndarray(steps[None].astype(np.float32) / 32768, "fltp", "mono")
            else:
                frame = av.AudioFrame.from_ndarray(steps[None], "s16", "mono")
            frame.sample_rate = SAMPLING_RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def watch(options: list[object], output: Path, stop_after_s: float | None = None) -> dict[str, float]:
    """Run infer.py; kill it after `stop_after_s`.

    Returns:
        seconds, seconds to the first new row, exit status, rows in `output`, and peak memory in MB, of the process.
    """
    before = output.stat().st_size if output.exists() else 0
    started, first_row_s = time.perf_counter(), float("nan")
    process = subprocess.Popen(
        [*_INFER, *map(str, options), "--output", str(output)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    while (done := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        elapsed = time.perf_counter() - started
        if np.isnan(first_row_s) and output.exists() and output.stat().st_size > max(before, 100):
            first_row_s = elapsed
        if stop_after_s is not None and elapsed > stop_after_s:
            os.kill(process.pid, signal.SIGKILL)
            stop_after_s = None
        time.sleep(0.01)
    process.returncode = os.waitstatus_to_exitcode(done[1])
    with output.open(newline="") as file:
        rows = [row["path"] for row in csv.DictReader(file)]
    assert len(rows) == len(set(rows)), "a row is there twice"
    return {
        "seconds": time.perf_counter() - started,
        "first_row_s": first_row_s,
        "exit": process.returncode,
        "rows": len(rows),
        "peak_mb": done[2].ru_maxrss / 1024,
    }


def long_recordings(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """One recording of each length, scored with and without a timeline."""
    results = {}
    for hours in arguments.hours:
        path = arguments.work / f"{hours:g}h.{arguments.format}"
        if not path.exists():
            write_long(path, speech_without_end(arguments.audio), hours)
        for name, options in {"score": [], "timeline": ["--timeline", arguments.work / f"timeline_{hours:g}h"]}.items():
            output = arguments.work / f"{hours:g}h_{name}.csv"
            output.unlink(missing_ok=True)
            results[f"{hours:g} h, {name}"] = watch([path, *options, *arguments.options], output)
            print(f"{hours:g} h, {name}", results[f"{hours:g} h, {name}"], flush=True)
    return results


def many_recordings(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """A folder of clips of 0.6 s, scored for a while, killed, and resumed."""
    folder, output = arguments.work / f"{arguments.files}_files", arguments.work / f"{arguments.files}_files.csv"
    folder.mkdir(exist_ok=True)
    clips = [next(c) for c in [speech_without_end(arguments.audio)] for _ in range(_DISTINCT)]
    for index in range(arguments.files):
        place = folder / f"{index // 1000:04d}" / f"{index:07d}.flac"
        place.parent.mkdir(exist_ok=True)
        if place.exists():
            continue
        if index < _DISTINCT:
            clip = clips[index]
            place.write_bytes(encode_flac(clip[len(clip) // 3 :][: round(0.6 * SAMPLING_RATE)]))
        else:
            os.link(folder / "0000" / f"{index % _DISTINCT:07d}.flac", place)
    output.unlink(missing_ok=True)
    results = {"killed": watch([folder, *arguments.options], output, arguments.stop_after_s)}
    print("killed", results["killed"], flush=True)
    results["resumed"] = watch([folder, "--resume", *arguments.options], output, arguments.limit_s)
    print("resumed", results["resumed"], flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("long", "many"))
    parser.add_argument("--audio", type=Path, required=True, help="folder of short clips of speech")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made; kept")
    parser.add_argument("--hours", type=float, nargs="+", default=[1.0, 10.0])
    parser.add_argument("--format", choices=("mp3", "flac"), default="mp3")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--stop-after-s", type=float, default=60.0, help="when the first run is killed")
    parser.add_argument("--limit-s", type=float, help="when the resumed run is killed; default: it may finish")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="further options of infer.py")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    results = long_recordings(arguments) if arguments.what == "long" else many_recordings(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
