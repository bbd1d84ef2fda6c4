"""While a run goes on: a line per log, Ctrl-C that loses nothing, a stop where the loss breaks, and padding counted."""

from __future__ import annotations

import importlib.util
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import torch
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.trainer_pt_utils import get_length_grouped_indices

from deepfake.errors import UserError

# Those that are a module of the same name, and what else can stand in for one.
_REPORTERS = {name: (name,) for name in ("trackio", "wandb", "mlflow", "clearml", "neptune", "swanlab", "codecarbon")}
_REPORTERS |= {"tensorboard": ("tensorboard", "tensorboardX")}
_PADDING_KEY = "padding_share"
_NO_MEMORY = ("out of memory", "can't allocate memory")
_SHOWN = ("loss", "learning_rate", "eval_loss", "eval_roc_auc", "eval_eer", "eval_balanced_accuracy")


def require_reporters(names: Sequence[str]) -> None:
    """Check `report_to` before anything is computed.

    Raises:
        UserError: transformers does not know it, or it is not installed.
    """
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise UserError(f"report_to is {name}; expected none or some of {known}")
        modules = _REPORTERS.get(name, ())
        if modules and not any(importlib.util.find_spec(module) for module in modules):
            raise UserError(f"report_to is {name}, which is not installed; run: pip install {name}")


class OneLineProgress(ProgressCallback):
    """The usual bar, for a terminal; logged values as one readable line instead of a dict."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and self.training_bar is not None and (line := _line(state.global_step, logs)):
            self.training_bar.write(line, file=sys.stderr)


class LinesOnly(TrainerCallback):
    """The logged values alone, for a log file: a bar would fill it with carriage returns and escape sequences."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and (line := _line(f"{state.global_step} of {state.max_steps}", logs)):
            print(line, file=sys.stderr, flush=True)


def follow_progress(trainer: Trainer) -> None:
    """Replace transformers' own report of the progress by one that suits where stderr goes."""
    bar = trainer.pop_callback(ProgressCallback) is not None
    trainer.pop_callback(PrinterCallback)
    trainer.add_callback(OneLineProgress() if bar and sys.stderr.isatty() else LinesOnly())


def _line(step: int | str, logs: dict | None) -> str | None:
    values = [f"{name} {float(logs[name]):.4g}" for name in _SHOWN if name in logs] if logs else []
    return f"step {step}: " + ", ".join(values) if values else None


class StopAfter(TrainerCallback):
    """Ends the training with the epoch in which `minutes` have gone by; that epoch is evaluated as any other."""

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self._begun = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._begun = time.monotonic()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if time.monotonic() - self._begun >= 60 * self.minutes:
            control.should_training_stop = True
        return control


class StopOnInterrupt(TrainerCallback):
    """Ctrl-C (or SIGTERM, as clusters send it) finishes the step, saves a checkpoint and stops; a second one kills.

    Attributes:
        interrupted: whether that happened; the caller then raises KeyboardInterrupt.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.interrupted = False
        self._previous: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._previous = {number: signal.signal(number, self._note) for number in self._SIGNALS}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if self.interrupted:
            control.should_save = control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.restore()

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _note(self, number: int, _frame: object) -> None:
        print("\nsaving a checkpoint after this step; once more to stop at once", file=sys.stderr)
        self.interrupted = True
        signal.signal(number, signal.SIG_DFL)


def require_finite(loss: torch.Tensor, logits: torch.Tensor, clips: list[str], step: int) -> None:
    """Stop at a loss that is NaN or infinite, before it ruins the weights.

    Raises:
        UserError: names the clips whose logits (shape (clips, 2)) are not finite.
    """
    if torch.isfinite(loss):
        return
    broken = [name for name, fine in zip(clips, torch.isfinite(logits).all(-1).tolist(), strict=True) if not fine]
    raise UserError(
        f"the loss is not a finite number at step {step} (clips {', '.join(broken[:4] or clips[:4])}); listen to them, "
        "then try a lower --learning_rate, a longer --warmup_steps or --precision bf16"
    )


def out_of_memory(error: RuntimeError, batch: int, accumulation: int) -> UserError | None:
    """Advice when `error` says that memory ran out; None when it says something else."""
    told = str(error).lower()
    # The second is how torch says it of a CPU.
    if not isinstance(error, torch.OutOfMemoryError) and not any(sign in told for sign in _NO_MEMORY):
        return None
    return UserError(
        f"memory ran out at {batch} clips a step and device; the same training in less memory: "
        f"--per_device_train_batch_size {max(1, batch // 2)} --gradient_accumulation_steps {accumulation * 2}, then "
        "--gradient_checkpointing true (about a third slower), then a shorter --max_duration_s"
    )


class Padding(TypedDict):
    """How much of the training batches was padding, and what either order of clips would give; shares of samples."""

    share_per_epoch: list[float]
    layers_skip_it: bool
    in_random_order: NotRequired[float]
    grouped_by_length: NotRequired[float]


def padding_share(batches: Sequence[Sequence[float]]) -> float:
    """The share of padded samples when each batch of clips of these lengths is padded to its longest."""
    padded_to = sum(len(lengths) * max(lengths) for lengths in batches)
    return 1.0 - sum(map(sum, batches)) / padded_to if padded_to else 0.0


class PaddingMeter(TrainerCallback):
    """Writes each epoch's padding share, as seen by this process, into Trainer's log history, which resuming keeps."""

    def __init__(self) -> None:
        self._batches: list[Sequence[int]] = []

    def note(self, lengths: Sequence[int]) -> None:
        """One training batch, by its clips' lengths in samples or frames."""
        self._batches.append(lengths)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._batches = []

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._batches:
            share = round(padding_share(self._batches), 4)
            state.log_history.append({_PADDING_KEY: share, "epoch": state.epoch, "step": state.global_step})


def describe_padding(
    history: Sequence[dict[str, Any]], durations_s: Sequence[float] | None, batch: int, longest_s: float, packed: bool
) -> Padding:
    """For results.json: measured shares, and those to expect of either order of clips.

    Args:
        history: Trainer's.
        durations_s: of all training clips, None when the dataset does not know them.
        batch: clips padded together.
        longest_s: longer clips are cropped to this.
        packed: the transformer layers left the padding out.
    """
    shares = [entry[_PADDING_KEY] for entry in history if _PADDING_KEY in entry]
    found = Padding(share_per_epoch=shares, layers_skip_it=packed)
    if durations_s:
        lengths = [min(seconds, longest_s) for seconds in durations_s]
        generator = torch.Generator().manual_seed(0)
        shuffled = torch.randperm(len(lengths), generator=generator).tolist()
        grouped = get_length_grouped_indices([round(1000 * s) for s in lengths], batch, generator=generator)
        for name, order in (("in_random_order", shuffled), ("grouped_by_length", grouped)):
            parts = [[lengths[i] for i in order[start : start + batch]] for start in range(0, len(order), batch)]
            found[name] = round(padding_share(parts), 4)
    return found
