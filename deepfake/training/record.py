"""Facts of a run, as they go into results.json and from there, and nowhere else, into the model card."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, Trainer

from deepfake.errors import UserError
from deepfake.judging.clips import FACTS
from deepfake.judging.judge import facts
from deepfake.judging.record import ClipFacts
from deepfake.judging.run import DataFacts, ModelFacts, Module, RunFacts, TrainingFacts
from deepfake.models.freeze import count_parameters
from deepfake.training.callbacks import Padding, describe_padding
from deepfake.training.data import shared_sources
from deepfake.training.plan import module_rows
from deepfake.training.recipe import Recipe, public_values

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "av", "soxr")


def describe_run(
    recipe: Recipe,
    model: PreTrainedModel,
    dataset: DatasetDict,
    training: TrainingFacts | None = None,
    search: dict[str, Any] | None = None,
) -> RunFacts:
    """Recipe, model, data, surroundings, and the training and the search before it where these are done.

    Raises:
        UserError: the recipe's card_notes cannot be read.
    """
    base, name = recipe.arguments.model_name_or_path, recipe.arguments.dataset
    trained, total = count_parameters(model)
    return RunFacts(
        hub_model_id=recipe.training.hub_model_id,
        license=recipe.arguments.license,
        max_duration_s=recipe.arguments.max_duration_s,
        recipe=public_values(recipe.values),
        model=ModelFacts(
            # A folder of this machine means nothing to a reader of the card; a Hub id does.
            base_model=None if base is None or os.path.exists(base) else base,
            from_scratch=base is None,
            class_name=type(model).__name__,
            model_type=model.config.model_type,
            parameters=total,
            trained_parameters=trained,
            modules=tuple(Module(row.module, row.parameters, row.trained) for row in module_rows(model)),
        ),
        data=DataFacts(
            name=os.path.basename(os.path.abspath(name)) if os.path.exists(name) else name,
            splits={split: _describe_split(rows) for split, rows in dataset.items()},
            recordings_in_several_splits=shared_sources(dataset),
            preparation=_preparation(name),
        ),
        training=training or TrainingFacts(),
        surroundings={
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores",
        },
        card_notes=_notes(recipe.arguments.card_notes),
        search=search,
    )


def describe_training(recipe: Recipe, trainer: Trainer) -> TrainingFacts:
    """What the Trainer did."""
    state = trainer.state
    return TrainingFacts(
        steps=state.global_step,
        epochs=round(state.epoch or 0.0, 3),
        best_step=_best_step(state.best_model_checkpoint),
        best_metric=recipe.training.metric_for_best_model,
        best_value=state.best_metric,
        seed=recipe.training.seed,
        precision=recipe.precision,
        processes=recipe.training.world_size,
        history=tuple(state.log_history),
        padding=_describe_padding(recipe, trainer),
    )


def _preparation(dataset: str) -> dict[str, Any] | None:
    """Options and versions of the build, from the report.json that lies beside a dataset; None where there is none."""
    path = Path(dataset) / "report.json"
    if not path.is_file():
        return None
    report = json.loads(path.read_text(encoding="utf-8"))
    return {key: report[key] for key in ("options", "versions") if key in report} or None


def _describe_padding(recipe: Recipe, trainer: Trainer) -> Padding | None:
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


def _describe_split(split: Dataset) -> ClipFacts:
    columns = {name: list(split[name]) for name in FACTS if name in split.column_names}
    return facts(list(split["label"]), columns)


def _best_step(checkpoint: str | None) -> int | None:
    return int(os.path.basename(checkpoint).partition("-")[2]) if checkpoint else None
