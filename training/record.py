"""Facts of a run, as they go into results.json and from there, and nowhere else, into the model card."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, Trainer

from data_prep.errors import UserError
from training.data import shared_sources
from training.freeze import count_parameters
from training.padding import describe_padding
from training.plan import module_rows
from training.recipe import Recipe, public_values

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "av", "soxr")


def describe_run(
    recipe: Recipe, model: PreTrainedModel, dataset: DatasetDict, trainer: Trainer | None = None
) -> dict[str, Any]:
    """Recipe, model, data, surroundings and, of a gradient training, its history."""
    base = recipe.arguments.model_name_or_path
    trained, total = count_parameters(model)
    return {
        "hub_model_id": recipe.training.hub_model_id,
        "license": recipe.arguments.license,
        "card_notes": _notes(recipe.arguments.card_notes),
        "max_duration_s": recipe.arguments.max_duration_s,
        "recipe": public_values(recipe.values),
        "model": {
            # A folder of this machine means nothing to a reader of the card; a Hub id does.
            "base_model": None if base is None or os.path.exists(base) else base,
            "from_scratch": base is None,
            "class": type(model).__name__,
            "model_type": model.config.model_type,
            "parameters": total,
            "trained_parameters": trained,
            "modules": [asdict(row) for row in module_rows(model)],
        },
        "data": {
            "name": os.path.basename(os.path.abspath(recipe.arguments.dataset))
            if os.path.exists(recipe.arguments.dataset)
            else recipe.arguments.dataset,
            "splits": {name: _describe_split(split) for name, split in dataset.items()},
            "recordings_in_several_splits": shared_sources(dataset),
            "preparation": _preparation(recipe.arguments.dataset),
        },
        **({} if trainer is None else {"training": _describe_training(recipe, trainer)}),
        "surroundings": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores",
        },
    }


def _preparation(dataset: str) -> dict[str, Any] | None:
    """Options and versions of the build, from the report.json that lies beside a dataset; None where there is none."""
    path = Path(dataset) / "report.json"
    if not path.is_file():
        return None
    report = json.loads(path.read_text(encoding="utf-8"))
    return {key: report[key] for key in ("options", "versions") if key in report} or None


def _describe_training(recipe: Recipe, trainer: Trainer) -> dict[str, Any]:
    state = trainer.state
    return {
        "steps": state.global_step,
        "epochs": round(state.epoch or 0.0, 3),
        "best_step": _best_step(state.best_model_checkpoint),
        "best_metric": recipe.training.metric_for_best_model,
        "best_value": state.best_metric,
        "seed": recipe.training.seed,
        "precision": recipe.precision,
        "processes": recipe.training.world_size,
        "history": state.log_history,
        "padding": _describe_padding(recipe, trainer),
    }


def _describe_padding(recipe: Recipe, trainer: Trainer) -> dict[str, Any] | None:
    """None for models of one fixed input length."""
    if trainer.padding is None:
        return None
    train, own = trainer.train_dataset, recipe.arguments
    durations = train["duration_s"] if "duration_s" in train.column_names else None
    batch = recipe.training.per_device_train_batch_size
    return describe_padding(trainer.state.log_history, durations, batch, own.max_duration_s, own.pack_clips)


def _notes(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"cannot read card_notes {path} ({error.strerror}); name a Markdown file or none") from error


def _describe_split(split: Dataset) -> dict[str, Any]:
    labels, names = split["label"], split.features["label"].names
    columns = set(split.column_names)
    sources = split["source"] if "source" in columns else [None] * len(split)
    durations = split["duration_s"] if "duration_s" in columns else None
    described: dict[str, Any] = {"clips": len(split)}
    for index, name in enumerate(names):
        mine = [i for i, label in enumerate(labels) if label == index]
        described[name] = {
            "clips": len(mine),
            "recordings": len({sources[i] for i in mine} - {None}) or None,
            "minutes": round(sum(durations[i] for i in mine) / 60, 2) if durations else None,
        }
    if "generator" in columns:
        described["generators"] = dict(sorted(Counter(g or "unknown" for g in split["generator"]).items()))
    return described


def _best_step(checkpoint: str | None) -> int | None:
    return int(os.path.basename(checkpoint).partition("-")[2]) if checkpoint else None
