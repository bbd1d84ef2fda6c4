"""Edits in time: faster or slower, edges trimmed, silence in front."""

from __future__ import annotations

import numpy as np
import soxr

from deepfake.audio.decode import SAMPLING_RATE

_FRAME = SAMPLING_RATE // 100


def speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Played `factor` times as fast, pitch included; shape becomes (about n / factor,)."""
    return soxr.resample(samples, SAMPLING_RATE * factor, SAMPLING_RATE, "HQ").astype(np.float32, copy=False)


def trim_edges(samples: np.ndarray, below_db: float = 40.0) -> np.ndarray:
    """Cut leading and trailing 10 ms frames more than `below_db` under the loudest one; silence stays as it is."""
    frames = len(samples) // _FRAME
    power = np.square(samples[: frames * _FRAME], dtype=np.float64).reshape(frames, _FRAME).mean(axis=1)
    if frames == 0 or power.max() == 0.0:
        return samples
    loud = np.flatnonzero(power >= power.max() * 10.0 ** (-below_db / 10.0))
    return samples[loud[0] * _FRAME : (loud[-1] + 1) * _FRAME]


def lead_silence(samples: np.ndarray, duration_s: float) -> np.ndarray:
    """`duration_s` of digital silence in front; shape becomes (n + duration_s * 16000,)."""
    return np.concatenate([np.zeros(round(duration_s * SAMPLING_RATE), np.float32), samples.astype(np.float32)])


def pitch(samples: np.ndarray, semitones: float) -> np.ndarray:
    """Shifted in pitch at the same speed, by Signalsmith Stretch; shape (n,) stays.

    Raises:
        ImportError: python-stretch is not installed.
    """
    try:
        from python_stretch import Signalsmith
    except ImportError as error:
        raise ImportError("pitch shifting needs python-stretch; run: pip install python-stretch") from error
    stretch = Signalsmith.Stretch()
    stretch.preset(1, float(SAMPLING_RATE))
    stretch.setTransposeSemitones(semitones)
    return stretch.process(np.ascontiguousarray(samples[None], dtype=np.float32))[0]
