"""ITU-T G.711: 16-bit samples to 8-bit codes and back, mu-law and A-law, by table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
Pcm = NDArray[np.int16]

_BIAS = 33  # added to the 14-bit magnitude, so that every mu-law segment starts at a power of two


def mulaw_encode(pcm: Pcm) -> Codes:
    """Codes of 16-bit samples (ITU-T G.711 table 2; the 14 upper bits count, negative numbers by one's complement)."""
    return _MULAW_CODES[pcm.view(np.uint16)]


def mulaw_decode(codes: Codes) -> Pcm:
    """16-bit samples of mu-law codes: the 14-bit output values of G.711 table 2, times 4."""
    return _MULAW_VALUES[codes]


def alaw_encode(pcm: Pcm) -> Codes:
    """Codes of 16-bit samples (ITU-T G.711 table 1; the 13 upper bits count), every second bit inverted."""
    return _ALAW_CODES[pcm.view(np.uint16)]


def alaw_decode(codes: Codes) -> Pcm:
    """16-bit samples of A-law codes: the 13-bit output values of G.711 table 1, times 8."""
    return _ALAW_VALUES[codes]


def _mulaw_values() -> Pcm:
    code = 0xFF - np.arange(256)
    segment, step = (code >> 4) & 7, code & 15
    magnitude = ((2 * step + _BIAS) << segment) - _BIAS
    return (4 * np.where(code & 0x80, -magnitude, magnitude)).astype(np.int16)


def _alaw_values() -> Pcm:
    code = np.arange(256) ^ 0x55
    segment, step = (code >> 4) & 7, code & 15
    magnitude = (2 * step + 1 + 32 * (segment > 0)) << np.maximum(segment - 1, 0)
    return (8 * np.where(code & 0x80, magnitude, -magnitude)).astype(np.int16)


def _mulaw_codes() -> Codes:
    pcm, magnitude = _all_samples()
    biased = np.minimum((magnitude >> 2) + _BIAS, 0x1FFF)
    segment = np.floor(np.log2(biased)).astype(np.int64) - 5
    step = (biased >> (segment + 1)) & 15
    return (0xFF - ((pcm < 0) * 0x80 | segment << 4 | step)).astype(np.uint8)


def _alaw_codes() -> Codes:
    pcm, magnitude = _all_samples()
    scaled = magnitude >> 4
    segment = np.maximum(np.floor(np.log2(np.maximum(scaled, 1))).astype(np.int64) - 3, 0)
    step = (scaled >> np.maximum(segment - 1, 0)) & 15
    return (((pcm >= 0) * 0x80 | segment << 4 | step) ^ 0x55).astype(np.uint8)


def _all_samples() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every 16-bit sample in the order of its bits read as unsigned, and its one's-complement magnitude."""
    pcm = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int64)
    return pcm, np.where(pcm < 0, ~pcm, pcm)


_MULAW_VALUES, _ALAW_VALUES = _mulaw_values(), _alaw_values()
_MULAW_CODES, _ALAW_CODES = _mulaw_codes(), _alaw_codes()
