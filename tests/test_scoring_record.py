"""A file of scores knows what made it, and is neither written over nor mixed by accident."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import run, save_tiny

from deepfake.audio.decode import encode_flac
from deepfake.errors import UserError
from deepfake.scoring.options import ScoringOptions
from deepfake.scoring.outputs import record_path
from deepfake.scoring.record import Record, weights_sha256
from deepfake.scoring.result import Score
from deepfake.scoring.writers import ScoreWriter
from infer import Detector, main

RATE = 16_000
# Options that leave every score and decision as they are, to rounding; and those whose meaning the record resolves.
WITHOUT_EFFECT = {"device", "batch_size", "workers", "timeline_window_s", "timeline_hop_s"}
RESOLVED = {"model": "model_sha256", "threshold": "threshold", "fake_label": "fake_class"}


@pytest.fixture
def calls(tmp_path: Path, speech: np.ndarray) -> Path:
    folder = tmp_path / "calls"
    folder.mkdir()
    for i in range(2):
        (folder / f"{i}.flac").write_bytes(encode_flac(speech[i * RATE : (2 * i + 3) * RATE]))
    (folder / "later.wav").write_bytes(b"junk")
    return folder


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["path"] for row in rows}) == len(rows)
    return {Path(row["path"]).name: row for row in rows}


def infer(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["infer.py", *map(str, words)])
    return main()


def test_every_option_that_decides_is_in_the_record() -> None:
    recorded = {field.name for field in fields(Record)}
    for option in fields(ScoringOptions):
        assert RESOLVED.get(option.name, option.name) in recorded or option.name in WITHOUT_EFFECT, option.name


def test_each_difference_is_refused_by_its_name(tmp_path: Path) -> None:
    rows = tmp_path / "scores.csv"
    made = Record("1.0", "here", "ab" * 32, "fake", 13.0, 6.5, 0.4, 0.4, None, "fp32", None, "torch", "mix", "auto")
    made.write(rows)
    assert Record.read(rows) == made
    made.require_same(rows)
    replace(made, model="elsewhere").require_same(rows)  # the same weights
    others = {
        "version": "1.1", "model_sha256": "cd" * 32, "fake_class": "spoof", "window_s": 4.5, "hop_s": 2.5,
        "threshold": 0.5, "real_below": 0.1, "operating_point": "eer", "precision": "int8", "layers": 3,
        "backend": "onnx", "channels": "each", "speech_detection": "off",
    }  # fmt: skip
    assert set(others) == {field.name for field in fields(Record)} - {"model"}
    for name, value in others.items():
        with pytest.raises(UserError, match="--resume cannot go on from") as refused:
            replace(made, **{name: value}).require_same(rows)
        told = str(value)[:8] if name == "model_sha256" else str(value)
        assert f"now {'here (sha256 ' if name == 'model_sha256' else ''}{told}" in str(refused.value)


def test_the_digest_is_that_of_the_weights_alone(tmp_path: Path, tiny_checkpoint: Path) -> None:
    published = hashlib.sha256((tiny_checkpoint / "model.safetensors").read_bytes()).hexdigest()
    assert weights_sha256(str(tiny_checkpoint)) == published
    shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    assert weights_sha256(str(tmp_path / "copy")) == published
    assert weights_sha256(str(save_tiny(tmp_path / "other", seed=3))) != published
    assert weights_sha256("org/name", "abc") != weights_sha256("org/name", "abd")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_are_only_added_to_what_the_same_detector_made(kind: str, tmp_path: Path, tiny_checkpoint: Path) -> None:
    path = tmp_path / f"scores.{kind}"
    made, other = (Record.of(Detector.from_pretrained(tiny_checkpoint, threshold=t)) for t in (0.4, 0.6))
    with ScoreWriter(path, record=made) as writer:
        writer.write(Score("a.wav", 0.5, "fake", 0.4, 1.0, 1, 0.5))
    with ScoreWriter(path, resume=True, record=made) as writer:
        assert writer.done == {"a.wav"}
    content = path.read_bytes()
    with pytest.raises(UserError, match=r"threshold 0.4, now 0.6\)"):
        ScoreWriter(path, resume=True, record=other)
    assert path.read_bytes() == content
    record_path(path).unlink()
    with pytest.raises(UserError, match=rf"scores.{kind}.meta.json, which says what made scores.{kind}, is missing"):
        ScoreWriter(path, resume=True, record=made)
    assert path.read_bytes() == content
    assert not record_path(path).exists()
    with ScoreWriter(path, record=other):
        pass
    assert Record.read(path) == other


def test_going_on_with_another_model_or_decision_is_refused_and_failures_are_tried_again(
    calls: Path, tiny_checkpoint: Path, tmp_path: Path, speech: np.ndarray,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    output = tmp_path / "out" / "scores.csv"
    command = (calls, "--model", tiny_checkpoint, "--output", output)
    assert infer(monkeypatch, *command) == 1
    first = rows_of(output)
    assert first["later.wav"]["error"]
    made = json.loads(record_path(output).read_text())
    assert (made["model"], made["threshold"], made["rows_of"]) == (str(tiny_checkpoint), 0.4, "scores.csv")
    capsys.readouterr()
    other = save_tiny(tmp_path / "other", seed=5, detector={"threshold": 0.4})
    for words, difference in (
        (("--model", other), rf"model {tiny_checkpoint} \(sha256 \w+\), now {other} \(sha256 \w+\)"),
        (("--threshold", "0.7"), "threshold 0.4, now 0.7"),
        (("--precision", "bf16"), "precision fp32, now bf16"),
    ):
        before = output.read_bytes()
        assert infer(monkeypatch, *command, *words, "--resume") == 2
        (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert re.search(difference, error), error
        assert output.read_bytes() == before
    assert infer(monkeypatch, *command, "--resume") == 1  # it fails once more, and that is said
    assert "1 could not be scored" in (said := capsys.readouterr().err)
    assert "2 rows of the earlier run were kept" in said
    assert "1 of these files could not be scored by the earlier run and were tried again" in said
    (calls / "later.wav").write_bytes(encode_flac(speech[: 4 * RATE]))
    assert infer(monkeypatch, *command, "--resume") == 0
    second = rows_of(output)
    assert not second["later.wav"]["error"]
    assert {name: second[name] for name in ("0.flac", "1.flac")} == {n: first[n] for n in ("0.flac", "1.flac")}


def test_an_output_is_not_written_over_without_being_told(calls: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    score = [sys.executable, "infer.py", calls / "0.flac", "--model", tiny_checkpoint, "--output"]
    for name in ("scores.csv", "scores.parquet"):
        command = [*score, tmp_path / name]
        run(*command)
        before = (tmp_path / name).read_bytes()
        refused = run(*command, check=2)
        assert f"{name} exists already; give --resume to go on from it, --overwrite to replace it" in refused.stderr
        assert (tmp_path / name).read_bytes() == before
        run(*command, "--threshold", "0.9", "--overwrite")
        assert (tmp_path / name).read_bytes() != before
    (tmp_path / "empty.csv").touch()
    run(*score, tmp_path / "empty.csv")  # holds nothing that could be lost
    left = tmp_path / "killed.csv.part-00001-of-00002.jsonl"
    left.write_text("{}\n")
    assert f"{left} exists already" in run(*score, tmp_path / "killed.csv", check=2).stderr
    assert "give one of the two" in run(*command, "--resume", "--overwrite", check=2).stderr
