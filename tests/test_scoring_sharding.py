"""Two processes over one folder: the rows of one process, in its order, also after a kill."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import ROOT, run

from deepfake.audio.decode import encode_flac
from deepfake.scoring.arguments import parse_arguments
from deepfake.scoring.command import score, score_shard
from deepfake.scoring.listing import list_files
from deepfake.scoring.options import ScoringOptions
from deepfake.scoring.result import Score
from deepfake.scoring.sharding import Shard, join, part_path
from deepfake.scoring.writers import ScoreWriter

RATE = 16_000


def test_parts_of_any_number_of_processes_are_joined_in_order(tmp_path: Path) -> None:
    output, paths = tmp_path / "scores.csv", [f"{i}.wav" for i in range(9)]
    for shard in (Shard(0, 2), Shard(1, 2), Shard(0, 3)):
        with ScoreWriter(part_path(output, shard)) as writer:
            for path in list(shard.of(paths))[:3]:
                writer.write(Score(path, 0.5, "fake", 0.5, 1.0, 1, 0.5))
    join(output, paths)
    with output.open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [
            "0.wav",
            "1.wav",
            "2.wav",
            "3.wav",
            "4.wav",
            "5.wav",
            "6.wav",
        ]
    assert [p.name for p in tmp_path.iterdir()] == ["scores.csv"]


def test_of_a_file_tried_twice_the_row_with_a_score_is_joined(tmp_path: Path) -> None:
    output = tmp_path / "scores.csv"
    tries = {Shard(0, 2): (True, True), Shard(1, 2): (False, True), Shard(0, 3): (True, False)}
    for shard, failed in tries.items():
        with ScoreWriter(part_path(output, shard)) as writer:
            for path, error in zip("ab", failed, strict=True):
                error = "cannot be read" if error else None
                writer.write(Score(path, None if error else 0.5, None if error else "fake", 0.5, 1.0, 1, 0.5, error))
    join(output, "ab")
    with output.open(newline="") as file:
        assert [(row["path"], row["error"]) for row in csv.DictReader(file)] == [("a", ""), ("b", "")]


@pytest.mark.slow
def test_two_processes_one_killed_then_resumed(tiny_checkpoint: Path, speech: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    for index in range(160):
        (folder / f"{index:03d}.flac").write_bytes(encode_flac(speech[900 * index :][: RATE + 400 * index % 9000]))
    (folder / "999.wav").write_bytes(b"junk")
    output = tmp_path / "two.csv"
    options = ["infer.py", folder, "--model", tiny_checkpoint, "--batch-size", "2", "--workers", "1"]
    launch = [Path(sys.executable).with_name("accelerate"), "launch", "--num_processes", "2", "--cpu"]
    command = [str(word) for word in (*launch, *options, "--output", output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    second_part = part_path(output, Shard(1, 2))
    while not second_part.exists() or second_part.stat().st_size < 500:
        assert first.poll() is None
        time.sleep(0.005)
    children = psutil.Process(first.pid).children(recursive=True)
    victim = next(c for c in children if "infer.py" in " ".join(c.cmdline()) and c.environ().get("RANK") == "1")
    victim.send_signal(signal.SIGKILL)
    assert first.wait(timeout=120) != 0
    assert not output.exists()
    run(*command, "--resume", check=1)
    run(sys.executable, *options, "--output", tmp_path / "one.csv", check=1)
    rows = [list(csv.DictReader((tmp_path / name).open(newline=""))) for name in ("one.csv", "two.csv")]
    assert [r["path"] for r in rows[0]] == [r["path"] for r in rows[1]]
    for one, two in zip(*rows, strict=True):
        assert (one["error"], one["prediction"], one["windows"]) == (two["error"], two["prediction"], two["windows"])
        if not one["error"]:
            assert float(one["fake_probability"]) == pytest.approx(float(two["fake_probability"]), abs=1e-5)
    assert sorted(p.name for p in tmp_path.glob("two*")) == ["two.csv", "two.csv.meta.json"]


def test_one_process_goes_on_from_the_parts_of_several(
    tiny_checkpoint: Path, speech: np.ndarray, tmp_path: Path
) -> None:
    for index in range(3):
        (tmp_path / f"{index}.flac").write_bytes(encode_flac(speech[900 * index :][:RATE]))
    output = tmp_path / "scores.csv"
    words = [str(tmp_path), "--model", str(tiny_checkpoint), "--output", str(output)]
    score_shard(
        ScoringOptions(model=str(tiny_checkpoint)),
        list_files([str(tmp_path / "1.flac")]),
        part_path(output, Shard(0, 1)),
    )
    summary = score(parse_arguments([*words, "--resume"]))
    assert (summary.kept, summary.files) == (1, 2)
    rows = list(csv.DictReader(output.open(newline="")))
    assert sorted(Path(row["path"]).name for row in rows) == ["0.flac", "1.flac", "2.flac"]
    assert not list(tmp_path.glob("scores.csv.part*"))
