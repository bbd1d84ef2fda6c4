"""A room: the direct sound and a tail of reflections that dies away exponentially."""

from __future__ import annotations

import numpy as np
from scipy import signal

from deepfake.audio.decode import SAMPLING_RATE


def reverberate(samples: np.ndarray, rt60_s: float, rng: np.random.Generator, direct_db: float = 3.0) -> np.ndarray:
    """Convolve with a drawn room response; shape (n,) and the mean power stay.

    Args:
        samples: mono, shape (n,).
        rt60_s: time in which the tail falls by 60 dB.
        direct_db: power of the direct sound over that of the tail (direct-to-reverberant ratio).
    """
    wet = signal.oaconvolve(samples, room_response(rt60_s, direct_db, rng))[: len(samples)]
    power, before = float(np.mean(wet**2)), float(np.mean(np.square(samples, dtype=np.float64)))
    return (wet * np.sqrt(before / power) if power > 0 else wet).astype(np.float32)


def room_response(rt60_s: float, direct_db: float, rng: np.random.Generator) -> np.ndarray:
    """Impulse response of shape (1.2 rt60_s * 16000,): 1 at time 0, then Gaussian noise under exp(-6.9 t / rt60).

    The statistical model of a diffuse field (Polack 1988), without early reflections of any one room.
    """
    t = np.arange(1, round(1.2 * rt60_s * SAMPLING_RATE)) / SAMPLING_RATE
    tail = rng.standard_normal(t.size) * np.exp(-np.log(1000.0) * t / rt60_s)
    tail *= np.sqrt(10.0 ** (-direct_db / 10.0) / np.sum(tail**2))
    return np.concatenate([[1.0], tail])
