"""Every shipped recipe trains: two steps on the embedded recordings, at reduced width."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT, save_tiny

from deepfake.training.recipe import read_recipe
from train_wav2vec2 import main

# Recipes with `stacked:` or `narrow:` take other steps: tests/test_stacked_run.py runs them; tests/test_demo.py runs
# demo.yaml.
RECIPES = [
    path
    for path in sorted((ROOT / "configs").glob("*.yaml"))
    if not re.search("^(stacked|narrow):", path.read_text(), re.MULTILINE) and path.stem != "demo"
]
WIDTH = {
    "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48, "classifier_proj_size": 8,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
# The published widths of these take long on a CPU.
NARROW = {
    "resnet18": {"widths": [8, 8, 16, 16]},
    "res2net50": {"widths": [16, 16, 16, 16], "depths": [1, 1, 1, 1]},
    "senet154": {"widths": [16, 16, 16, 16], "depths": [1, 1, 1, 1]},
    "cnn_a": {"widths": [8, 8, 8, 8]},
}
QUICK = (
    "--max_steps", "2", "--eval_strategy", "steps", "--eval_steps", "1", "--save_strategy", "steps",
    "--save_steps", "1", "--max_duration_s", "2.5",
    "--gradient_accumulation_steps", "1", "--per_device_train_batch_size", "4",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_trains(path: Path, few_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = read_recipe(path)
    start = values.get("model_name_or_path")
    spectrogram = values.get("architecture", {}).get("model_type") == "spectrogram"
    width = {} if start else NARROW.get(path.stem, {}) if spectrogram else WIDTH
    options = [f"--set=architecture.{key}={value}" for key, value in width.items()]
    if "search" in values:
        options += ["--set=search.epochs=2", "--set=search.warmup_epochs=1", "--set=search.hidden_sizes=[4, 8]"]
    if start and not (ROOT / start).exists():  # on the Hub: a checkpoint of its layout in its place
        layers = values["architecture"]["num_hidden_layers"]
        start = save_tiny(tmp_path / "start", num_hidden_layers=layers)
        options = ["--model_name_or_path", str(start)]
    output = tmp_path / "out"
    fixed = ["--config", str(path), "--dataset", str(few_clips), "--output_dir", str(output)]
    monkeypatch.setattr(sys, "argv", ["train_wav2vec2.py", *fixed, *options, *QUICK])
    assert main() == 0
    results = json.loads((output / "results.json").read_text())
    assert results["training"]["steps"] == 2
    assert (output / "README.md").exists()
    if "freeze" in values:
        assert 0 < results["model"]["trained_parameters"] < results["model"]["parameters"]
