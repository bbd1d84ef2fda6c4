"""What a person is told of one recording: no bolder than it was measured, and readable on a terminal."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ENVIRONMENT, RECORDINGS, ROOT, run, save_tiny

from deepfake.audio.decode import encode_flac
from deepfake.metrics.decisions import Decisions
from deepfake.scoring.decision import decide_by
from deepfake.scoring.detector import Detector as ScoringDetector
from deepfake.scoring.rates import measured_rates
from deepfake.scoring.verdict import verdict
from deepfake.text import fake_probability
from infer import Detector

RATE = 16_000


def on_a_terminal(*command: object) -> tuple[int, list[str]]:
    """Exit status, and the lines that stay on the screen: a carriage return goes back to the start of a line."""
    ours, theirs = os.openpty()
    words = [str(word) for word in command]
    process = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    told = b""
    try:
        while block := os.read(ours, 1 << 16):
            told += block
    except OSError:  # the other side was closed
        pass
    os.close(ours)
    lines = []
    for line in told.decode().replace("\r\n", "\n").split("\n"):
        shown: list[str] = []
        for piece in line.split("\r"):
            shown[: len(piece)] = piece
        lines.append("".join(shown).rstrip())
    return process.wait(timeout=60), lines


def point(threshold: float, fpr: float, fnr: float, **more: object) -> dict:
    return {
        "name": "x", "threshold": threshold, "rule": "fpr", "fpr": fpr, "fnr": fnr, "fpr_upper": fpr + 0.02,
        "confidence": 0.95, "n_real": 100, "n_fake": 200, "n_real_groups": 100,
        "fake_probability": fake_probability(threshold),
    } | more  # fmt: skip


STORED = {
    "threshold": fake_probability(1.0),
    "operating_points": {"low": point(-1.0, 0.4, 0.1), "middle": point(1.0, 0.1, 0.3), "high": point(2.0, 0.01, 0.6)},
}


def test_rates_are_those_measured_there_or_lie_between_the_nearest() -> None:
    here = measured_rates(STORED, fake_probability(1.0))
    assert (here.fpr, here.fnr, here.fpr_upper, here.n_real, here.n_fake) == (
        (0.1, 0.1), (0.3, 0.3), pytest.approx(0.12), 100, 200,
    )  # fmt: skip
    between = measured_rates(STORED, fake_probability(1.5))
    assert (between.fpr, between.fnr, between.fpr_upper) == ((0.01, 0.1), (0.3, 0.6), None)
    band = measured_rates(STORED, fake_probability(2.0), fake_probability(0.0))
    assert (band.fpr, band.fnr) == ((0.01, 0.01), (0.1, 0.3))
    assert measured_rates(STORED, 0.9999) is None  # nothing was measured above it
    assert measured_rates({"threshold": 0.4}, 0.4) is None


def test_the_default_point_names_the_set_it_was_measured_on_and_may_leave_some_uncertain() -> None:
    default = point(1.5, 0.05, 0.2, rule="whatever", set="1,000 clips of unseen generators", real_below=-0.5)
    stored = STORED | {"operating_points": STORED["operating_points"] | {"default": default}, "threshold": None}
    for asked in (None, "default"):
        decision = decide_by(stored, operating_point=asked)
        assert decision.name == "default"
        assert (decision.threshold, decision.real_below) == (fake_probability(1.5), fake_probability(-0.5))
        assert [decision.prediction(fake_probability(x)) for x in (-1, 0, 2)] == ["real", "uncertain", "fake"]
        assert decision.rates.measured_on == "1,000 clips of unseen generators"
        assert (decision.rates.fpr, decision.rates.fnr) == ((0.05, 0.05), (0.2, 0.2))
    given = decide_by(stored, threshold=fake_probability(1.2))
    assert (given.name, given.rates.fpr) == ("given", (0.01, 0.1))  # of the validation clips, not of that set
    compact = json.loads((ROOT / "checkpoints/compact/config.json").read_text())["detector"]
    compact["operating_points"]["default"] = default
    point_kept = Decisions.from_config(compact).points["default"]
    assert (point_kept.measured_on, point_kept.real_below) == ("1,000 clips of unseen generators", -0.5)


@pytest.fixture(scope="module")
def tiny(tiny_checkpoint: Path) -> ScoringDetector:
    return Detector.from_pretrained(tiny_checkpoint)


def told(detector: ScoringDetector, samples: np.ndarray, stored: dict, **options: object) -> str:
    """The verdict on samples, on one line; decided by `stored`."""
    decision = decide_by(stored, **options)
    result = detector.analyse(encode_flac(samples), with_timeline=False)
    row = detector.row(result, "call.wav")
    row = replace(row, prediction=decision.prediction(row.fake_probability), threshold=decision.threshold)
    return " ".join(verdict(row, decision, result).split())


def test_no_answer_is_bolder_than_what_was_measured(tiny: ScoringDetector, speech: np.ndarray) -> None:
    long = speech[: 20 * RATE]
    real = told(tiny, long, STORED | {"threshold": 0.9999})
    assert "call.wav: no sign of synthesis was found" in real
    assert "nothing was measured at this threshold" in real
    assert "This does not show that a human spoke: how many fakes get the same answer was not measured" in real
    known = told(tiny, long, STORED, operating_point=None)
    assert "10.0 % of human recordings are called fake, at most 12.0 % of them all (95 % confidence)" in known
    assert "30.0 % of fakes are not found" in known
    assert "(100 human, 200 fake)" in known
    fake = told(tiny, long, STORED, threshold=fake_probability(-0.9) * 1e-9)
    assert "call.wav: signs of synthesis were found" in fake
    assert "This is a sign and no proof" in fake
    short = told(tiny, np.concatenate((speech[: round(1.3 * RATE)], np.zeros(RATE, np.float32))), STORED)
    assert "call.wav: cannot tell" in short
    assert "too little to say anything" in short
    assert "little speech: only" in short


def test_one_recording_on_a_terminal_is_a_verdict_and_several_are_rows(tmp_path: Path, speech: np.ndarray) -> None:
    recording = RECORDINGS / "fake" / "kokoro_am_michael.wav"
    status, lines = on_a_terminal(sys.executable, "infer.py", recording)
    assert status == 0
    assert lines[0].startswith(f"{recording}: ")
    text = "\n".join(lines)
    for name in ("fake_probability", "operating point", "false alarms", "misses", "measured on", "strength", "windows"):
        assert f"\n  {name} " in text
    assert "[00:" not in text  # of a bar
    for name in ("a.flac", "b.flac"):
        (tmp_path / name).write_bytes(encode_flac(speech[: 4 * RATE]))
    status, lines = on_a_terminal(sys.executable, "infer.py", tmp_path)
    rows = list(csv.DictReader(lines[:3]))
    assert [Path(row["path"]).name for row in rows] == ["a.flac", "b.flac"]
    assert "2 files: " in lines[3]
    assert "[00:" not in "\n".join(lines)
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    status, lines = on_a_terminal(sys.executable, "infer.py", tmp_path / "bad.wav")
    assert status == 1
    assert lines[0].endswith("bad.wav: could not be scored")


def test_rows_say_the_operating_point_and_the_warnings(tmp_path: Path, speech: np.ndarray) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    (folder / "clean.flac").write_bytes(encode_flac(speech[: 6 * RATE]))
    (folder / "loud.flac").write_bytes(encode_flac(np.clip(12 * speech[: 6 * RATE], -0.999, 0.999)))
    model = save_tiny(tmp_path / "m", detector={"threshold": 0.4})
    score = [sys.executable, "infer.py", folder, "--model", model]
    run(*score, "--output", tmp_path / "a.jsonl")
    run(*score, "--output", tmp_path / "a.csv", "--threshold", "0.3")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["operating_point"] for row in rows] == ["stored"] * 2
    assert rows[0]["warnings"] == []
    assert any(warning.startswith("clipped: ") for warning in rows[1]["warnings"])
    with (tmp_path / "a.csv").open(newline="") as file:
        from_csv = list(csv.DictReader(file))
    assert [row["operating_point"] for row in from_csv] == ["given"] * 2
    assert [row["warnings"] for row in from_csv] == ["; ".join(row["warnings"]) for row in rows]
    assert Detector.from_pretrained(model).score(folder / "loud.flac").warnings == tuple(rows[1]["warnings"])
