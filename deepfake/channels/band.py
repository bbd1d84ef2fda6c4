"""Less bandwidth: filters, and a detour over another sampling rate."""

from __future__ import annotations

from functools import cache

import numpy as np
import soxr
from scipy import signal

from deepfake.audio.decode import SAMPLING_RATE

_ORDER = 8


def low_pass(samples: np.ndarray, cutoff_hz: float) -> np.ndarray:
    """Butterworth of order 8, -3 dB at `cutoff_hz`; shape (n,) stays."""
    return signal.sosfilt(_filter("lowpass", cutoff_hz), samples).astype(np.float32)


def band_pass(samples: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    """Butterworth, -3 dB at both ends; shape (n,) stays."""
    return signal.sosfilt(_filter("bandpass", (low_hz, high_hz)), samples).astype(np.float32)


def through_rate(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Resampled to `rate_hz` and back, as a recording that was once stored at that rate; shape (n,) stays."""
    there = soxr.resample(samples, SAMPLING_RATE, rate_hz, "HQ")
    back = soxr.resample(there, rate_hz, SAMPLING_RATE, "HQ")[: len(samples)]
    return np.pad(back, (0, len(samples) - len(back))).astype(np.float32, copy=False)


@cache
def _filter(kind: str, cutoff: float | tuple[float, float]) -> np.ndarray:
    return signal.butter(_ORDER // 2 if kind == "bandpass" else _ORDER, cutoff, kind, fs=SAMPLING_RATE, output="sos")
