"""Rows of the one table in, a padded batch of model inputs out."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import FeatureExtractionMixin, TrainerCallback, TrainingArguments

from deepfake.audio.decode import SAMPLING_RATE, AudioError, load_audio
from deepfake.channels.augment import Augmentation
from deepfake.errors import UserError
from deepfake.models.inputs import featurise


class Collator:
    """Decodes, crops and augments (training rows only), featurises and pads.

    What is random is drawn from (seed, epoch, clip), never from global random state: the same for any number of
    workers, and the same after a run was killed and resumed.

    Args:
        extractor: the model's feature extractor.
        max_duration_s: training clips longer than this are cropped, in seconds.
        seed: of crops and augmentation.
        augmentation: applied to training clips after the crop.
    """

    def __init__(
        self,
        extractor: FeatureExtractionMixin,
        max_duration_s: float,
        seed: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.extractor = extractor
        self.max_samples = round(max_duration_s * SAMPLING_RATE)
        self.seed = seed
        self.augmentation = augmentation
        self.epoch = 0

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows need `audio` {"bytes", "path"} and `label`.

        Returns:
            the model's inputs, `labels` of shape (rows,), and the names of the `clips` and their `lengths` in samples.
        """
        waveforms = [self._waveform(row) for row in rows]
        return {
            **featurise(self.extractor, waveforms),
            "labels": torch.tensor([row["label"] for row in rows]),
            "clips": [str(row["audio"]["path"]) for row in rows],
            "lengths": [len(waveform) for waveform in waveforms],
        }

    def _waveform(self, row: dict[str, Any]) -> np.ndarray:
        audio = row["audio"]
        try:
            waveform = load_audio(audio["bytes"] or audio["path"])
        except AudioError as error:
            raise UserError(f"the dataset row {audio['path']} {error}; build the dataset again") from error
        if row.get("split") != "train":
            return waveform
        name = f"{self.seed} {self.epoch} {row.get('source')} {row.get('start_s')} {audio['path']}"
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        if len(waveform) > self.max_samples:
            start = int(rng.integers(len(waveform) - self.max_samples + 1))
            waveform = waveform[start : start + self.max_samples]
        if self.augmentation is not None:
            waveform = self.augmentation(waveform, rng)[: self.max_samples]
        return waveform


class EpochOfCollator(TrainerCallback):
    """Tells the collator which epoch it is; data loader workers are started after this and inherit it."""

    def __init__(self, collator: Collator) -> None:
        self.collator = collator

    def on_epoch_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        self.collator.epoch = int(state.epoch or 0)
