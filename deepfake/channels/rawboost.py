"""RawBoost: what microphones, amplifiers and digital lines add to a waveform.

After Tak, Kamble, Patino, Todisco and Evans, "RawBoost: a raw data boosting and augmentation method applied to
automatic speaker verification anti-spoofing", ICASSP 2022: linear and non-linear convolutive noise, impulsive
signal-dependent noise, stationary signal-independent noise.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve, firwin2

from deepfake.audio.decode import SAMPLING_RATE


def rawboost(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The paper's series of all three noises, with its parameter ranges; shape (n,) and peak level stay."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    if peak == 0.0:
        return samples.astype(np.float32)
    boosted = convolutive(samples / peak, rng)
    boosted = impulsive(boosted, rng)
    boosted = stationary(boosted, rng)
    return (boosted * (peak / max(float(np.max(np.abs(boosted))), 1e-9))).astype(np.float32)


def convolutive(samples: np.ndarray, rng: np.random.Generator, orders: int = 5) -> np.ndarray:
    """Sum of filtered powers of the signal (a Hammerstein system): higher orders are 5 to 20 dB weaker."""
    result = np.zeros(len(samples))
    for order in range(1, orders + 1):
        power = np.power(samples, order)
        gain_db = 0.0 if order == 1 else -rng.uniform(5, 20)
        result += 10 ** (gain_db / 20) * fftconvolve(power, _notch_filter(rng), mode="same")
    return _normalised(result - result.mean())


def impulsive(samples: np.ndarray, rng: np.random.Generator, most_share: float = 0.1, gain: float = 2.0) -> np.ndarray:
    """Up to `most_share` of the samples are moved by a random amount proportional to themselves."""
    count = int(len(samples) * rng.uniform(0, most_share))
    places = rng.permutation(len(samples))[:count]
    result = samples.copy()
    result[places] += gain * samples[places] * rng.uniform(-1, 1, count) * rng.uniform(-1, 1, count)
    return _normalised(result)


def stationary(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White noise through a random filter, 10 to 40 dB below the signal."""
    noise = fftconvolve(rng.standard_normal(len(samples)), _notch_filter(rng), mode="same")
    scale = np.linalg.norm(samples) / max(np.linalg.norm(noise), 1e-9)
    return samples + noise * scale * 10 ** (-rng.uniform(10, 40) / 20)


def _notch_filter(rng: np.random.Generator, bands: int = 5) -> np.ndarray:
    """A linear-phase filter with `bands` notches: random centres (20 Hz to 8 kHz) and widths (100 Hz to 1 kHz)."""
    taps = int(rng.integers(10, 101)) | 1
    grid = np.linspace(0, 1, 513)
    response = np.ones_like(grid)
    for _ in range(bands):
        centre, width = rng.uniform(20, 8_000), rng.uniform(100, 1_000)
        hertz = grid * SAMPLING_RATE / 2
        response[np.abs(hertz - centre) <= width / 2] = 0.0
    return firwin2(taps, grid, response)


def _normalised(samples: np.ndarray) -> np.ndarray:
    return samples / max(float(np.max(np.abs(samples))), 1e-9)
