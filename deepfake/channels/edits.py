"""Edits: faster or slower, other pitch, edges trimmed, silence in front, and SpecAugment's masks on the waveform."""

from __future__ import annotations

import numpy as np
import soxr

from deepfake.audio.decode import SAMPLING_RATE

_FRAME = SAMPLING_RATE // 100
_MEL_BINS = 128


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


def mask_time(samples: np.ndarray, rng: np.random.Generator, longest_s: float) -> np.ndarray:
    """Silence one stretch of at most `longest_s` seconds; shape (n,) stays."""
    width = min(int(rng.uniform(0, longest_s) * SAMPLING_RATE), len(samples))
    start = int(rng.integers(0, len(samples) - width + 1))
    masked = samples.astype(np.float32, copy=True)
    masked[start : start + width] = 0.0
    return masked


def mask_frequency(samples: np.ndarray, rng: np.random.Generator, widest_mel_bins: float) -> np.ndarray:
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
