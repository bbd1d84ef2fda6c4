"""transformers' Trainer with a loss that is right under accumulation and metrics that rank."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from torch import nn
from torch.utils.data import Sampler
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    FeatureExtractionMixin,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
)

from deepfake.channels.augment import load_augmentation
from deepfake.metrics.hub_metric import DetectionMetric
from deepfake.models.inputs import has_fixed_length
from deepfake.models.one_dnn import use_one_dnn
from deepfake.training.callbacks import (
    PaddingMeter,
    StopAfter,
    StopOnInterrupt,
    follow_progress,
    out_of_memory,
    require_finite,
)
from deepfake.training.collator import Collator, EpochOfCollator
from deepfake.training.layer_rates import decayed_groups
from deepfake.training.objective import REPORTED, Objective, balanced_weights
from deepfake.training.packing import pack_clips
from deepfake.training.prefix import PrefixCache, silence_prefix_dropout, starting_from_cache
from deepfake.training.recipe import Recipe
from deepfake.training.sampling import BalancedSampler, balanced_sampler


class DetectorTrainer(Trainer):
    """Trainer that draws clips by our sampler, if there is one, and stops at a loss that is not a finite number."""

    def __init__(
        self, *args: Any, sampler: BalancedSampler | None = None, layerwise_lr_decay: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.sampler = sampler
        self.layerwise_lr_decay = layerwise_lr_decay
        self.padding: PaddingMeter | None = None

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        return super()._get_train_sampler(train_dataset) if self.sampler is None else self.sampler

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None and self.layerwise_lr_decay != 1.0:
            model, args = self.model if model is None else model, self.args
            kind, options = self.get_optimizer_cls_and_kwargs(args, model)
            names = self.get_decay_parameter_names(model)
            groups = decayed_groups(model, args.learning_rate, self.layerwise_lr_decay, args.weight_decay, names)
            self.optimizer = kind(groups, **options)
        return super().create_optimizer(model)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        # Precision and F1 are undefined, and left out, where nothing is called fake, or real: never the best.
        name = f"eval_{self.args.metric_for_best_model.removeprefix('eval_')}"
        worst = float("-inf") if self.args.greater_is_better else float("inf")
        return super()._determine_best_metric({name: worst, **metrics}, trial)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        clips, lengths = inputs.pop("clips"), inputs.pop("lengths")
        if model.training and self.padding is not None:
            self.padding.note(lengths)
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        require_finite(loss, outputs["logits"], clips, self.state.global_step)
        return (loss, outputs) if return_outputs else loss


def build_trainer(
    recipe: Recipe, model: PreTrainedModel, extractor: FeatureExtractionMixin, dataset: DatasetDict
) -> DetectorTrainer:
    """The Trainer for one run: metrics at every evaluation, early stopping by `metric_for_best_model`."""
    own, training = recipe.arguments, recipe.training
    if not own.prefix_dropout:
        silence_prefix_dropout(model, own.freeze_encoder_layers)
    if own.pack_clips:
        pack_clips(model)
    if own.one_dnn:
        use_one_dnn(model)
    collator = Collator(extractor, own.max_duration_s, training.seed, load_augmentation(own.augmentation))
    callbacks: list[TrainerCallback] = [EpochOfCollator(collator)]
    if own.early_stopping_patience > 0 and training.eval_strategy != "no":
        callbacks.append(EarlyStoppingCallback(own.early_stopping_patience))
    if own.max_minutes is not None:
        callbacks.append(StopAfter(own.max_minutes))
    weights = balanced_weights(dataset["train"]["label"]) if own.class_weights == "balanced" else None
    trainer = DetectorTrainer(
        model=model,
        args=training,
        train_dataset=dataset["train"],
        eval_dataset=dataset["validation"],
        data_collator=collator,
        processing_class=extractor,
        compute_loss_func=Objective(weights, training.label_smoothing_factor, own.focal_gamma),
        compute_metrics=ranking_metrics,
        callbacks=callbacks,
        sampler=balanced_sampler(dataset["train"], own.balance, training.seed),
        layerwise_lr_decay=own.layerwise_lr_decay,
    )
    if not has_fixed_length(extractor):
        trainer.padding = PaddingMeter()
        trainer.add_callback(trainer.padding)
    follow_progress(trainer)
    return trainer


def train_from_cache(trainer: DetectorTrainer, checkpoint: str | None, cache: PrefixCache) -> None:
    """`train_or_stop` on cached activations; afterwards the trainer takes whole clips again."""
    whole = trainer.data_collator, trainer.train_dataset, trainer.eval_dataset
    trainer.data_collator = cache.collate
    trainer.train_dataset, trainer.eval_dataset = cache.datasets["train"], cache.datasets["validation"]
    try:
        with starting_from_cache(trainer.model, cache.depth):
            train_or_stop(trainer, checkpoint)
    finally:
        trainer.data_collator, trainer.train_dataset, trainer.eval_dataset = whole


def train_or_stop(trainer: DetectorTrainer, checkpoint: str | None) -> None:
    """Train; on Ctrl-C save a checkpoint first.

    Raises:
        KeyboardInterrupt: after the checkpoint is saved.
        UserError: memory ran out (with what to change), or the loss is no longer a finite number.
    """
    watch = StopOnInterrupt()
    trainer.add_callback(watch)
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except RuntimeError as error:
        args = trainer.args
        advice = out_of_memory(error, args.per_device_train_batch_size, args.gradient_accumulation_steps)
        if advice is None:
            raise
        raise advice from error
    finally:
        watch.restore()
    if watch.interrupted:
        raise KeyboardInterrupt


def fake_logits(predictions: np.ndarray | tuple[np.ndarray, ...]) -> np.ndarray:
    """Fake minus real logit of a Trainer's predictions, float64, shape (clips,): the score that ranks without ties."""
    logits = predictions[0] if isinstance(predictions, tuple) else predictions
    logits = np.asarray(logits, dtype=np.float64)
    return logits[:, 1] - logits[:, 0]


def ranking_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Metrics of one evaluation; the class metrics are at fake_probability 0.5, before a threshold is chosen."""
    metric = DetectionMetric(keep_in_memory=True)
    scores = fake_logits(prediction.predictions)
    metrics = metric.compute(predictions=scores, references=prediction.label_ids, threshold=0.0)
    return {name: metrics[name] for name in REPORTED if metrics[name] is not None}
