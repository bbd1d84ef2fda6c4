"""One random way from a mouth to a detector: microphone, room, noise, then a line, a codec or a band limit."""

from __future__ import annotations

import numpy as np

from channels.band import low_pass
from channels.codecs import round_trip
from channels.noise import add_noise
from channels.room import reverberate
from channels.telephone import fitted, telephone

_EQ_POINTS = 8  # on a mel-like axis
_EQ_DEVIATION_DB, _EQ_TILT_DB = 3.0, 6.0
_BIT_RATES = {"mp3": (16, 24, 32, 48, 64), "opus": (8, 12, 16, 24, 32), "aac": (24, 32, 48)}  # kbit/s


def augment(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A changed copy; equal input and generator state give equal output.

    Args:
        samples: mono float32 at 16 kHz, shape (n,).

    Returns:
        float32 of shape (n,), at a level between -32 and -14 dB below full scale.
    """
    if rng.random() < 0.5:
        samples = equalise(samples, rng)
    if rng.random() < 0.3:
        samples = reverberate(samples, rng.uniform(0.08, 0.5), rng, direct_db=rng.uniform(8.0, 26.0))
    if rng.random() < 0.5:
        samples = _noise(samples, 10.0, 40.0, rng)
    drawn = rng.random()
    if drawn < 0.3:
        samples = _line(samples, rng)
    elif drawn < 0.6:
        samples = _codec(samples, rng)
    elif drawn < 0.75:
        samples = low_pass(samples, rng.uniform(3000.0, 7500.0))
    if rng.random() < 0.2:
        samples = _noise(samples, 20.0, 45.0, rng)
    return levelled(samples, rng.uniform(-32.0, -14.0))


def equalise(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth random frequency response of zero phase, as of another microphone; shape (n,) stays."""
    size = len(samples) + 2048
    spectrum = np.fft.rfft(samples, size)
    place = np.linspace(0.0, 1.0, len(spectrum))
    mel = np.log1p(12.0 * place)
    curve = np.interp(mel, np.linspace(0.0, mel[-1], _EQ_POINTS), rng.normal(0.0, _EQ_DEVIATION_DB, _EQ_POINTS))
    curve += rng.uniform(-_EQ_TILT_DB, _EQ_TILT_DB) * (place - 0.5)
    return fitted(np.fft.irfft(spectrum * 10.0 ** (curve / 20.0), size), len(samples))


def levelled(samples: np.ndarray, level_db: float) -> np.ndarray:
    """Scaled to an RMS of `level_db` below full scale; shape (n,) stays."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) + 1e-8
    return (samples * np.float32(10.0 ** (level_db / 20.0) / rms)).astype(np.float32)


def _noise(samples: np.ndarray, low_db: float, high_db: float, rng: np.random.Generator) -> np.ndarray:
    return add_noise(samples, rng.uniform(low_db, high_db), rng, colour="pink" if rng.random() < 0.5 else "white")


def _line(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A telephone call; one in four goes on through a low-rate codec."""
    law = "mu" if rng.random() < 0.5 else "a"
    samples = levelled(samples, rng.uniform(-30.0, -14.0))
    samples = telephone(samples, law, rng.uniform(150.0, 400.0), rng.uniform(3100.0, 3700.0))
    if rng.random() < 0.25:
        samples = round_trip(samples, "opus", int(rng.choice([6, 8, 12])) * 1000)
    return samples


def _codec(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    name = str(rng.choice(sorted(_BIT_RATES)))
    return round_trip(levelled(samples, rng.uniform(-28.0, -16.0)), name, int(rng.choice(_BIT_RATES[name])) * 1000)
