"""Lines that carry speech: less bandwidth, other sampling rates, G.711 telephone calls, lost packets."""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import signal

from deepfake.audio.decode import SAMPLING_RATE, pcm16

Codes = NDArray[np.uint8]
Pcm = NDArray[np.int16]

LINE_RATE = 8_000
_ORDER = 8  # of the filters
_BIAS = 33  # added to the 14-bit magnitude, so that every mu-law segment starts at a power of two
_PACKET = SAMPLING_RATE // 50  # 20 ms, the usual packet of voice over IP
_FADE = 0.5  # per packet in a row that is missing


def low_pass(samples: np.ndarray, cutoff_hz: float) -> np.ndarray:
    """Butterworth of order 8, -3 dB at `cutoff_hz`; shape (n,) stays."""
    return signal.sosfilt(_filter("lowpass", cutoff_hz), samples).astype(np.float32)


def band_pass(samples: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    """Butterworth, -3 dB at both ends; shape (n,) stays."""
    return signal.sosfilt(_filter("bandpass", (low_hz, high_hz)), samples).astype(np.float32)


def through_rate(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Resampled to `rate_hz` and back, as a recording that was once stored at that rate; shape (n,) stays."""
    there = soxr.resample(samples, SAMPLING_RATE, rate_hz, "HQ")
    back = soxr.resample(there, rate_hz, SAMPLING_RATE, "HQ")[: len(samples)]
    return np.pad(back, (0, len(samples) - len(back))).astype(np.float32, copy=False)


@cache
def _filter(kind: str, cutoff: float | tuple[float, float]) -> np.ndarray:
    return signal.butter(_ORDER // 2 if kind == "bandpass" else _ORDER, cutoff, kind, fs=SAMPLING_RATE, output="sos")


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


def lose_packets(samples: np.ndarray, rng: np.random.Generator, loss: float, mean_burst: float = 2.0) -> np.ndarray:
    """Lose a share `loss` of the 20 ms packets; shape (n,) stays.

    Which ones follows the two-state chain of Gilbert (1960) with bursts of `mean_burst` packets on average. A missing
    packet is replaced by the last one heard at half the level, a quarter for the second in a row, and so on.
    """
    packets = -(-len(samples) // _PACKET)
    lost = lost_packets(packets, loss, mean_burst, rng)
    heard = np.pad(samples, (0, packets * _PACKET - len(samples))).reshape(packets, _PACKET).astype(np.float32)
    for i in np.flatnonzero(lost):
        heard[i] = _FADE * heard[i - 1] if i else 0.0
    return heard.reshape(-1)[: len(samples)]


def lost_packets(packets: int, loss: float, mean_burst: float, rng: np.random.Generator) -> np.ndarray:
    """Which packets are lost: bool of shape (packets,), a share `loss` in expectation, the first one included."""
    leave_bad = 1.0 / mean_burst
    enter_bad = loss * leave_bad / (1.0 - loss)
    draws = rng.random(packets)
    lost = np.zeros(packets, dtype=bool)
    bad = False
    for i, draw in enumerate(draws):
        bad = draw < (loss if i == 0 else 1.0 - leave_bad if bad else enter_bad)
        lost[i] = bad
    return lost


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
_LAWS = {"mu": (mulaw_encode, mulaw_decode), "a": (alaw_encode, alaw_decode)}
