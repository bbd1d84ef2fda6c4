"""What trains is what the recipe says, to the parameter."""

from __future__ import annotations

import sys

import pytest
from conftest import ROOT, run, tiny_config
from transformers import AutoConfig, AutoModelForAudioClassification

from data_prep.errors import UserError
from training.arguments import parse_recipe
from training.freeze import count_parameters, freeze, module_rows, on_meta, transformer_layers
from training.model import planned_model


def test_published_recipe_trains_exactly_the_published_number() -> None:
    model = planned_model(parse_recipe(["--config", str(ROOT / "configs/wav2vec2_xlsr.yaml"), "--plan"]))
    assert count_parameters(model) == (160_336_770, 315_701_634)


def test_plan_prints_and_exits_without_data_weights_or_network() -> None:
    done = run(sys.executable, "train_wav2vec2.py", "--config", "configs/wav2vec2_xlsr.yaml", "--plan")
    assert "160,336,770  of 315,701,634" in done.stdout
    assert "encoder.layers.0-11" in done.stdout


def test_rows_add_up_and_tell_frozen_from_trained() -> None:
    model = on_meta(AutoModelForAudioClassification.from_config, tiny_config(num_hidden_layers=4))
    freeze(model, feature_encoder=True, encoder_layers=3)
    rows = module_rows(model)
    assert (sum(r.parameters for r in rows if r.trained), sum(r.parameters for r in rows)) == count_parameters(model)
    states = {r.module: r.trained for r in rows}
    assert states["wav2vec2.encoder.layers.0-2"] is False
    assert states["wav2vec2.encoder.layers.3"] is True
    assert all(trained for name, trained in states.items() if name.startswith(("projector", "classifier")))


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm", "whisper", "audio-spectrogram-transformer"])
def test_layers_are_found_by_structure(kind: str) -> None:
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 3}
    if kind == "whisper":
        small = {"d_model": 16, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
    model = on_meta(AutoModelForAudioClassification.from_config, AutoConfig.for_model(kind, **small))
    before = count_parameters(model)[0]
    freeze(model, feature_encoder=False, encoder_layers=2)
    layers = transformer_layers(model)
    assert len(layers) == 3
    frozen = sum(p.numel() for layer in layers[:2] for p in layer.parameters())
    assert before - count_parameters(model)[0] == frozen > 0


def test_more_layers_than_there_are_is_told() -> None:
    model = on_meta(AutoModelForAudioClassification.from_config, tiny_config())
    with pytest.raises(UserError, match="is 12, but .* has 2 layers"):
        freeze(model, feature_encoder=True, encoder_layers=12)
