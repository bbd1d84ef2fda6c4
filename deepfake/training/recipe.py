"""The options of a training run that are ours, and the run as a whole."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from transformers import TrainingArguments

from deepfake.errors import UserError
from deepfake.models.freeze import FreezePlan
from deepfake.text import one_line


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
    prefix_dropout: bool = field(
        default=True,
        metadata={"help": "keep the checkpoint's dropout in frozen layers; false: none there"},
    )
    cache_prefix: bool = field(
        default=False,
        metadata={"help": "compute what lies below the trained layers once and keep it on disk; needs a prefix freeze"},
    )
    cache_max_gb: float = field(default=50.0, metadata={"help": "largest prefix cache allowed, in gigabytes"})
    cache_dir: str | None = field(
        default=None, metadata={"help": "where prefix caches are kept; default: prefix_cache in output_dir"}
    )
    pack_clips: bool = field(
        default=False,
        metadata={"help": "run the transformer layers on clips end to end: the result of a padded batch, less work"},
    )
    one_dnn: bool = field(
        default=False,
        metadata={"help": "on a CPU in fp32, linear layers through oneDNN: twice as fast on AMD; no effect on a GPU"},
    )
    layerwise_lr_decay: float = field(
        default=1.0,
        metadata={"help": "each transformer layer below the head learns at this share of the rate above; 1: all alike"},
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
    augmentation: str = field(
        default="none",
        metadata={"help": "none, system_a, system_d, channel (telephony and social media), or a YAML file of your own"},
    )
    class_weights: str = field(
        default="none",
        metadata={"help": "balanced: both classes weigh the same in the loss", "choices": ["none", "balanced"]},
    )
    focal_gamma: float = field(default=0.0, metadata={"help": "focal loss: weigh clips by (1 - p)^gamma; 0 is off"})
    balance: str = field(
        default="none",
        metadata={
            "help": "draw clips so that classes, or classes and the generators within fake, are equally frequent",
            "choices": ["none", "class", "generator"],
        },
    )
    early_stopping_patience: int = field(
        default=3,
        metadata={"help": "stop after this many evaluations without a better metric_for_best_model; 0: never"},
    )
    max_minutes: float | None = field(
        default=None,
        metadata={"help": "stop after the epoch in which this much time has gone by, for comparisons under a budget"},
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
    ood_dataset: list[str] | None = field(
        default=None,
        metadata={
            "help": "datasets from elsewhere, judged before and after training: their test split, or all of them"
        },
    )
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
    lora: dict[str, Any]  # not empty: deepfake.training.lora.LoraOptions
    stacked: dict[str, Any]  # not empty: deepfake.training.stacked fits several models at once
    narrow: dict[str, Any]  # not empty: a detector that was so fitted is made narrower
    search: dict[str, Any]  # not empty: deepfake.training.search.run first searches what is trained
    values: dict[str, Any]
    precision: str
    push_to_hub: bool


def read_recipe(path: str | Path, _above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """What a YAML file holds, on top of the one that its `extends:` names; mappings are joined key by key.

    Args:
        path: the file. What it extends is named as seen from its folder.

    Raises:
        UserError: a file that cannot be read or is not a mapping, or a file that extends itself through others.
    """
    place = Path(path).resolve()
    if place in _above:
        raise UserError(f"{path} extends itself: {' extends '.join(p.name for p in (*_above, place))}")
    try:
        content = yaml.safe_load(place.read_text(encoding="utf-8"))
    except OSError as error:
        asked = f", which {_above[-1].name} extends" if _above else "; shipped ones are in configs/"
        raise UserError(f"cannot read the config {path} ({error.strerror}){asked}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {one_line(error, 400)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no keys; expected a mapping such as `learning_rate: 3e-5`")
    base = content.pop("extends", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise UserError(f"{path} extends {base}; expected the name of one YAML file")
    below = read_recipe(place.parent / base, (*_above, place))
    joined = {k: below[k] | v for k, v in content.items() if isinstance(v, dict) and isinstance(below.get(k), dict)}
    return below | content | joined


def resolved_yaml(values: Mapping[str, Any]) -> str:
    """A resolved recipe as the one YAML file that has it all."""
    return yaml.safe_dump(plain(values), sort_keys=True)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as YAML and JSON keep them, so that what was written can be compared with what is asked for."""
    return json.loads(json.dumps(values, default=str))


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: "; did you mean learning_rate?", or nothing where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def public_values(values: dict[str, Any]) -> dict[str, Any]:
    """The resolved recipe without this machine's paths: folders are reduced to their own names."""
    kept = {name: value for name, value in values.items() if name != "cache_dir"}
    for name in ("dataset", "model_name_or_path"):
        if kept.get(name) and os.path.exists(kept[name]):
            kept[name] = os.path.basename(os.path.abspath(kept[name]))
    for mapping, name in (("stacked", "encoder"), ("narrow", "teacher")):
        source = kept.get(mapping, {}).get(name)
        if source and os.path.exists(source):
            kept[mapping] = kept[mapping] | {name: os.path.basename(os.path.abspath(source))}
    return kept
