"""Layer-wise learning-rate decay: every trained parameter once, at the rate of its depth."""

from __future__ import annotations

import math

import pytest
from conftest import ROOT, tiny_config
from transformers import AutoConfig, AutoModelForAudioClassification, Trainer

from deepfake.models.freeze import FreezePlan, freeze, on_meta, transformer_layers
from deepfake.training.arguments import parse_recipe
from deepfake.training.layer_rates import decayed_groups, layer_depths
from deepfake.training.model import load_feature_extractor, load_model
from deepfake.training.trainer import DetectorTrainer, build_trainer

KINDS = ["wav2vec2", "hubert", "wavlm", "data2vec-audio", "whisper", "audio-spectrogram-transformer"]


def model_of(kind: str) -> object:
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 3}
    if kind == "whisper":
        small = {"d_model": 16, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
    elif kind != "audio-spectrogram-transformer":
        small |= {"num_conv_pos_embedding_groups": 4}
    config = tiny_config(num_hidden_layers=3) if kind == "wav2vec2" else AutoConfig.for_model(kind, **small)
    return on_meta(AutoModelForAudioClassification.from_config, config)


@pytest.mark.parametrize("kind", KINDS)
def test_depth_counts_from_the_head_down_to_the_input(kind: str) -> None:
    model = model_of(kind)
    depths = layer_depths(model)
    by_parameter = {id(p): depths[n] for n, p in model.named_parameters()}
    for index, layer in enumerate(transformer_layers(model)):
        assert {by_parameter[id(p)] for p in layer.parameters()} == {3 - index}
    assert {d for n, d in depths.items() if n.startswith(("projector", "classifier"))} == {0}
    assert {d for n, d in depths.items() if "conv" in n or "patch" in n} == {4}
    assert set(depths.values()) == {0, 1, 2, 3, 4}


def test_the_norm_that_closes_the_encoder_learns_like_the_head() -> None:
    closing = "wav2vec2.encoder.layer_norm.weight"
    assert layer_depths(model_of("wav2vec2"))[closing] == 0
    post_norm = tiny_config(num_hidden_layers=3, do_stable_layer_norm=False)
    assert layer_depths(on_meta(AutoModelForAudioClassification.from_config, post_norm))[closing] == 4


@pytest.mark.parametrize("kind", KINDS)
def test_groups_hold_every_trained_parameter_once_at_its_rate(kind: str) -> None:
    model = model_of(kind)
    freeze(model, FreezePlan(encoder_layers=1))
    decayed = set(Trainer.get_decay_parameter_names(None, model))
    groups = decayed_groups(model, 1e-3, 0.8, 0.01, decayed)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    names, depths = {id(p): n for n, p in model.named_parameters()}, layer_depths(model)
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert math.isclose(group["lr"], 1e-3 * 0.8 ** depths[name])
            assert group["weight_decay"] == (0.01 if name in decayed else 0.0)
    assert groups[0]["lr"] == 1e-3  # Trainer logs the first group's


def test_the_recipe_key_reaches_the_optimizer(dataset_dir, tmp_path) -> None:
    from deepfake.training.data import load_splits

    def trainer(*options: str) -> DetectorTrainer:
        config = str(ROOT / "configs/tiny.yaml")
        recipe = parse_recipe(["--config", config, "--dataset", "D", "--output_dir", str(tmp_path), *options])
        model = load_model(recipe)
        extractor = load_feature_extractor(recipe, model.config)
        return build_trainer(recipe, model, extractor, load_splits(str(dataset_dir)))

    rates = {group["lr"] for group in trainer("--layerwise_lr_decay", "0.5").create_optimizer().param_groups}
    assert rates == {1e-3, 5e-4, 2.5e-4, 1.25e-4}
    assert {group["lr"] for group in trainer().create_optimizer().param_groups} == {1e-3}
