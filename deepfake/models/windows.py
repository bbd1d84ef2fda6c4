"""What every way of running a model gives for the windows of recordings. Free of PyTorch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class WindowScore:
    """The model's answer for one window.

    Attributes:
        logit: fake minus real, from float32 (or float64) arithmetic.
        frames: float64 of shape (frames,) whose mean is `logit`; None where the head is not linear–mean–linear.
    """

    logit: float
    frames: np.ndarray | None


class Forward(Protocol):
    """Scores a batch of mono 16 kHz float32 windows, each of shape (samples,)."""

    def __call__(self, waveforms: Sequence[np.ndarray]) -> list[WindowScore]: ...


class OneAtATime:
    """A forward function that several threads may call.

    One thread at a time gets through: frames are read by a hook on the model, and the gate of a reduced precision
    counts the batches it has seen.
    """

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self._lock = threading.Lock()

    def __call__(self, waveforms: Sequence[np.ndarray]) -> list[WindowScore]:
        with self._lock:
            return self.forward(waveforms)
