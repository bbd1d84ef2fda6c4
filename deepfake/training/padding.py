"""How much of the training batches is padding: counted while training, and what the other order of clips would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_pt_utils import get_length_grouped_indices

_KEY = "padding_share"


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
            state.log_history.append({_KEY: share, "epoch": state.epoch, "step": state.global_step})


def describe_padding(
    history: Sequence[dict[str, Any]], durations_s: Sequence[float] | None, batch: int, longest_s: float, packed: bool
) -> dict[str, Any]:
    """For results.json: measured shares, and those to expect of either order of clips.

    Args:
        history: Trainer's.
        durations_s: of all training clips, None when the dataset does not know them.
        batch: clips padded together.
        longest_s: longer clips are cropped to this.
        packed: the transformer layers left the padding out.
    """
    found: dict[str, Any] = {
        "share_per_epoch": [entry[_KEY] for entry in history if _KEY in entry],
        "layers_skip_it": packed,
    }
    if durations_s:
        lengths = [min(seconds, longest_s) for seconds in durations_s]
        generator = torch.Generator().manual_seed(0)
        shuffled = torch.randperm(len(lengths), generator=generator).tolist()
        grouped = get_length_grouped_indices([round(1000 * s) for s in lengths], batch, generator=generator)
        for name, order in (("in_random_order", shuffled), ("grouped_by_length", grouped)):
            parts = [[lengths[i] for i in order[start : start + batch]] for start in range(0, len(order), batch)]
            found[name] = round(padding_share(parts), 4)
    return found
