"""SpecAugment's masks on the waveform: a stretch of time silenced, a band of frequencies removed."""

from __future__ import annotations

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE

_MEL_BINS = 128


def mask_time(samples: np.ndarray, longest_s: float, rng: np.random.Generator) -> np.ndarray:
    """Silence one stretch of at most `longest_s` seconds; shape (n,) stays."""
    width = min(int(rng.uniform(0, longest_s) * SAMPLING_RATE), len(samples))
    start = int(rng.integers(0, len(samples) - width + 1))
    masked = samples.astype(np.float32, copy=True)
    masked[start : start + width] = 0.0
    return masked


def mask_frequency(samples: np.ndarray, widest_mel_bins: float, rng: np.random.Generator) -> np.ndarray:
    """Remove one band of at most `widest_mel_bins` of 128 mel bins (HTK scale, 0 to 8 kHz); shape (n,) stays."""
    top = _hertz_to_mel(SAMPLING_RATE / 2)
    width = rng.uniform(0, widest_mel_bins) * top / _MEL_BINS
    low = rng.uniform(0, top - width)
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLING_RATE)
    spectrum[(hertz >= _mel_to_hertz(low)) & (hertz <= _mel_to_hertz(low + width))] = 0.0
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def _hertz_to_mel(hertz: float) -> float:
    return 2595.0 * np.log10(1.0 + hertz / 700.0)


def _mel_to_hertz(mel: float) -> float:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
