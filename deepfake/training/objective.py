"""The training loss: cross-entropy with class weights, smoothing or focal modulation, exact under accumulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput

from deepfake.labels import LABELS

# What every evaluation records; any of it, or the loss, can choose the best checkpoint.
REPORTED = (
    "roc_auc", "eer", "accuracy", "balanced_accuracy",
    "precision_real", "recall_real", "f1_real", "precision_fake", "recall_fake", "f1_fake",
)  # fmt: skip


@dataclass(frozen=True)
class Objective:
    """Loss of one micro-batch, as Trainer's `compute_loss_func` wants it.

    The sum over clips is divided by the number of clips of the whole optimisation step, not of the micro-batch: Trainer
    does not divide by the accumulation steps for models whose forward takes **kwargs, so a mean per micro-batch would
    come out accumulation-times too large. The sum is exact for any split into micro-batches and processes.

    Attributes:
        class_weights: one per class, averaging 1 over the training clips; None weighs all clips alike.
        label_smoothing: share of each label given to the other class, 0 to 1.
        focal_gamma: (1 - p)^gamma of Lin et al., "Focal loss for dense object detection", ICCV 2017; 0 is off.
    """

    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    focal_gamma: float = 0.0

    def __call__(
        self,
        outputs: SequenceClassifierOutput,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Scalar loss; `num_items_in_batch` is the number of clips in the whole step, None in evaluation."""
        total = self.per_clip(outputs.logits.float(), labels).sum()
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    def per_clip(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Losses of shape (clips,) from logits of shape (clips, 2) and integer labels of shape (clips,)."""
        loss = nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)
        if self.focal_gamma:
            right = logits.softmax(-1).gather(1, labels[:, None])[:, 0]
            loss = loss * (1 - right) ** self.focal_gamma
        if self.class_weights is not None:
            loss = loss * torch.tensor(self.class_weights, device=loss.device)[labels]
        return loss


def balanced_weights(labels: Sequence[int]) -> tuple[float, ...]:
    """n / (2 n_class) for each class: both classes weigh the same in total, and the mean over clips is 1."""
    counts = np.bincount(np.asarray(labels), minlength=len(LABELS))
    return tuple(float(len(labels) / (len(LABELS) * count)) for count in counts)
