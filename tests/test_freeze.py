"""What trains is what the recipe says, to the parameter."""

from __future__ import annotations

import sys

import pytest
from conftest import ROOT, run, tiny_config
from transformers import AutoConfig, AutoModelForAudioClassification

from deepfake.architectures.compact import CompactConfig
from deepfake.errors import UserError
from deepfake.models.freeze import FreezePlan, count_parameters, freeze, on_meta, transformer_layers
from deepfake.training.arguments import parse_recipe
from deepfake.training.model import build_model, planned_config
from deepfake.training.plan import dummy_input, module_rows, step_cost
from deepfake.training.recipe import freeze_plan


def planned(recipe_file: str) -> object:
    recipe = parse_recipe(["--config", str(ROOT / "configs" / recipe_file), "--plan"])
    model = on_meta(AutoModelForAudioClassification.from_config, planned_config(recipe))
    freeze(model, freeze_plan(recipe.arguments))
    return model


@pytest.mark.parametrize(
    ("recipe_file", "trained", "backward_tflop"),
    [("wav2vec2_xlsr.yaml", 160_336_770, 1.563), ("wav2vec2_xlsr_prefix.yaml", 151_419_650, 0.994)],
)
def test_recipes_train_exactly_the_stated_numbers(recipe_file: str, trained: int, backward_tflop: float) -> None:
    model = planned(recipe_file)
    assert count_parameters(model) == (trained, 315_701_634)
    cost = step_cost(model, dummy_input(model.config, 8, 4.0))
    assert cost.backward / 1e12 == pytest.approx(backward_tflop, abs=1e-3)
    # The published recipe trains two modules below the frozen layers, so backward must pass all of them.
    through_the_bottom = "wav2vec2.encoder.layers.0" in cost.on_path
    assert through_the_bottom == (recipe_file == "wav2vec2_xlsr.yaml")
    assert "wav2vec2.encoder.layers.12" in cost.on_path
    assert "wav2vec2.feature_extractor.conv_layers.6" not in cost.on_path


def test_operations_of_the_compact_detector_are_counted_up_to_its_frozen_encoder() -> None:
    config = CompactConfig(channels=32, layers=2, attention_heads=2, inner_width=64)
    model = on_meta(build_model, config)
    freeze(model, FreezePlan(feature_encoder=True))
    cost = step_cost(model, dummy_input(config, 2, 3.0))
    assert 0 < cost.backward < cost.forward
    assert "pooling.attention_in" in cost.on_path
    assert not any(name.startswith(("layers", "conv")) for name in cost.on_path)


def test_plan_prints_and_exits_without_data_weights_or_network() -> None:
    done = run(sys.executable, "train_wav2vec2.py", "--config", "configs/wav2vec2_xlsr.yaml", "--plan")
    assert "160,336,770  of 315,701,634" in done.stdout
    assert "encoder.layers.0-11" in done.stdout


def test_rows_add_up_and_tell_frozen_from_trained() -> None:
    model = on_meta(AutoModelForAudioClassification.from_config, tiny_config(num_hidden_layers=4))
    freeze(model, FreezePlan(feature_encoder=True, encoder_layers=3))
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
    freeze(model, FreezePlan(encoder_layers=2))
    layers = transformer_layers(model)
    assert len(layers) == 3
    frozen = sum(p.numel() for layer in layers[:2] for p in layer.parameters())
    assert before - count_parameters(model)[0] == frozen > 0


def test_more_layers_than_there_are_is_told() -> None:
    model = on_meta(AutoModelForAudioClassification.from_config, tiny_config())
    with pytest.raises(UserError, match="is 12, but .* has 2 layers"):
        freeze(model, FreezePlan(encoder_layers=12))


@pytest.mark.parametrize(
    ("train_layers", "trained"), [("top", [2, 3]), ("bottom", [0, 1]), ("1-2", [1, 2]), ("3-3", [3])]
)
def test_the_trained_layers_are_those_named(train_layers: str, trained: list[int]) -> None:
    model = on_meta(AutoModelForAudioClassification.from_config, tiny_config(num_hidden_layers=4))
    freeze(model, FreezePlan(encoder_layers=2, train_layers=train_layers))
    layers = transformer_layers(model)
    assert [i for i, layer in enumerate(layers) if all(p.requires_grad for p in layer.parameters())] == trained


@pytest.mark.parametrize(
    ("kind", "plan", "sentence"),
    [
        ("wav2vec2", FreezePlan(encoder_layers=1, train_layers="middle"), "expected top, bottom or a range"),
        ("wav2vec2", FreezePlan(train_layers="3-9"), "range within 0-1"),
        ("audio-spectrogram-transformer", FreezePlan(feature_encoder=True), "no convolutional feature encoder"),
    ],
)
def test_what_cannot_be_frozen_is_told(kind: str, plan: FreezePlan, sentence: str) -> None:
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 2}
    config = tiny_config() if kind == "wav2vec2" else AutoConfig.for_model(kind, **small)
    with pytest.raises(UserError, match=sentence):
        freeze(on_meta(AutoModelForAudioClassification.from_config, config), plan)


@pytest.mark.parametrize("kind", ["hubert", "wavlm", "data2vec-audio", "whisper", "audio-spectrogram-transformer"])
def test_a_prefix_freeze_keeps_backward_out_of_the_prefix(kind: str) -> None:
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 3}
    if kind == "whisper":
        small = {"d_model": 16, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
    if kind in ("hubert", "wavlm"):
        small |= {"num_conv_pos_embedding_groups": 4, "do_stable_layer_norm": True}
    if kind == "data2vec-audio":
        small |= {"num_conv_pos_embedding_groups": 4}
    model = on_meta(AutoModelForAudioClassification.from_config, AutoConfig.for_model(kind, **small))
    freeze(
        model, FreezePlan(feature_encoder=kind != "audio-spectrogram-transformer", encoder_layers=2, input_stack=True)
    )
    names = {id(m): n for n, m in model.named_modules()}
    layers = [names[id(layer)] for layer in transformer_layers(model)]
    on_path = step_cost(model, dummy_input(model.config, 2, 1.0)).on_path
    assert [name in on_path for name in layers] == [False, False, True]
