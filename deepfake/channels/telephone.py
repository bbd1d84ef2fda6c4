"""A telephone call: 8 kHz, 300 to 3400 Hz, G.711."""

from __future__ import annotations

from typing import Literal

import numpy as np
import soxr

from deepfake.audio.decode import SAMPLING_RATE, pcm16
from deepfake.channels.band import band_pass
from deepfake.channels.companding import alaw_decode, alaw_encode, mulaw_decode, mulaw_encode

LINE_RATE = 8_000
_LAWS = {"mu": (mulaw_encode, mulaw_decode), "a": (alaw_encode, alaw_decode)}


def telephone(
    samples: np.ndarray, law: Literal["mu", "a"], low_hz: float = 300.0, high_hz: float = 3400.0
) -> np.ndarray:
    """Down to 8 kHz, band-passed, companded by G.711 mu-law or A-law, and back; shape (n,) stays."""
    encode, decode = _LAWS[law]
    line = soxr.resample(band_pass(samples, low_hz, high_hz), SAMPLING_RATE, LINE_RATE, "HQ")
    heard = decode(encode(pcm16(line))).astype(np.float32) / 32768.0
    return fitted(soxr.resample(heard, LINE_RATE, SAMPLING_RATE, "HQ"), len(samples))


def fitted(samples: np.ndarray, length: int) -> np.ndarray:
    """Cut or zero-padded at the end to `length` samples, float32."""
    kept = samples[:length].astype(np.float32, copy=False)
    return kept if len(kept) == length else np.concatenate([kept, np.zeros(length - len(kept), np.float32)])
