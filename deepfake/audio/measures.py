"""What can be measured of a clip without listening to the voice: level, silence, band, noise. One number each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.audio.energy import HOP_SAMPLES, frame_levels, gate_thresholds, runs

_FFT = 1024
# Where the long-term spectrum falls for good below its own upper-middle: the edge of a codec or an anti-alias filter.
_BAND_DROP_DB = 40.0
_SILENT_DBFS = -120.0


@dataclass(frozen=True)
class Measures:
    """Measurements of one clip.

    Attributes:
        duration_s, leading_silence_s, trailing_silence_s: seconds; silence is what the energy gate shuts out.
        silence_share: share of the clip that is silence, 0 to 1.
        level_dbfs: root mean square of the sound, silence left out. peak_dbfs: of the largest sample.
        dc_offset: mean of the samples, full scale 1.
        noise_floor_dbfs: 5th percentile of the 10 ms levels.
        bandwidth_hz: highest frequency within 40 dB of the spectrum's median up to 4 kHz.
        centroid_hz: energy-weighted mean frequency.
    """

    duration_s: float
    leading_silence_s: float
    trailing_silence_s: float
    silence_share: float
    level_dbfs: float
    peak_dbfs: float
    dc_offset: float
    noise_floor_dbfs: float
    bandwidth_hz: float
    centroid_hz: float


def measure(waveform: np.ndarray) -> Measures:
    """Measure a clip of float32 samples, shape (samples,), 16 kHz mono, full scale 1; at least one sample."""
    levels = frame_levels(waveform)
    sound = levels > gate_thresholds(levels)
    spans = runs(sound)
    first, last = (int(spans[0, 0]), int(spans[-1, 1])) if len(spans) else (len(levels), len(levels))
    power = spectrum(waveform)
    frequencies = np.fft.rfftfreq(_FFT, 1 / SAMPLING_RATE)
    loud = 10 ** (levels[sound] / 10)
    return Measures(
        duration_s=len(waveform) / SAMPLING_RATE,
        leading_silence_s=first * HOP_SAMPLES / SAMPLING_RATE,
        trailing_silence_s=max(0.0, (len(levels) - last) * HOP_SAMPLES / SAMPLING_RATE),
        silence_share=float(1 - sound.mean()),
        level_dbfs=_dbfs(float(loud.mean())) if len(loud) else _SILENT_DBFS,
        peak_dbfs=_dbfs(float(np.abs(waveform).max()) ** 2),
        dc_offset=float(waveform.mean(dtype=np.float64)),
        noise_floor_dbfs=float(np.percentile(levels, 5)),
        bandwidth_hz=_bandwidth_hz(power, frequencies),
        centroid_hz=float((power * frequencies).sum() / max(power.sum(), 1e-20)),
    )


def spectrum(waveform: np.ndarray) -> np.ndarray:
    """Mean power of overlapping Hann windows of 64 ms per FFT bin, shape (513,), float64, without the DC offset."""
    padded = np.pad(waveform, (0, max(0, _FFT - len(waveform)))).astype(np.float32)
    padded = padded - padded.mean()
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[:: _FFT // 2] * np.hanning(_FFT).astype(np.float32)
    bins = np.fft.rfft(frames, axis=1)
    return (bins.real**2 + bins.imag**2).mean(axis=0, dtype=np.float64)


def _bandwidth_hz(power: np.ndarray, frequencies: np.ndarray) -> float:
    levels = 10 * np.log10(np.maximum(power, 1e-20))
    smooth = np.convolve(levels, np.full(5, 0.2), mode="same")
    floor = float(np.median(levels[(frequencies > 100) & (frequencies <= 4000)])) - _BAND_DROP_DB
    above = np.flatnonzero(smooth > max(floor, -100.0))
    return float(frequencies[above[-1]]) if len(above) else 0.0


def _dbfs(power: float) -> float:
    return float(10 * np.log10(max(power, 10 ** (_SILENT_DBFS / 10))))
