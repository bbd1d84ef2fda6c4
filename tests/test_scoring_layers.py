"""Shortened detectors: the same as a model that never had the upper layers, and an ordinary checkpoint once saved."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run
from test_scoring_timeline import model_of
from transformers import AutoModelForAudioClassification

from deepfake.architectures.baselines import SpectrogramConfig, SpectrogramForAudioClassification
from deepfake.errors import UserError
from deepfake.models.layers import keep_layers
from infer import Detector


def test_the_shortened_model_reads_its_last_layer(tiny_checkpoint: Path, speech: np.ndarray) -> None:
    clip = speech[: 3 * 16_000]
    detector = Detector.from_pretrained(tiny_checkpoint, layers=1)
    whole = AutoModelForAudioClassification.from_pretrained(tiny_checkpoint).eval()
    features = detector.checkpoint.extractor([clip], sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        hidden = whole.wav2vec2(features["input_values"], output_hidden_states=True).hidden_states[1]
        pooled = whole.projector(whole.wav2vec2.encoder.layer_norm(hidden)).mean(dim=1)
        logits = whole.classifier(pooled)[0]
    assert detector.fake_logits([clip])[0] == pytest.approx(float(logits[1] - logits[0]), abs=1e-4)
    assert detector.fake_logits([clip])[0] != pytest.approx(
        Detector.from_pretrained(tiny_checkpoint).fake_logits([clip])[0]
    )


def test_saved_it_is_an_ordinary_checkpoint(tiny_checkpoint: Path, speech: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "short"
    run(sys.executable, "infer.py", "--model", tiny_checkpoint, "--layers", "1", "--save", folder)
    saved = Detector.from_pretrained(folder)
    assert saved.checkpoint.model.config.num_hidden_layers == 1
    assert saved.threshold == 0.4
    clip = speech[: 3 * 16_000]
    assert saved.score(clip, 16_000) == Detector.from_pretrained(tiny_checkpoint, layers=1).score(clip, 16_000)


@pytest.mark.parametrize("kind", ["whisper", "wavlm", "hubert"])
def test_other_encoders(kind: str, speech: np.ndarray) -> None:
    model, extractor = model_of(kind)
    keep_layers(model, 1)
    assert model.config.num_hidden_layers == 1
    features = extractor([speech[:48_000]], sampling_rate=16_000, return_tensors="pt")
    assert torch.isfinite(model(**features).logits).all()


def test_impossible_numbers_are_refused(tiny_checkpoint: Path) -> None:
    for layers in (0, 3):
        with pytest.raises(UserError, match="has 2 layers"):
            Detector.from_pretrained(tiny_checkpoint, layers=layers)
    with pytest.raises(UserError, match="--layers cannot shorten a SpectrogramForAudioClassification"):
        keep_layers(SpectrogramForAudioClassification(SpectrogramConfig(widths=[4, 8, 8])), 1)
