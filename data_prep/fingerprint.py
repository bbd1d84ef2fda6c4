"""A fingerprint of audio that survives re-encoding, trimming and gain, to find the same recording twice.

The bits are those of Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): the sign of the
change over time of the energy difference between neighbouring bands. Gain cancels, and the long smoothing makes
neighbouring frames alike, so that it does not matter where a copy was cut. Of all frames only those whose hash is
divisible by `_KEEP_ONE_IN` are kept: both copies choose the same ones, and an index stays small. Two recordings are
near duplicates when enough of these values agree at one and the same time shift.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from deepfake.audio.decode import SAMPLING_RATE

_HOP = SAMPLING_RATE // 100  # 10 ms
_FFT = 512  # 32 ms, 31 Hz a bin
_SMOOTH_FRAMES = 20  # 200 ms; the paper's 370 ms leave too few independent frames in a clip of 3 s
_STEP_FRAMES = 4  # over which energy differences are compared
_BANDS = 21  # 20 bits
_LOW_HZ, _HIGH_HZ = 300.0, 3300.0  # inside every telephone's band
_QUIET = 1e-4  # frames 40 dB below the loudest carry noise, and after a codec other noise
_KEEP_ONE_IN = 4
_BLOCK_FRAMES = 250  # 2.5 s at a time: half a megabyte stays in the cache and is not returned to the system
_CROWD = 12  # a value in more places than so many neighbours in the index is compared with those only
_MIN_MATCHES = 5
_MIN_SHARE = 0.06  # of the shorter recording's values
_SHIFT_FRAMES = 3  # 30 ms: codecs delay, and cuts fall between frames


@dataclass(frozen=True)
class Fingerprint:
    """`values` (uint32) and the 10 ms frame of each in `frames` (int32), both of shape (n,), frames ascending."""

    values: np.ndarray
    frames: np.ndarray


@dataclass(frozen=True)
class Match:
    """Recordings `first` < `second` hold the same audio; second's time = first's + `shift_s`. `share` is of 1."""

    first: int
    second: int
    shift_s: float
    share: float


def fingerprint(waveform: np.ndarray) -> Fingerprint:
    """Fingerprint of float samples of shape (samples,), 16 kHz mono; a memory map is read 2.5 s at a time."""
    empty = np.zeros(0, np.uint32), np.zeros(0, np.float32)
    blocks = [empty, *_values(waveform)]
    values, total = (np.concatenate([block[column] for block in blocks]) for column in (0, 1))
    if not len(values):
        return Fingerprint(values, np.zeros(0, np.int32))
    hashed = (values.astype(np.uint64) * 2654435761 & 0xFFFFFFFF) >> 16  # Knuth's multiplicative hash
    kept = (hashed % _KEEP_ONE_IN == 0) & (total > _QUIET * total.max())
    kept[1:] &= values[1:] != values[:-1]  # a run of one value says it once
    frames = np.flatnonzero(kept)
    return Fingerprint(values[frames].astype(np.uint32), frames.astype(np.int32))


def _values(waveform: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Bits and energy of each frame, a block at a time: memory does not grow with the length."""
    held = np.zeros((0, _BANDS))
    for energies in _band_energies(waveform):
        held = np.vstack((held, energies))
        if len(held) <= _SMOOTH_FRAMES + _STEP_FRAMES:
            continue
        sums = np.cumsum(np.vstack((np.zeros((1, _BANDS)), held)), axis=0)
        smooth = sums[_SMOOTH_FRAMES:] - sums[:-_SMOOTH_FRAMES]
        slopes = np.diff(smooth, axis=1)
        bits = (slopes[_STEP_FRAMES:] - slopes[:-_STEP_FRAMES]) > 0
        yield (
            (bits @ (1 << np.arange(_BANDS - 1, dtype=np.uint32))).astype(np.uint32),
            smooth[_STEP_FRAMES:].sum(axis=1).astype(np.float32),
        )
        held = held[-(_SMOOTH_FRAMES + _STEP_FRAMES - 1) :]


def _band_energies(waveform: np.ndarray) -> Iterator[np.ndarray]:
    """Energy in `_BANDS` logarithmic bands for each 10 ms frame: blocks of shape (frames, bands), float64."""
    edges = _band_edges()
    window = np.hanning(_FFT).astype(np.float32)
    n_frames = max(0, (len(waveform) - _FFT) // _HOP + 1)
    windowed = np.empty((_BLOCK_FRAMES, _FFT), np.float32)
    for first in range(0, n_frames, _BLOCK_FRAMES):
        count = min(_BLOCK_FRAMES, n_frames - first)
        block = np.asarray(waveform[first * _HOP : (first + count - 1) * _HOP + _FFT], dtype=np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(block, _FFT)[::_HOP]
        np.multiply(frames, window, out=windowed[:count])
        spectrum = fft.rfft(windowed[:count], axis=1)[:, edges[0] : edges[-1]]
        power = spectrum.real**2
        power += spectrum.imag**2
        # Not a matrix product: its threads would take the cores of the other workers.
        yield np.add.reduceat(power, edges[:-1] - edges[0], axis=1, dtype=np.float64)


def _band_edges() -> np.ndarray:
    """FFT bins where the bands begin, and where the last one ends; each at least one bin wide."""
    edges = np.rint(np.geomspace(_LOW_HZ, _HIGH_HZ, _BANDS + 1) * _FFT / SAMPLING_RATE).astype(int)
    for index in range(1, len(edges)):
        edges[index] = max(edges[index], edges[index - 1] + 1)
    return edges


def near_duplicates(prints: Sequence[Fingerprint]) -> list[Match]:
    """All pairs of recordings that share audio, by index.

    Time and memory grow with the total length, not with its square: values are looked up by sorting.
    """
    sizes = np.array([len(p.values) for p in prints], dtype=np.int64)
    if sizes.sum() == 0:
        return []
    values = np.concatenate([p.values for p in prints])
    frames = np.concatenate([p.frames for p in prints]).astype(np.int64)
    owners = np.repeat(np.arange(len(prints), dtype=np.int64), sizes)
    order = np.argsort(values, kind="stable")
    values, frames, owners = values[order], frames[order], owners[order]
    found = []
    for distance in range(1, _CROWD + 1):
        same = np.flatnonzero((values[distance:] == values[:-distance]) & (owners[distance:] != owners[:-distance]))
        a, b = owners[same], owners[same + distance]  # a < b: the sort is stable and owners ascend
        found.append(np.column_stack((a, b, frames[same + distance] - frames[same])))
    return _aligned(np.vstack(found), sizes)


def _aligned(hits: np.ndarray, sizes: np.ndarray) -> list[Match]:
    """Pairs with enough hits at one shift. `hits` holds (first, second, shift) of each equal value."""
    hits = hits[np.lexsort((hits[:, 2], hits[:, 1], hits[:, 0]))]
    if not len(hits):
        return []
    # A window of shifts slides over the sorted hits of each pair; its end is found for every start at once.
    pair = hits[:, 0] * (len(sizes) + 1) + hits[:, 1]
    span = 4 * (np.abs(hits[:, 2]).max() + _SHIFT_FRAMES + 1)
    line = np.unique(pair, return_inverse=True)[1] * span + hits[:, 2]
    counts = np.searchsorted(line, line + 2 * _SHIFT_FRAMES, side="right") - np.arange(len(line))
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for index in np.flatnonzero(counts >= _MIN_MATCHES):
        key = (int(hits[index, 0]), int(hits[index, 1]))
        best[key] = max(best.get(key, (0, 0)), (int(counts[index]), int(hits[index, 2]) + _SHIFT_FRAMES))
    matches = []
    for (a, b), (count, shift) in sorted(best.items()):
        share = count / min(sizes[a], sizes[b])
        if share >= _MIN_SHARE:
            matches.append(Match(a, b, shift * _HOP / SAMPLING_RATE, round(float(min(share, 1.0)), 3)))
    return matches
