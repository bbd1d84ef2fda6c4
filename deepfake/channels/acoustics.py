"""Between mouth and recorder: rooms, noise, too quiet, too loud, clipped."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import signal

from deepfake.audio.decode import SAMPLING_RATE

_FRAME = SAMPLING_RATE // 50
_ACTIVE_DB = 40.0  # frames this far below the loudest one are pauses and do not count as signal


def add_noise(
    samples: np.ndarray, rng: np.random.Generator, snr_db: float, colour: Literal["white", "pink"] = "white"
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


def gaussian_noise(samples: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
    """White noise of standard deviation `sigma`, full scale being 1; shape (n,) stays."""
    return (samples + sigma * rng.standard_normal(len(samples))).astype(np.float32)


def active_power(samples: np.ndarray) -> float:
    """Mean square over the 20 ms frames within 40 dB of the loudest one."""
    frames = len(samples) // _FRAME
    if frames == 0:
        return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    power = np.square(samples[: frames * _FRAME], dtype=np.float64).reshape(frames, _FRAME).mean(axis=1)
    return float(power[power >= power.max() * 10.0 ** (-_ACTIVE_DB / 10.0)].mean())


def reverberate(samples: np.ndarray, rng: np.random.Generator, rt60_s: float, direct_db: float = 3.0) -> np.ndarray:
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


def gain(samples: np.ndarray, gain_db: float) -> np.ndarray:
    """Scaled, then limited to full scale as any recorder does; shape (n,) stays."""
    return np.clip(samples * np.float32(10.0 ** (gain_db / 20.0)), -1.0, 1.0).astype(np.float32)


def clip_share(samples: np.ndarray, share: float) -> np.ndarray:
    """The loudest `share` of the samples cut off flat, as by an overdriven input; shape (n,) stays."""
    if not len(samples):
        return samples
    limit = np.quantile(np.abs(samples), 1.0 - share)
    return np.clip(samples, -limit, limit).astype(np.float32)
