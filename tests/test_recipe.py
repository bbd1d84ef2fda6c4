"""Recipes: every shipped YAML parses against the real script, the command line wins, nothing unknown passes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from deepfake.errors import UserError
from deepfake.training.arguments import parse_recipe, resolve_precision
from deepfake.training.recipe import plain, read_recipe, resolved_yaml

RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
SYSTEM_D = ("resnet18", "res2net50", "senet154", "gnn", "lstm", "darts_lstm")
NEEDED = ["--dataset", "D", "--output_dir", "O"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_is_accepted_whole(path: Path) -> None:
    recipe = parse_recipe(["--config", str(path), *NEEDED])
    best_by = {"cnn_a": "f1_fake", "cnn_b": "eer", "cnn_mfcc": "eer"}
    best_by |= dict.fromkeys(SYSTEM_D, "accuracy") | {"darts_lstm": "roc_auc"}
    assert recipe.training.metric_for_best_model == best_by.get(path.stem, "roc_auc")
    assert recipe.training.greater_is_better == (recipe.training.metric_for_best_model != "eer")


def test_what_a_recipe_extends_is_below_it_key_by_key(tmp_path: Path) -> None:
    """From the bottom: a recipe elsewhere, one beside it, the command line; each names what differs and no more."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/low.yaml").write_text("learning_rate: 1e-3\nseed: 1\narchitecture: {model_type: a, width: 4}\n")
    (tmp_path / "middle.yaml").write_text("extends: shared/low.yaml\nseed: 2\narchitecture: {width: 8}\n")
    (tmp_path / "top.yaml").write_text("extends: middle.yaml\nweight_decay: 0.5\n")
    recipe = parse_recipe(["--config", str(tmp_path / "top.yaml"), "--seed", "3", "--plan"])
    assert recipe.architecture == {"model_type": "a", "width": 8}
    assert (recipe.training.learning_rate, recipe.training.seed, recipe.training.weight_decay) == (1e-3, 3, 0.5)
    resolved = yaml.safe_load(resolved_yaml(recipe.values))
    assert "extends" not in resolved
    assert resolved["architecture"] == recipe.architecture
    (tmp_path / "whole.yaml").write_text(resolved_yaml(recipe.values))
    again = parse_recipe(["--config", str(tmp_path / "whole.yaml"), "--plan"])
    assert plain(again.values) == plain(recipe.values)


def test_a_recipe_that_extends_itself_or_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(UserError, match="extends itself: a.yaml extends b.yaml extends a.yaml"):
        read_recipe(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").unlink()
    with pytest.raises(UserError, match="cannot read the config .*b.yaml .*, which a.yaml extends"):
        read_recipe(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("extends: [b.yaml, c.yaml]\n")
    with pytest.raises(UserError, match="expected the name of one YAML file"):
        read_recipe(tmp_path / "a.yaml")


def test_other_systems_are_the_published_ones() -> None:
    """Learning rate, weight decay, clips a step, epochs, patience (0: never), seconds heard at once."""
    published = {
        "cnn_a": (3e-4, 0.01, 64, 40, 5, 2.0),
        "cnn_b": (1e-3, 1e-4, 32, 30, 5, 4.0),
        **dict.fromkeys(SYSTEM_D, (1e-3, 0.0, 32, 10, 0, 7.968)),
        **dict.fromkeys(("lstm", "darts_lstm"), (1e-3, 0.0, 32, 10, 0, 6.368)),
    }
    for name, expected in published.items():
        recipe = parse_recipe(["--config", str(ROOT / f"configs/{name}.yaml"), *NEEDED])
        training, own = recipe.training, recipe.arguments
        found = (training.learning_rate, training.weight_decay, training.per_device_train_batch_size)
        assert (*found, training.num_train_epochs, own.early_stopping_patience, own.window_s) == expected
        assert own.max_duration_s == own.window_s == 2 * own.hop_s
        searched = name == "darts_lstm"  # as published it learnt nothing: schedule kept, features and the rest are ours
        assert (own.precision, training.gradient_accumulation_steps) == ("fp32", 1)
        assert training.max_grad_norm == (1.0 if searched else 0.0)
        assert training.load_best_model_at_end
        assert own.augmentation == {"cnn_a": "system_a", "cnn_b": "none", "darts_lstm": "none"}.get(name, "system_d")
        assert own.class_weights == ("balanced" if searched or name == "cnn_b" else "none")
        plateau = {"mode": "max", "patience": 3, "factor": 0.5}
        assert training.lr_scheduler_type.value == ("reduce_lr_on_plateau" if name == "cnn_a" else "constant")
        assert training.lr_scheduler_kwargs == (plateau if name == "cnn_a" else None)


def test_a_plateau_is_looked_for_in_the_right_direction() -> None:
    base = ["--config", str(ROOT / "configs/cnn_b.yaml"), *NEEDED, "--lr_scheduler_type", "reduce_lr_on_plateau"]
    assert parse_recipe(base).training.lr_scheduler_kwargs == {"mode": "min"}  # of the EER
    told = parse_recipe([*base, "--metric_for_best_model", "roc_auc", "--lr_scheduler_kwargs", '{"patience": 2}'])
    assert told.training.lr_scheduler_kwargs == {"mode": "max", "patience": 2}
    for options, sentence in (
        (["--lr_scheduler_kwargs", '{"mode": "max"}'], "mode max, but a better eer is lower; set mode: min"),
        (["--lr_scheduler_kwargs", "patience=2"], "lr_scheduler_kwargs is patience=2; expected"),
        (["--eval_strategy", "no"], "follows evaluations, but eval_strategy is no"),
    ):
        with pytest.raises(UserError, match=sentence):
            parse_recipe([*base, *options])


def test_a_metric_that_is_not_measured_is_told_before_training() -> None:
    base = ["--config", str(ROOT / "configs/cnn_b.yaml"), *NEEDED]
    assert parse_recipe([*base, "--metric_for_best_model", "eval_loss"]).training.greater_is_better is False
    with pytest.raises(UserError, match="metric_for_best_model is f1; expected one of loss, roc_auc"):
        parse_recipe([*base, "--metric_for_best_model", "f1"])


def test_xlsr_recipe_is_the_published_one() -> None:
    recipe = parse_recipe(["--config", str(ROOT / "configs/wav2vec2_xlsr.yaml"), *NEEDED])
    training, own = recipe.training, recipe.arguments
    assert own.model_name_or_path == "Gustking/wav2vec2-large-xlsr-deepfake-audio-classification"
    assert (own.freeze_feature_encoder, own.freeze_encoder_layers, own.early_stopping_patience) == (True, 12, 3)
    assert (training.learning_rate, training.num_train_epochs, training.weight_decay) == (3e-5, 5, 0.01)
    assert (training.per_device_train_batch_size, training.gradient_accumulation_steps) == (4, 4)
    assert (training.eval_steps, training.save_steps, training.get_warmup_steps(1000)) == (30, 30, 100)
    assert training.optim.value == "adamw_torch"
    assert own.precision == "fp16"


def test_command_line_overrides_yaml_and_mappings(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("learning_rate: 3e-5\nfreeze:\n  encoder_layers: 12\narchitecture:\n  model_type: wav2vec2\n")
    arguments = ["--config", str(path), *NEEDED]
    assert parse_recipe(arguments).training.learning_rate == 3e-5  # a string in YAML 1.1
    assert parse_recipe(arguments).arguments.freeze_encoder_layers == 12
    changed = parse_recipe(
        [*arguments, "--learning_rate", "1e-3", "--freeze_encoder_layers", "2", "--set", "architecture.hidden_size=8"]
    )
    assert changed.training.learning_rate == 1e-3
    assert changed.arguments.freeze_encoder_layers == 2
    assert changed.architecture == {"model_type": "wav2vec2", "hidden_size": 8}
    assert changed.values["learning_rate"] == 1e-3


def test_a_wrong_value_is_told_without_the_list_of_all_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_recipe([*NEEDED, "--learning_rate", "fast"])
    told = capsys.readouterr().err.splitlines()
    assert "invalid float value: 'fast'" in told[-1]
    assert len(told) < 5


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("learning_rat: 1\n", "unknown key learning_rat .*did you mean learning_rate"),
        ("freeze:\n  layers: 3\n", "unknown key freeze.layers"),
        ("evaluation_strategy: steps\n", "unknown key evaluation_strategy"),
        ("- a\n", "holds no keys"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_wrong_yaml_fails_by_name(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=named):
        parse_recipe(["--config", str(path), *NEEDED])


@pytest.mark.parametrize(
    ("named", "sentence"),
    [("notebook", "expected none or some of .*tensorboard.*trackio"), ("clearml", "not installed; run: pip install")],
)
def test_a_reporter_that_cannot_work_is_told_at_once(named: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse_recipe(["--config", str(ROOT / "configs/tiny.yaml"), *NEEDED, "--report_to", named])


def test_unknown_option_and_missing_ones_fail_by_name() -> None:
    config = ["--config", str(ROOT / "configs/tiny.yaml")]
    with pytest.raises(UserError, match="unknown option --learnin_rate; did you mean learning_rate"):
        parse_recipe([*config, *NEEDED, "--learnin_rate", "1"])
    with pytest.raises(UserError, match="--dataset is missing"):
        parse_recipe([*config, "--output_dir", "O"])
    with pytest.raises(UserError, match="nothing to train"):
        parse_recipe(NEEDED)


@pytest.mark.parametrize(
    ("asked", "cuda", "launched", "used"),
    [
        ("fp16", True, "no", "fp16"),
        ("fp16", False, "no", "fp32"),
        ("fp16", False, "fp16", "fp32"),
        ("fp16", True, "bf16", "bf16"),
        ("bf16", False, "no", "bf16"),
        ("fp32", True, "no", "fp32"),
    ],
)
def test_precision_follows_the_device_without_editing(
    asked: str, cuda: bool, launched: str, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    precision, notice = resolve_precision(asked, cuda, os.environ)
    assert precision == used
    assert (notice is not None) == (used == "fp32" and asked == "fp16")


@pytest.mark.parametrize("path", sorted((ROOT / "configs/accelerate").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_launch_config_loads_with_the_installed_accelerate(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    expected = {"multi_gpu_ddp": "MULTI_GPU", "fsdp": "FSDP", "deepspeed_zero2": "DEEPSPEED"}.get(path.stem, "NO")
    assert load_config_from_file(str(path)).distributed_type.value == expected
