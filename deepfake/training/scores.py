"""How a detector in training is scored: by the way that recordings take, the rows shared among the processes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import FeatureExtractionMixin, PreTrainedModel, Trainer

from deepfake.labels import fake_index
from deepfake.models.checkpoint import Checkpoint, load_checkpoint
from deepfake.scoring.clips import ClipScores, score_clips
from deepfake.scoring.detector import Detector
from deepfake.scoring.options import ScoringOptions
from deepfake.training.recipe import Recipe

# The fake logits (rows,) of a dataset under the name it is reported by, NaN where a row has no score.
Score = Callable[[Dataset, str], np.ndarray]


def score_of_trained(trainer: Trainer, recipe: Recipe) -> Score:
    """Scores by the trainer's model as it will be saved: in float32 whatever it was trained in, with its windows.

    The model leaves the trainer's mixed precision for good; LoRA has to be merged before.
    """
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False, keep_torch_compile=False)
    return _shared(detector_in_training(model, trainer.processing_class, recipe))


def score_of_start(recipe: Recipe) -> Score:
    """Scores by the checkpoint that training starts from, as it came, with the windows it stores.

    Raises:
        UserError: it cannot be scored with; see `load_checkpoint`.
    """
    checkpoint = load_checkpoint(recipe.arguments.model_name_or_path, str(recipe.training.device))
    return _shared(Detector(checkpoint, _options(recipe)))


def detector_in_training(model: PreTrainedModel, extractor: FeatureExtractionMixin, recipe: Recipe) -> Detector:
    """A model, on the device it is trained on, with the windows that its checkpoint will store."""
    own = recipe.arguments
    index = fake_index(model.config.id2label)
    return Detector(Checkpoint(model.eval(), extractor, index, None, own.window_s, own.hop_s), _options(recipe))


def scores_of(detector: Detector) -> Score:
    """Scores by a detector in this process alone."""

    def score(rows: Dataset, title: str) -> np.ndarray:
        found = score_clips(detector, rows, title)
        found.warn_of_unscored(title)
        return found.logits

    return score


def _options(recipe: Recipe) -> ScoringOptions:
    training = recipe.training
    return ScoringOptions(device=str(training.device), batch_size=training.per_device_eval_batch_size)


def _shared(detector: Detector) -> Score:
    state = PartialState()

    def score(rows: Dataset, title: str) -> np.ndarray:
        mine = rows.select(range(state.process_index, len(rows), state.num_processes))
        found = ClipScores.interleaved(gather_object([score_clips(detector, mine, title)]))
        if state.is_main_process:
            found.warn_of_unscored(title)
        return found.logits

    return score
