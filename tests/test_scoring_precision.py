"""Reduced precision: close to float32 or given up in one sentence, also where this torch or processor lacks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RECORDINGS
from torch import nn

from deepfake.audio.decode import load_audio
from deepfake.models import linear
from deepfake.models.checkpoint import default_model, load_checkpoint
from deepfake.models.linear import Int8Linear, OneDnnLinear, TokenQuantiser
from deepfake.models.precision import Gated, with_precision
from deepfake.models.windows import WindowScore
from deepfake.text import fake_probability
from infer import Detector

PATHS = [RECORDINGS / "real" / "vctk_p226.wav", RECORDINGS / "fake" / "kokoro_af_bella.flac"]
needs_int8 = pytest.mark.skipif(linear.why_not_int8() is not None, reason=str(linear.why_not_int8()))


@needs_int8
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_int8_layer_is_close_and_tokens_do_not_touch_each_other(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    exact, hidden = nn.Linear(96, 40), torch.randn(2, 5, 96)
    with torch.inference_mode():
        layer = Int8Linear(exact, TokenQuantiser(), dtype)
        answer, wanted = layer(hidden.to(dtype)), exact(hidden)
        assert answer.dtype == dtype
        assert float((answer.float() - wanted).norm() / wanted.norm()) < 0.02
        louder = hidden.clone()
        louder[0, 2] *= 1000
        others = torch.arange(10) != 2
        after = layer(louder.to(dtype)).flatten(0, 1)
        assert torch.equal(after[others], answer.flatten(0, 1)[others])
        assert float((after[2].float() - exact(louder)[0, 2]).norm() / exact(louder)[0, 2].norm()) < 0.02


def test_quantised_activations_are_shared_only_by_the_same_tensor() -> None:
    quantise, hidden = TokenQuantiser(), torch.randn(3, 8)
    steps, scale = quantise(hidden)
    assert quantise(hidden)[0] is steps
    assert quantise(2 * hidden)[0] is not steps
    assert torch.allclose((steps.float() - 128) * scale, hidden, atol=float(scale.max()) / 2 + 1e-6)


@needs_int8
@pytest.mark.parametrize("precision", ["int8", "bf16"])
def test_reduced_scores_are_near_those_of_float32(precision: str, tiny_checkpoint: Path) -> None:
    reduced = Detector.from_pretrained(tiny_checkpoint, precision=precision)
    exact = list(Detector.from_pretrained(tiny_checkpoint).score_files(PATHS))
    for one, two in zip(reduced.score_files(PATHS), exact, strict=True):
        assert one.fake_probability == pytest.approx(two.fake_probability, abs=0.02)
        assert one.windows == two.windows
        if reduced._forward.forward.running != "fp32":
            assert one.fake_probability != two.fake_probability


@needs_int8
def test_the_given_model_stays_as_it_is(tiny_checkpoint: Path) -> None:
    model = Detector.from_pretrained(tiny_checkpoint).checkpoint.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    reduced = with_precision(model, "int8")
    assert sum(isinstance(m, Int8Linear) for m in reduced.modules()) == 13  # 6 a layer, and the feature projection
    assert reduced.classifier.weight.dtype == torch.float32
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name])


@pytest.mark.skipif(linear.why_not_fp32() is not None, reason=str(linear.why_not_fp32()))
def test_float32_stays_exact_where_only_the_products_are_faster() -> None:
    given = load_checkpoint(default_model(), "cpu").model
    faster = with_precision(given, "fp32")
    assert not any(getattr(m, "always_float32", False) for n, m in faster.named_modules() if n != "head")
    assert sum(isinstance(m, OneDnnLinear) for m in faster.modules()) >= 6 * given.config.layers
    clip = torch.tensor(load_audio(PATHS[0])[:60_000])[None]
    with torch.inference_mode():
        assert torch.allclose(faster(clip).logits, given(clip).logits, atol=1e-5)


def shifted(by: float) -> Callable[[Sequence[np.ndarray]], list[WindowScore]]:
    return lambda waveforms: [WindowScore(float(w[0]) + by, None) for w in waveforms]


def test_the_gate_tries_the_next_precision_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    batch = [np.array([0.1]), np.array([-0.3])]
    gate = Gated([("int8", lambda: shifted(0.5)), ("bf16", lambda: shifted(0.01))], shifted(0.0))
    assert [s.logit for s in gate(batch)] == pytest.approx([0.11, -0.29])
    assert gate.running == "bf16"
    assert gate.largest_change == pytest.approx(fake_probability(0.11) - fake_probability(0.1))
    printed = capsys.readouterr().err
    assert "int8 changes fake_probability by 0.12" in printed
    assert "scoring goes on in bf16" in printed
    gate(batch)
    assert [s.logit for s in gate(batch)] == pytest.approx([0.11, -0.29])  # float32 no longer runs beside it
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("wrong", [1.0, float("nan")])
def test_the_gate_ends_in_float32(wrong: float, capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gated([("int8", lambda: shifted(wrong)), ("bf16", lambda: shifted(wrong))], shifted(0.0))
    for _ in range(4):
        assert [s.logit for s in gate([np.array([0.1])])] == [0.1]
    assert gate.running == "fp32"
    assert capsys.readouterr().err.count("warning") == 2


def test_without_the_operators_float32_runs_as_torch_does(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a version of torch that has renamed them."""
    wanted = [row.fake_probability for row in Detector.from_pretrained(tiny_checkpoint).score_files(PATHS)]

    def gone(*_: object) -> None:
        raise AttributeError("'_OpNamespace' object has no attribute")

    for function in (linear.why_not_fp32, linear.why_not_int8):
        function.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(OneDnnLinear, "forward", gone)
        patch.setattr(Int8Linear, "forward", gone)
        detector = Detector.from_pretrained(tiny_checkpoint, precision="int8")
        rows = list(detector.score_files(PATHS))
    for function in (linear.why_not_fp32, linear.why_not_int8):
        function.cache_clear()
    printed = capsys.readouterr().err
    assert "--precision int8 is not possible: " in printed
    assert "linear layers run in torch's own, often slower way: torch" in printed
    assert [row.fake_probability for row in rows] == pytest.approx(wanted, abs=1e-6)


def test_a_model_without_linear_layers_keeps_float32(capsys: pytest.CaptureFixture[str]) -> None:
    detector = Detector.from_pretrained(precision="int8")
    assert "no linear layers to quantise; fp32 is used" in capsys.readouterr().err
    exact = [row.fake_probability for row in Detector.from_pretrained(backend="torch").score_files(PATHS[1:])]
    assert [row.fake_probability for row in detector.score_files(PATHS[1:])] == exact
