"""Training from cached activations is the same training."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from conftest import run, save_tiny
from datasets import load_from_disk
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

from deepfake.audio.decode import load_audio
from deepfake.errors import UserError
from deepfake.models.freeze import freeze
from deepfake.models.inputs import featurise
from deepfake.training.arguments import parse_recipe
from deepfake.training.data import load_splits
from deepfake.training.model import load_feature_extractor, load_model
from deepfake.training.packing import pack_clips
from deepfake.training.prefix import build_cache, require_cacheable, starting_from_cache
from deepfake.training.recipe import freeze_plan

OPTIONS = (
    "--freeze_feature_encoder", "true", "--freeze_encoder_layers", "1", "--freeze_input_stack", "true",
    "--prefix_dropout", "false", "--set", "model_overrides.apply_spec_augment=false",
    "--set", "model_overrides.layerdrop=0.0",
)  # fmt: skip


def command(start: Path, dataset: Path, output: Path, *more: str) -> list[object]:
    return [
        sys.executable, "train_wav2vec2.py", "--model_name_or_path", start, "--dataset", dataset,
        "--output_dir", output, *OPTIONS, "--precision", "fp32", "--num_train_epochs", "2",
        "--per_device_train_batch_size", "8", "--learning_rate", "1e-2",
        "--logging_steps", "1", "--eval_strategy", "epoch", "--save_strategy", "epoch",
        "--metric_for_best_model", "roc_auc", "--load_best_model_at_end", "true", *more,
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("packed", ["false", "true"])
def test_cached_and_uncached_runs_have_the_same_loss_curve(packed: str, dataset_dir: Path, tmp_path: Path) -> None:
    """Dropout stays on in the trained layers: both runs draw the same random numbers there."""
    start = save_tiny(tmp_path / "start", layerdrop=0.0)
    more = ("--pack_clips", packed, "--one_dnn", packed)
    run(*command(start, dataset_dir, tmp_path / "plain", *more))
    run(*command(start, dataset_dir, tmp_path / "cached", *more, "--cache_prefix", "true"))
    plain, cached = (json.loads((tmp_path / n / "results.json").read_text()) for n in ("plain", "cached"))
    for key in ("loss", "eval_loss"):
        curves = [[e[key] for e in r["training"]["history"] if key in e] for r in (plain, cached)]
        assert len(curves[0]) >= 2
        assert curves[0] == pytest.approx(curves[1], abs=1e-5)
        assert len(set(curves[0])) > 1
    weights = [load_file(tmp_path / n / "model.safetensors") for n in ("plain", "cached")]
    assert weights[0].keys() == weights[1].keys()
    # A twentieth of one step of Adam, which makes whole steps of gradients that are nothing but rounding.
    assert max(float((weights[0][k] - weights[1][k]).abs().max()) for k in weights[0]) < 5e-4
    aucs = [r["sets"]["test"]["metrics"]["roc_auc"]["value"] for r in (plain, cached)]
    assert aucs[0] == pytest.approx(aucs[1], abs=0.02)


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "data2vec-audio"])
def test_the_model_above_the_cache_gives_the_whole_models_logits(kind: str, dataset_dir: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    if kind == "wav2vec2":
        save_tiny(start)
    else:
        small = {
            "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48,
            "conv_dim": [16] * 7, "num_conv_pos_embeddings": 9, "num_conv_pos_embedding_groups": 4,
        }  # fmt: skip
        if kind == "hubert":
            small |= {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
        AutoModelForAudioClassification.from_config(AutoConfig.for_model(kind, **small)).save_pretrained(start)
        Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(start)
    recipe = parse_recipe(["--model_name_or_path", str(start), *OPTIONS, "--dataset", "D", "--output_dir", "O"])
    dataset = load_splits(str(dataset_dir))
    for split in dataset:
        dataset[split] = dataset[split].select(range(4))
    model = load_model(recipe).eval()
    extractor = load_feature_extractor(recipe, model.config)
    cache = build_cache(tmp_path / "cache", model, extractor, dataset, recipe)
    batch = cache.collate([cache.datasets["train"][i] for i in range(4)])
    waveforms = [load_audio(row["audio"]["bytes"]) for row in dataset["train"]]
    with torch.no_grad():
        expected = model(**featurise(extractor, waveforms)).logits
        above = {name: batch[name] for name in ("input_values", "attention_mask")}
        with starting_from_cache(model, cache.depth):
            found = model(**above).logits
        again = model(**featurise(extractor, waveforms)).logits
        pack_clips(model)
        with starting_from_cache(model, cache.depth):
            packed = model(**above).logits
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(packed, expected, atol=1e-5)
    assert torch.equal(again, expected)


def test_a_second_run_takes_what_is_there_and_other_weights_do_not(dataset_dir: Path, tmp_path: Path) -> None:
    dataset = load_splits(str(dataset_dir))
    for split in dataset:
        dataset[split] = dataset[split].select(range(2))
    places = []
    for seed in (0, 0, 1):
        start = save_tiny(tmp_path / f"start{len(places)}", seed=seed)
        recipe = parse_recipe(["--model_name_or_path", str(start), *OPTIONS, "--dataset", "D", "--output_dir", "O"])
        model = load_model(recipe)
        cache = build_cache(tmp_path / "cache", model, load_feature_extractor(recipe, model.config), dataset, recipe)
        places.append((cache.folder, (cache.folder / "train.npy").stat().st_mtime_ns))
    assert places[0] == places[1]
    assert places[2][0] != places[0][0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--augmentation", "channel"], "augmentation channel"),
        (["--prefix_dropout", "true"], "dropout in frozen layers"),
        (["--freeze_input_stack", "false"], "not frozen whole"),
        (["--set", "model_overrides.apply_spec_augment=true"], "SpecAugment"),
        (["--set", "model_overrides.layerdrop=0.1"], "layerdrop"),
        (["--max_duration_s", "2.6"], "random crops"),
        (["--cache_max_gb", "0.0001"], "more than cache_max_gb"),
    ],
)
def test_what_would_change_the_prefix_is_refused(
    options: list[str], sentence: str, dataset_dir: Path, tmp_path: Path
) -> None:
    start = save_tiny(tmp_path / "start")
    arguments = ["--model_name_or_path", str(start), *OPTIONS, "--dataset", "D", "--output_dir", "O", *options]
    recipe = parse_recipe(arguments)
    model = load_model(recipe)
    extractor, dataset = load_feature_extractor(recipe, model.config), load_splits(str(dataset_dir))
    with pytest.raises(UserError, match=sentence):
        build_cache(tmp_path / "c", model, extractor, dataset, recipe)


def test_models_it_does_not_hold_for_are_refused(dataset_dir: Path) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = AutoConfig.for_model("wavlm", **small, num_conv_pos_embedding_groups=4)
    model = AutoModelForAudioClassification.from_config(config)
    recipe = parse_recipe(["--model_name_or_path", "a/b", *OPTIONS, "--dataset", "D", "--output_dir", "O"])
    freeze(model, freeze_plan(recipe.arguments))
    with pytest.raises(UserError, match="model_type wavlm"):
        require_cacheable(model, recipe, load_from_disk(str(dataset_dir)))
