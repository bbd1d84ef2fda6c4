"""An exported detector gives the scores of PyTorch, without PyTorch running the model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RECORDINGS
from test_scoring_timeline import model_of
from transformers import FeatureExtractionMixin, PreTrainedModel, Wav2Vec2FeatureExtractor, set_seed

from deepfake.architectures.baselines import (
    SpectrogramConfig,
    SpectrogramFeatureExtractor,
    SpectrogramForAudioClassification,
)
from deepfake.architectures.compact import CompactConfig, CompactForAudioClassification
from deepfake.errors import UserError
from deepfake.models.checkpoint import load_checkpoint
from deepfake.models.exporting import _exported, _quiet_torch, _to_openvino, export
from deepfake.scoring.arguments import parse_arguments
from infer import Detector, main


def small_cnn() -> tuple[PreTrainedModel, FeatureExtractionMixin]:
    set_seed(0)
    model = SpectrogramForAudioClassification(SpectrogramConfig(widths=[4, 8, 8]))
    with torch.no_grad():
        model.classifier.weight.mul_(30.0)
    return model.eval(), SpectrogramFeatureExtractor()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "backend"),
    [("wav2vec2", "onnx"), ("whisper", "onnx"), ("ast", "onnx"), ("cnn_b", "onnx"), ("wav2vec2", "openvino")],
)
def test_exported_scores_equal_pytorch(
    kind: str, backend: str, tiny_checkpoint: Path, tmp_path: Path, speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("openvino" if backend == "openvino" else "onnx")
    source = tiny_checkpoint
    if kind != "wav2vec2":
        source = tmp_path / "source"
        model, extractor = small_cnn() if kind == "cnn_b" else model_of(kind)
        window_s = 4.0 if kind == "cnn_b" else 10.0
        model.config.detector = {"window_s": window_s, "hop_s": window_s / 2, "threshold": 0.3}
        model.save_pretrained(source)
        extractor.save_pretrained(source)
    folder = tmp_path / "exported"
    monkeypatch.setattr(sys, "argv", ["infer.py", "--model", str(source), "--export", backend, str(folder)])
    assert main() == 0
    assert json.loads((folder / "contract.json").read_text())["passed"] is True
    exported, original = Detector.from_pretrained(folder, backend=backend), Detector.from_pretrained(source)
    for module in original.checkpoint.model.modules():  # nothing of PyTorch may run behind the other's back
        assert module is not exported.checkpoint.model
    assert exported.threshold == original.threshold
    paths = [RECORDINGS / "real" / "vctk_p226.wav", RECORDINGS / "fake" / "kokoro_af_bella.flac"]
    for one, two in zip(exported.score_files(paths), original.score_files(paths), strict=True):
        assert one.fake_probability == pytest.approx(two.fake_probability, abs=1e-4)
        assert (one.windows, one.prediction) == (two.windows, two.prediction)
    if kind not in ("ast", "cnn_b"):
        result = exported.analyse(speech, 16_000)
        whole = result.timeline.contributions.sum() + result.timeline.padding
        assert whole == pytest.approx(result.logit, abs=1e-6)


def test_an_exported_compact_detector_takes_clips_of_any_length(tmp_path: Path, speech: np.ndarray) -> None:
    for package in ("onnx", "onnxscript", "openvino"):
        pytest.importorskip(package)
    set_seed(0)
    model = CompactForAudioClassification(
        CompactConfig(channels=16, layers=2, attention_heads=2, inner_width=32, pooled_width=8, block_frames=100)
    )
    torch.nn.init.normal_(model.head.weight, std=0.5)
    source, folder = tmp_path / "source", tmp_path / "exported"
    model.save_pretrained(source)
    Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(source)
    original = Detector.from_pretrained(source)
    # Two of one length, one of exactly two blocks, and one longer than any window.
    clips = [speech[:8000], speech[500:40_621], speech[:64_000], 0.1 * speech[:8000], speech[:250_000]]
    expected = original.fake_logits(clips)
    assert np.ptp(expected) > 0.05
    export(original.checkpoint, "onnx", folder)
    assert json.loads((folder / "contract.json").read_text())["input"]["batching"] == "one clip at a time"
    assert Detector.from_pretrained(folder, backend="onnx").fake_logits(clips) == pytest.approx(expected, abs=4e-3)
    _to_openvino(folder)
    assert Detector.from_pretrained(folder, backend="openvino").fake_logits(clips) == pytest.approx(expected, abs=4e-3)


def test_without_a_model_the_one_in_the_box_is_exported() -> None:
    request = parse_arguments(["--export", "onnx", "folder"])
    assert (request.scoring.model, request.export) == (None, ("onnx", Path("folder")))
    with pytest.raises(UserError, match=r"--export is tflite folder; expected --export onnx\|openvino DIR"):
        parse_arguments(["--export", "tflite", "folder"])


def test_windows_longer_than_the_exported_one_are_told(tmp_path: Path) -> None:
    model, extractor = small_cnn()
    model.config.detector = {"window_s": 10.0, "hop_s": 5.0}
    model.save_pretrained(tmp_path / "source")
    extractor.save_pretrained(tmp_path / "source")
    with pytest.raises(UserError, match=r"one window of 4 s at a time, but window_s in .* is 10"):
        export(load_checkpoint(str(tmp_path / "source"), "cpu"), "onnx", tmp_path / "exported")


class Fickle(torch.nn.Module):
    """Chooses its operations by what it hears, which no exported file can."""

    model = torch.nn.Identity()

    def forward(self, values: torch.Tensor) -> tuple[torch.Tensor]:
        return (values.mean(1) if values.sum() > 0 else values.amax(1),)


def test_a_model_that_cannot_be_exported_is_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript")
    with (
        _quiet_torch(),
        pytest.raises(UserError, match=r"an? Identity cannot be exported \(.*data-dependent.*\); score with"),
    ):
        _exported(Fickle().eval(), torch.zeros(2, 9000), {0: torch.export.Dim("batch", min=1, max=8)})
    assert capfd.readouterr() == ("", "")


def test_an_exported_folder_names_the_backend_it_is_for(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((tiny_checkpoint / "config.json").read_text())
    (tmp_path / "model.xml").touch()
    with pytest.raises(UserError, match=r"exported as model\.xml, .* --backend openvino"):
        Detector.from_pretrained(tmp_path)


def test_a_folder_without_the_exported_file_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(UserError, match=r"has no model\.onnx"):
        Detector.from_pretrained(tiny_checkpoint, backend="onnx")
    with pytest.raises(UserError, match="before exporting"):
        Detector.from_pretrained(tiny_checkpoint, backend="onnx", precision="int8")
