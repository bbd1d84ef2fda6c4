"""The options of a training run that are ours, and the run as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from training.freeze import FreezePlan


@dataclass
class RecipeArguments:
    """Options of ours, beside those of `transformers.TrainingArguments`."""

    dataset: str | None = field(
        default=None, metadata={"help": "folder written by `python -m data_prep build`, or a Hub dataset id"}
    )
    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "checkpoint to start from (folder or Hub id); none: `architecture`, from scratch"},
    )
    freeze_feature_encoder: bool = field(default=False, metadata={"help": "freeze the convolutional feature encoder"})
    freeze_encoder_layers: int = field(
        default=0, metadata={"help": "freeze this many transformer layers, from the bottom"}
    )
    freeze_input_stack: bool = field(
        default=False, metadata={"help": "freeze what lies between feature encoder and layers as well"}
    )
    freeze_train_layers: str = field(
        default="top", metadata={"help": "layers left to train: top, bottom, or a range such as 4-9"}
    )
    precision: str = field(
        default="fp16",
        metadata={
            "help": "fp16, bf16 or fp32; fp16 is for CUDA, a CPU trains in fp32 instead",
            "choices": ["fp16", "bf16", "fp32"],
        },
    )
    max_duration_s: float = field(
        default=13.0,
        metadata={"help": "in seconds; longer training clips are cropped at a random place, evaluation never crops"},
    )
    early_stopping_patience: int = field(
        default=3,
        metadata={"help": "stop after this many evaluations without a better metric_for_best_model; 0: never"},
    )
    threshold_rule: str = field(
        default="balanced_accuracy",
        metadata={
            "help": "how the decision threshold is chosen on validation",
            "choices": ["balanced_accuracy", "eer"],
        },
    )
    window_s: float = field(
        default=13.0, metadata={"help": "stored for scoring: window length on longer recordings, in seconds"}
    )
    hop_s: float = field(default=6.5, metadata={"help": "stored for scoring: distance between windows, in seconds"})
    card_notes: str | None = field(
        default=None, metadata={"help": "Markdown file put into the model card: licences of the data, known weaknesses"}
    )
    license: str = field(default="apache-2.0", metadata={"help": "licence identifier written into the model card"})
    plan: bool = field(default=False, metadata={"help": "print what would be trained and frozen, and exit"})
    overwrite: bool = field(default=False, metadata={"help": "discard what an earlier run left in output_dir"})


def freeze_plan(arguments: RecipeArguments) -> FreezePlan:
    """The `freeze:` mapping of the recipe."""
    return FreezePlan(
        feature_encoder=arguments.freeze_feature_encoder,
        encoder_layers=arguments.freeze_encoder_layers,
        input_stack=arguments.freeze_input_stack,
        train_layers=arguments.freeze_train_layers,
    )


@dataclass(frozen=True)
class Recipe:
    """Everything a run was asked to do. `values` is the resolved YAML, as written to OUT/recipe.yaml."""

    arguments: RecipeArguments
    training: TrainingArguments
    architecture: dict[str, Any]
    model_overrides: dict[str, Any]
    feature_extractor: dict[str, Any]
    convex: dict[str, Any]  # not empty: heads are fitted as training.convex_run does, without gradient steps
    values: dict[str, Any]
    precision: str
    push_to_hub: bool
