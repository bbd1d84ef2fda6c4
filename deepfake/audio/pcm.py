"""WAV files whose samples lie in the file as they are: read without FFmpeg, which would hand them over 4 kB at a time.

Only where nothing is left to judge: one data chunk, of a known size, all of it there. Whatever else a WAV file may be
goes through FFmpeg, whose tolerance decides what can still be heard of it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import av
import numpy as np

from deepfake.audio.stated import riff_chunks

_DTYPES = {"pcm_s16le": "<i2", "pcm_s32le": "<i4", "pcm_f32le": "<f4"}
_MOST_BEHIND = 1 << 16  # tags of editors; a second data chunk, which FFmpeg would play, can be looked for in so few


@dataclass(frozen=True)
class PlainSamples:
    """Where the samples of a file lie: `count` for each channel from byte `start` on, channels interleaved."""

    start: int
    count: int
    n_channels: int
    dtype: np.dtype

    def blocks(self, file: BinaryIO, size: int) -> Iterator[np.ndarray]:
        """Arrays of at most `size` samples of each channel, shape (samples * channels,), as they lie in the file."""
        file.seek(self.start)
        for first in range(0, self.count, size):
            length = min(size, self.count - first) * self.n_channels
            yield np.frombuffer(file.read(length * self.dtype.itemsize), self.dtype)


def plain_samples(head: bytes, file: BinaryIO, codec: av.AudioCodecContext) -> PlainSamples | None:
    """Find the samples of a WAV file; None where FFmpeg is to read it. Leaves the file where it is.

    Args:
        head: the first bytes of `file`.
        codec: what FFmpeg found in it.
    """
    if codec.name not in _DTYPES or not file.seekable():
        return None
    chunks = {name: (at, size) for name, at, size in riff_chunks(head)}
    if b"fmt " not in chunks or b"data" not in chunks or chunks[b"fmt "][1] < 16:
        return None
    dtype = np.dtype(_DTYPES[codec.name])
    n_channels, rate, _, frame_bytes = struct.unpack_from("<HIIH", head, chunks[b"fmt "][0] + 2)
    start, size = chunks[b"data"]
    if (n_channels, rate, frame_bytes) != (codec.channels, codec.sample_rate, codec.channels * dtype.itemsize):
        return None
    place = file.tell()
    behind = file.seek(0, os.SEEK_END) - start - size
    whole = size > 0 and size % frame_bytes == 0 and 0 <= behind <= _MOST_BEHIND
    if whole:
        file.seek(start + size)
        whole = b"data" not in file.read(behind)
    file.seek(place)
    return PlainSamples(start, size // frame_bytes, n_channels, dtype) if whole else None
