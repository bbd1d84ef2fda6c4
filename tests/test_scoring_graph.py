"""The graph beside the weights of the detector in the box: the same scores as PyTorch gives, without waiting for it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RECORDINGS, ROOT, run
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2FeatureExtractor, set_seed

from deepfake.architectures.compact import CompactConfig, CompactForAudioClassification
from deepfake.audio.decode import load_audio
from deepfake.models import graph
from infer import Detector, main

FOLDER = ROOT / "checkpoints" / "compact"
LENGTHS_S = (0.5, 0.7, 2.5, 5.0, 7.77, 13.0)


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    speech = load_audio(RECORDINGS / "real/vctk_p226.wav")
    return [speech[500 * i :][: round(s * 16_000)] for i, s in enumerate(LENGTHS_S)]


def test_it_is_small_and_holds_no_weights() -> None:
    assert (FOLDER / "model.onnx").stat().st_size < 1.5e6
    assert graph.parameters_in(FOLDER) > 10e6


def test_its_scores_are_those_of_pytorch(clips: list[np.ndarray]) -> None:
    quick, exact = Detector.from_pretrained(), Detector.from_pretrained(backend="torch")
    assert (quick.backend, exact.backend) == ("onnx", "torch")
    assert quick.fake_logits(clips) == pytest.approx(exact.fake_logits(clips), abs=1e-4)
    for one in ("fp16", "bf16"):
        assert Detector.from_pretrained(precision=one).backend == "torch"


def test_clips_of_any_length_and_order_share_a_batch(clips: list[np.ndarray]) -> None:
    detector = Detector.from_pretrained()
    assert detector.plan.fixed_length
    alone = [float(detector.fake_logits([clip])[0]) for clip in clips]
    assert list(detector.fake_logits(clips)) == alone
    assert list(detector.fake_logits(clips[::-1])) == alone[::-1]


def test_a_verdict_waits_neither_for_pytorch_nor_for_transformers() -> None:
    program = (
        "import sys; sys.argv = ['infer.py', sys.argv[1]]; import infer; status = infer.main(); "
        "late = {'torch', 'transformers', 'scipy', 'sklearn', 'matplotlib', 'datasets'} & set(sys.modules); "
        "sys.exit(status or ', '.join(sorted(late)) or 0)"
    )
    run(sys.executable, "-c", program, RECORDINGS / "real/vctk_p226.wav")


def test_weights_of_another_layout_are_run_by_pytorch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that a training wrote to again: its graph names places where other numbers are by now."""
    folder = shutil.copytree(FOLDER, tmp_path / "model")
    weights = {name: value.float() for name, value in load_file(folder / graph.WEIGHTS).items()}
    save_file(weights, folder / graph.WEIGHTS, metadata={"format": "pt"})
    assert Detector.from_pretrained(folder).backend == "torch"
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1
    assert "PyTorch is used" in warning


@pytest.mark.slow
def test_made_for_a_folder_it_reads_the_weights_there(
    tmp_path: Path, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else in the folder changes; other numbers in the same places give the scores that PyTorch gives then."""
    pytest.importorskip("onnxscript")
    folder = tmp_path / "model"
    set_seed(0)
    model = CompactForAudioClassification(
        CompactConfig(channels=16, layers=2, attention_heads=2, inner_width=32, pooled_width=8, block_frames=100)
    )
    model.config.detector = {"window_s": 13.0, "hop_s": 13.0, "threshold": 0.5}
    model.half().save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(sys, "argv", ["infer.py", "--model", str(folder), "--export", "onnx", str(folder)])
    assert main() == 0
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after.pop("model.onnx").find(b"model.safetensors") > 0
    assert after == before
    first = Detector.from_pretrained(folder)
    assert first.backend == "onnx"
    assert first.fake_logits(clips) == pytest.approx(
        Detector.from_pretrained(folder, backend="torch").fake_logits(clips), abs=1e-4
    )
    with torch.no_grad():
        model.head.weight.mul_(2.0)
    model.save_pretrained(folder)
    second = Detector.from_pretrained(folder)
    assert second.backend == "onnx"
    assert second.fake_logits(clips) == pytest.approx(2 * first.fake_logits(clips), abs=1e-3)
