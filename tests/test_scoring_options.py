"""The options of scoring exist once: on the command lines, in Python, and for a task on another machine."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from conftest import run

from deepfake.audio.decode import encode_flac
from deepfake.audio.files import find_audio_files
from deepfake.errors import UserError
from deepfake.scoring.arguments import parse_arguments
from deepfake.scoring.command import score_shard
from deepfake.scoring.options import OptionError, ScoringOptions
from deepfake.scoring.sharding import Shard, join, part_path
from infer import Detector

RATE = 16_000
# A value other than the default for every option that goes with the backends auto and torch.
OTHERS = {
    "model": "some/model", "device": "cuda:1", "threshold": 0.7, "fake_label": "spoof", "batch_size": 3,
    "operating_point": "eer", "precision": "bf16", "workers": 0, "layers": 4, "timeline_window_s": 1.5,
    "timeline_hop_s": 0.25, "channels": "each", "speech_detection": "off",
}  # fmt: skip


def test_every_option_is_on_the_command_line_with_its_default() -> None:
    assert parse_arguments(["a.wav"]).scoring == ScoringOptions()
    assert {*OTHERS, "backend"} == {one.name for one in fields(ScoringOptions)}
    words = [word for name, value in OTHERS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    asked = parse_arguments(["a.wav", *words]).scoring
    assert asked == ScoringOptions(**OTHERS)
    assert all(getattr(asked, name) != getattr(ScoringOptions(), name) for name in OTHERS)
    assert parse_arguments(["a.wav", "--model", "m", "--backend", "onnx"]).scoring == ScoringOptions(
        "m", backend="onnx"
    )


def test_every_option_says_what_it_is_for() -> None:
    assert all(len(one.metadata["help"].split()) > 3 for one in fields(ScoringOptions))


def test_a_parser_may_have_some_of_them(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    ScoringOptions.add_to(parser, "model", "batch_size", model={"required": True})
    read = ScoringOptions.read(parser.parse_args(["--model", "m", "--batch-size", "2"]), device="cpu")
    assert read == ScoringOptions("m", device="cpu", batch_size=2)
    with pytest.raises(SystemExit):
        parser.parse_args([])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"threshold": 7.0}, "threshold is 7.0; expected a probability from 0 to 1"),
        ({"threshold": float("nan")}, "threshold is nan; expected a probability from 0 to 1"),
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"workers": -1}, "workers is -1; expected 0 or more"),
        ({"precision": "fp8"}, "precision is fp8; expected one of fp32, int8, bf16, fp16"),
        ({"backend": "tflite"}, "backend is tflite; expected one of auto, torch, onnx, openvino"),
        ({"channels": "left"}, "channels is left; expected one of mix, each"),
        ({"speech_detection": "on"}, "speech_detection is on; expected one of auto, off"),
        ({"backend": "openvino"}, "backend openvino needs a model: give a folder written by --export"),
        ({"backend": "onnx", "model": "m", "layers": 2}, "choose precision and layers before exporting"),
        ({"timeline_window_s": 0.1}, "timeline_window_s is 0.1; expected at least 0.5 s, or 0"),
        ({"timeline_hop_s": 3.0}, "timeline_hop_s is 3; expected 0.02 s to the length of the short windows"),
    ],
)
def test_a_value_of_no_use_is_one_sentence_in_python_and_on_the_command_line(values: dict, sentence: str) -> None:
    with pytest.raises(OptionError) as raised:
        ScoringOptions(**values)
    assert sentence in str(raised.value)
    if {"precision", "channels", "speech_detection"} & set(values) or values.get("backend") == "tflite":
        return  # argparse knows the choices
    words = [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    with pytest.raises(UserError) as raised:
        parse_arguments(["a.wav", *words])
    assert str(raised.value).startswith("--")
    assert sentence.partition(" ")[2] in str(raised.value)


def test_a_misspelt_keyword_is_refused() -> None:
    with pytest.raises(TypeError, match="batchsize"):
        Detector.from_pretrained(batchsize=3)


def test_from_pretrained_and_from_options_are_one_detector(tiny_checkpoint: Path, speech: np.ndarray) -> None:
    options = ScoringOptions(str(tiny_checkpoint), threshold=0.9, batch_size=2, workers=0)
    one = Detector.from_options(pickle.loads(pickle.dumps(options)))
    other = Detector.from_pretrained(tiny_checkpoint, threshold=0.9, batch_size=2, workers=0)
    assert one.options == other.options
    assert one.plan == other.plan
    assert one.score(speech, RATE) == other.score(speech, RATE)


@pytest.mark.parametrize(
    "command",
    [
        ("infer.py", "x.wav", "--batch-size", "0"),
        ("-m", "evaluation", "report", "--model", "m", "--dataset", "d", "--output", "o", "--batch-size", "0"),
        ("-m", "evaluation", "stress", "--help"),
    ],
)
def test_mistakes_and_help_do_not_wait_for_pytorch(command: tuple[str, ...]) -> None:
    told = run(sys.executable, "-X", "importtime", *command, check=0 if "--help" in command else 2)
    imported = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines() if line.startswith("import time:")}
    assert "deepfake.scoring.options" in imported
    assert not imported & {"torch", "transformers", "datasets"}
    assert "--help" in command or "error: --batch-size is 0; expected at least 1" in told.stderr


@pytest.mark.slow
def test_a_share_of_the_files_is_a_task_that_needs_no_other(
    tiny_checkpoint: Path, speech: np.ndarray, tmp_path: Path
) -> None:
    """Sent to a fresh process with nothing but options, files and a path; the parts join to the rows of one process."""
    folder, output = tmp_path / "calls", tmp_path / "scores.csv"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.flac").write_bytes(encode_flac(speech[i * RATE : (2 * i + 2) * RATE]) if i else b"junk")
    options = ScoringOptions(str(tiny_checkpoint), batch_size=2, workers=1)
    files = list(find_audio_files([folder]))
    parts = {shard: part_path(output, shard) for shard in (Shard(0, 2), Shard(1, 2))}
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        tasks = [pool.submit(score_shard, options, list(shard.of(files)), part) for shard, part in parts.items()]
        summaries = [task.result() for task in tasks]
    assert [summary.files for summary in summaries] == [3, 2]
    assert [sum(summary.errors.values()) for summary in summaries] == [1, 0]
    again = score_shard(options, list(Shard(0, 2).of(files)), parts[Shard(0, 2)], resume=True)
    assert (again.kept, again.files, again.again) == (2, 1, 1)  # the junk is tried once more
    join(output, (str(file.path) for file in files))
    score_shard(options, files, tmp_path / "one.csv")
    both = [list(csv.DictReader(path.open(newline=""))) for path in (output, tmp_path / "one.csv")]
    for a, b in zip(*both, strict=True):
        assert (a["path"], a["prediction"], a["windows"], a["error"]) == tuple(
            b[name] for name in ("path", "prediction", "windows", "error")
        )
        if not a["error"]:
            assert float(a["fake_probability"]) == pytest.approx(float(b["fake_probability"]), abs=1e-6)
    left_out = score_shard(options, files, tmp_path / "some.csv", done={str(file.path) for file in files[1:]})
    assert (left_out.kept, left_out.files) == (4, 1)


def test_options_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ScoringOptions().batch_size = 3
