"""Narrowing: what is redundant goes without a trace, the fit comes nearer, and goes on after a kill as if none was."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from test_stacked import small_model

from deepfake.architectures.compact import CompactConfig, CompactForAudioClassification
from deepfake.audio.decode import encode_flac
from deepfake.errors import UserError
from deepfake.training.stacked.audio import ClipAudio
from deepfake.training.stacked.narrow import Matching, NarrowOptions, narrow

CPU = torch.device("cpu")
EDGE = 1600


@pytest.fixture(scope="module")
def audio(speech: np.ndarray) -> ClipAudio:
    clips = [speech[16_000 * i : 16_000 * i + 12_000 + 3000 * i] for i in range(1, 7)]
    rows = [{"bytes": encode_flac(clip, 16_000), "path": None} for clip in clips]
    return ClipAudio(Dataset.from_dict({"audio": rows}), CPU)


def wide(**changes: object) -> CompactForAudioClassification:
    return small_model(edge=EDGE, **changes)


def untrained(width: int | list[int]) -> CompactForAudioClassification:
    return CompactForAudioClassification(CompactConfig(**{**wide().config.to_dict(), "inner_width": width})).eval()


def odds(model: CompactForAudioClassification, speech: np.ndarray) -> float:
    with torch.no_grad():
        logits = model(torch.from_numpy(speech[None, 20_000:60_000])).logits[0]
    return float(logits[1] - logits[0])


def some_frames(count: int = 4) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    return [torch.randn(3, 40, 32, generator=rng) for _ in range(count)]


def options(tmp_path: Path, **changes: object) -> NarrowOptions:
    values = {"teacher": str(tmp_path), "steps": 25, "batch_size": 3, "crop_s": 1.0, "rate": 1e-2}
    return NarrowOptions.of(values | changes)


def matching(audio: ClipAudio, folder: Path, **changes: object) -> Matching:
    return Matching(wide(), untrained([8, 16]), audio, options(folder, **changes), 5, CPU, folder)


def test_as_wide_as_the_teacher_is_the_teacher(speech: np.ndarray) -> None:
    teacher, model = wide(), untrained(48)
    narrow(teacher, model, some_frames())
    assert odds(model, speech) == pytest.approx(odds(teacher, speech), abs=1e-4)


def test_units_that_say_what_others_say_go_without_a_trace(speech: np.ndarray) -> None:
    teacher = wide()
    with torch.no_grad():
        for layer in teacher.layers:  # the upper half of the units repeats the lower one
            layer.fc1.weight[24:], layer.fc1.bias[24:] = layer.fc1.weight[:24], layer.fc1.bias[:24]
    model = untrained(24)
    narrow(teacher, model, some_frames())
    assert odds(model, speech) == pytest.approx(odds(teacher, speech), abs=1e-3)
    fewer = untrained(4)
    narrow(teacher, fewer, some_frames())
    assert abs(odds(fewer, speech) - odds(teacher, speech)) > 1e-3


def test_each_layer_may_have_a_width_of_its_own(tmp_path: Path) -> None:
    model = untrained([8, 16])
    assert [layer.fc1.out_features for layer in model.layers] == [8, 16]
    model.save_pretrained(tmp_path)
    again = CompactForAudioClassification.from_pretrained(tmp_path)
    assert [layer.fc1.out_features for layer in again.layers] == [8, 16]
    with pytest.raises(ValueError, match="3 entries for 2 layers"):
        untrained([8, 16, 16])


def test_the_fit_comes_nearer_and_leaves_the_convolutions(audio: ClipAudio, tmp_path: Path) -> None:
    fit = matching(audio, tmp_path)
    convolution = fit.model.conv1.weight.clone()
    found = fit.run()
    assert found.after.frames < 0.9 * found.before.frames
    assert torch.equal(fit.model.conv1.weight, convolution)
    assert [entry["step"] for entry in found.history] == [20, 25]


def test_a_killed_fit_ends_as_one_that_was_not(
    audio: ClipAudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    whole = matching(audio, tmp_path / "a")
    whole.run()
    first = matching(audio, tmp_path / "b")
    advance = first._advance

    def until_the_ninth() -> torch.Tensor:
        if first.step == 9:
            raise KeyboardInterrupt
        return advance()

    monkeypatch.setattr(first, "_advance", until_the_ninth)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = matching(audio, tmp_path / "b")
    second.run()
    for own, other in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(own, other)
    (tmp_path / "b" / "stacked_state.pt").write_bytes(b"cut off")
    with pytest.raises(UserError, match="cannot go on from"):
        matching(audio, tmp_path / "b").run()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "narrow.teacher is missing"),
        ({"teacher": "a", "stepz": 3}, "unknown key narrow.stepz; did you mean steps"),
        ({"teacher": "a", "steps": "many"}, "narrow.steps is 'many'; expected int"),
        ({"teacher": "a", "rate": 0}, "narrow.rate is 0; expected more than 0"),
    ],
)
def test_options_that_cannot_be_meant(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        NarrowOptions.of(given)


def test_what_does_not_fit_is_refused(audio: ClipAudio, tmp_path: Path) -> None:
    asked = options(tmp_path)
    with pytest.raises(UserError, match="architecture.channels is 16 and the teacher's is 32"):
        Matching(wide(), copy.deepcopy(small_model(edge=EDGE, channels=16)), audio, asked, 5, CPU, tmp_path)
    with pytest.raises(UserError, match="64 hidden units cannot be made of one with 48"):
        Matching(wide(), untrained(64), audio, asked, 5, CPU, tmp_path)
    with pytest.raises(UserError, match="with its silence a block holds 4.8 s"):
        Matching(wide(), untrained(8), audio, options(tmp_path, crop_s=5.0), 5, CPU, tmp_path)
