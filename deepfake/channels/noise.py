"""Noise at a given signal-to-noise ratio."""

from __future__ import annotations

from typing import Literal

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE

_FRAME = SAMPLING_RATE // 50
_ACTIVE_DB = 40.0  # frames this far below the loudest one are pauses and do not count as signal


def add_noise(
    samples: np.ndarray, snr_db: float, rng: np.random.Generator, colour: Literal["white", "pink"] = "white"
) -> np.ndarray:
    """Add Gaussian noise `snr_db` below the power of the active speech; shape (n,) stays.

    Pink noise has equal power in every octave (spectrum 1/f). Silence comes back unchanged.
    """
    noise = rng.standard_normal(len(samples)).astype(np.float32)
    if colour == "pink":
        spectrum = np.fft.rfft(noise)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        spectrum[0] = 0.0
        noise = np.fft.irfft(spectrum, len(samples))
    power = float(np.mean(np.square(noise)))
    if power == 0.0:
        return samples.astype(np.float32)
    wanted = active_power(samples) * 10.0 ** (-snr_db / 10.0)
    return (samples + noise * np.sqrt(wanted / power)).astype(np.float32)


def active_power(samples: np.ndarray) -> float:
    """Mean square over the 20 ms frames within 40 dB of the loudest one."""
    frames = len(samples) // _FRAME
    if frames == 0:
        return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    power = np.square(samples[: frames * _FRAME], dtype=np.float64).reshape(frames, _FRAME).mean(axis=1)
    return float(power[power >= power.max() * 10.0 ** (-_ACTIVE_DB / 10.0)].mean())
