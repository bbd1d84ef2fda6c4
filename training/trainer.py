"""transformers' Trainer with a loss that is right under accumulation and metrics that rank."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from datasets import DatasetDict
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    FeatureExtractionMixin,
    PreTrainedModel,
    ProgressCallback,
    Trainer,
    TrainerCallback,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from evaluation.metrics import detection_metrics
from training.augment import load_augmentation
from training.collator import Collator, EpochOfCollator
from training.recipe import Recipe

REPORTED = (
    "roc_auc", "eer", "accuracy", "balanced_accuracy",
    "precision_real", "recall_real", "f1_real", "precision_fake", "recall_fake", "f1_fake",
)  # fmt: skip


def build_trainer(
    recipe: Recipe, model: PreTrainedModel, extractor: FeatureExtractionMixin, dataset: DatasetDict
) -> Trainer:
    """The Trainer for one run: metrics at every evaluation, early stopping by `metric_for_best_model`."""
    augmentation = load_augmentation(recipe.arguments.augmentation)
    collator = Collator(extractor, recipe.arguments.max_duration_s, recipe.training.seed, augmentation)
    callbacks: list[TrainerCallback] = [EpochOfCollator(collator)]
    if recipe.arguments.early_stopping_patience > 0:
        callbacks.append(EarlyStoppingCallback(recipe.arguments.early_stopping_patience))
    trainer = Trainer(
        model=model,
        args=recipe.training,
        train_dataset=dataset["train"],
        eval_dataset=dataset["validation"],
        data_collator=collator,
        processing_class=extractor,
        compute_loss_func=cross_entropy,
        compute_metrics=ranking_metrics,
        callbacks=callbacks,
    )
    if trainer.pop_callback(ProgressCallback):
        trainer.add_callback(OneLineProgress())
    return trainer


def cross_entropy(
    outputs: SequenceClassifierOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Summed cross-entropy over the clips of the whole optimisation step.

    Trainer does not divide by the accumulation steps for models whose forward takes **kwargs, so a mean per
    micro-batch would come out accumulation-times too large; the sum over all clips divided by their number is exact
    for any split into micro-batches.
    """
    total = nn.functional.cross_entropy(outputs.logits.float(), labels, reduction="sum")
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


def fake_logits(predictions: np.ndarray | tuple[np.ndarray, ...]) -> np.ndarray:
    """Fake minus real logit of a Trainer's predictions, float64, shape (clips,): the score that ranks without ties."""
    logits = predictions[0] if isinstance(predictions, tuple) else predictions
    logits = np.asarray(logits, dtype=np.float64)
    return logits[:, 1] - logits[:, 0]


def ranking_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Metrics of one evaluation; the class metrics are at fake_probability 0.5, before a threshold is chosen."""
    metrics = detection_metrics(fake_logits(prediction.predictions), prediction.label_ids, threshold=0.0)
    return {name: metrics[name] for name in REPORTED if metrics[name] is not None}


class OneLineProgress(ProgressCallback):
    """The usual bar; logged values as one readable line instead of a dict."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **kwargs: Any) -> None:
        if not state.is_world_process_zero or self.training_bar is None or not logs:
            return
        shown = ("loss", "learning_rate", "eval_loss", "eval_roc_auc", "eval_eer", "eval_balanced_accuracy")
        values = [f"{name} {float(logs[name]):.4g}" for name in shown if name in logs]
        if values:
            self.training_bar.write(f"step {state.global_step}: " + ", ".join(values), file=sys.stderr)
