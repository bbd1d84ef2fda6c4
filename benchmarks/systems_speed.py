"""How long a system trains and scores: measured on a few steps and the embedded recordings, once it is trained."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoModelForAudioClassification, TrainerCallback

from deepfake.scoring.detector import Detector
from deepfake.training.arguments import parse_recipe
from deepfake.training.data import load_splits
from deepfake.training.model import load_feature_extractor
from deepfake.training.trainer import build_trainer

ENOUGH_S, FEWEST_STEPS = 10.0, 3


class StepClock(TrainerCallback):
    """When each step ended, reading and augmenting the clips included; stops when enough were seen."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        self.ends.append(time.perf_counter())
        if len(self.ends) > FEWEST_STEPS and self.ends[-1] - self.ends[0] > ENOUGH_S:
            control.should_training_stop = True
        return control


def seconds_per_epoch(config: Path, folder: Path, dataset_dir: str) -> float:
    """Seconds that the steps of one epoch take, evaluation left out, from the median of some; the first is not counted.

    Args:
        config: the system's recipe. folder: where it was trained, for its architecture.
    """
    with tempfile.TemporaryDirectory() as work:
        recipe = parse_recipe(
            ["--config", str(config), "--dataset", dataset_dir, "--output_dir", work, "--num_train_epochs", "1",
             "--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false",
             "--early_stopping_patience", "0", "--lr_scheduler_type", "constant", "--lr_scheduler_kwargs", "{}",
             "--logging_steps", "100000"]
        )  # fmt: skip
        dataset = load_splits(dataset_dir)
        model = AutoModelForAudioClassification.from_pretrained(folder)
        trainer = build_trainer(recipe, model, load_feature_extractor(recipe, model.config), dataset)
        clock = StepClock()
        trainer.add_callback(clock)
        steps = len(trainer.get_train_dataloader())
        begun = time.perf_counter()
        trainer.train()
    ends = clock.ends if len(clock.ends) > 1 else [begun, *clock.ends]
    return steps * statistics.median(b - a for a, b in zip(ends, ends[1:], strict=False))


def realtime(model: str, recordings: Sequence[Path]) -> float:
    """Seconds of audio scored in a second, decoding and the search for speech included, once everything is warm."""
    detector = Detector.from_pretrained(model)
    shortest = min(recordings, key=lambda path: path.stat().st_size)
    list(detector.score_files([shortest]))
    begun = time.perf_counter()
    audio_s = sum(score.duration_s or 0.0 for score in detector.score_files(recordings))
    return audio_s / (time.perf_counter() - begun)


def kept(path: Path, again: bool, measure: Callable[[], Any]) -> Any:
    """What `measure` found; from `path`, where it was kept, unless it is to be measured again."""
    if again or not path.is_file():
        path.write_text(json.dumps(measure()) + "\n", encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))
