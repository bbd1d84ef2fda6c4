"""A sound checkpoint passes every check; each of the seeded faults is caught by the check meant for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run, save_tiny
from test_scoring_timeline import model_of

from deepfake.audio.decode import AudioReader, load_audio
from deepfake.errors import UserError
from deepfake.models.checkpoint import Checkpoint, load_checkpoint
from deepfake.models.contract import Probe, check_contract, probe_speech


def checkpoint(folder: Path, **changes: object) -> Checkpoint:
    return load_checkpoint(str(save_tiny(folder / "model", **changes)), "cpu")


def failures(probe: Probe) -> set[str]:
    return {check.name for check in check_contract(probe) if not check.passed}


@pytest.mark.parametrize("kind", ["wav2vec2", "group norm", "hubert", "wavlm", "whisper", "ast"])
def test_sound_checkpoints_pass(kind: str, tmp_path: Path) -> None:
    if kind == "wav2vec2":
        sound = checkpoint(tmp_path)
    elif kind == "group norm":
        sound = checkpoint(tmp_path, feat_extract_norm="group", do_stable_layer_norm=False)
    else:
        model, extractor = model_of(kind)
        sound = Checkpoint(model, extractor, 1, 0.5, 10.0, 5.0)
    assert failures(Probe(sound, probe_speech())) == set()


def inverted(c: Checkpoint) -> Checkpoint:
    c.model.config.label2id = {"fake": 0, "real": 1}
    return c


def no_mask(c: Checkpoint) -> Checkpoint:
    c.extractor.return_attention_mask = False
    return c


def not_normalised(c: Checkpoint) -> Checkpoint:
    c.extractor.do_normalize = False
    return c


def other_rate(c: Checkpoint) -> Checkpoint:
    c.extractor.sampling_rate = 8000
    return c


def training_mode(c: Checkpoint) -> Checkpoint:
    c.model.train()
    return c


def not_a_number(c: Checkpoint) -> Checkpoint:
    with torch.no_grad():
        c.model.wav2vec2.encoder.layers[1].attention.k_proj.weight[0, 0] = float("nan")
    return c


def deaf(c: Checkpoint) -> Checkpoint:
    with torch.no_grad():
        c.model.classifier.weight.zero_()
    return c


def too_large_for_half(c: Checkpoint) -> Checkpoint:
    with torch.no_grad():
        c.model.classifier.weight.mul_(1e6)
    return c


FAULTS: dict[str, tuple[Callable[[Checkpoint], Checkpoint], str]] = {
    "inverted labels": (inverted, "label polarity"),
    "missing mask": (no_mask, "padding mask"),
    "wrong normalisation": (not_normalised, "normalisation"),
    "feature extractor of another rate": (other_rate, "sampling rate"),
    "dropout left on": (training_mode, "repeatable"),
    "weights that are not numbers": (not_a_number, "listens"),
    "a head that hears nothing": (deaf, "listens"),
    "weights beyond half precision": (too_large_for_half, "precision parity"),
    "hop longer than the window": (lambda c: replace(c, hop_s=20.0), "stored settings"),
    "a threshold that is a logit": (lambda c: replace(c, threshold=2.7), "stored settings"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_checkpoint_are_caught(fault: str, tmp_path: Path) -> None:
    spoil, check = FAULTS[fault]
    spoilt = spoil(checkpoint(tmp_path, hidden_dropout=0.3))
    assert check in failures(Probe(spoilt, probe_speech()))


def test_a_mask_for_a_model_without_one_is_caught(tmp_path: Path) -> None:
    spoilt = checkpoint(tmp_path, feat_extract_norm="group", do_stable_layer_norm=False)
    spoilt.extractor.return_attention_mask = True
    assert "padding mask" in failures(Probe(spoilt, probe_speech()))


def test_a_window_longer_than_the_model_hears_is_caught() -> None:
    model, extractor = model_of("whisper")  # hears 15 s
    assert "stored settings" in failures(Probe(Checkpoint(model, extractor, 1, 0.5, 30.0, 15.0), probe_speech()))


def rate_ignored(data: bytes) -> np.ndarray:
    with AudioReader(data) as reader:
        rate = reader.info.sampling_rate
    return load_audio(data, rate)


def first_channel(data: bytes) -> np.ndarray:
    import io

    import soundfile

    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return samples[:, 0] if rate == 16_000 else load_audio(data)


@pytest.mark.parametrize(("load", "check"), [(rate_ignored, "sampling rate"), (first_channel, "mono")])
def test_faults_of_loading_are_caught(load: Callable[[bytes], np.ndarray], check: str, tmp_path: Path) -> None:
    assert failures(Probe(checkpoint(tmp_path), probe_speech(), load)) == {check}


def test_faults_that_stop_the_loading(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a detector has two"):
        checkpoint(tmp_path, id2label={0: "real", 1: "fake", 2: "noise"}, label2id={})


def test_command_prints_and_writes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = run(sys.executable, "infer.py", "--check", tiny_checkpoint, "--output", tmp_path / "contract.json")
    written = json.loads((tmp_path / "contract.json").read_text())
    assert written["passed"] is True
    assert written["input"]["sampling_rate"] == 16_000
    assert written["output"]["fake_index"] == 1
    assert all(check["name"] in done.stdout for check in written["checks"])
    (tmp_path / "bad").mkdir()
    for file in tiny_checkpoint.iterdir():
        (tmp_path / "bad" / file.name).write_bytes(file.read_bytes())
    settings = json.loads((tmp_path / "bad" / "preprocessor_config.json").read_text())
    (tmp_path / "bad" / "preprocessor_config.json").write_text(json.dumps(settings | {"return_attention_mask": False}))
    run(sys.executable, "infer.py", "--check", tmp_path / "bad", check=1)
    assert json.loads((tmp_path / "bad" / "contract.json").read_text())["passed"] is False
