"""Decoded frames to mono float32, without the copies that PyAV's `to_ndarray` makes."""

from __future__ import annotations

import av
import numpy as np

# FFmpeg's sample formats; planar ones have the same name with a "p" behind.
_DTYPES = {
    "u8": np.dtype(np.uint8),
    "s16": np.dtype(np.int16),
    "s32": np.dtype(np.int32),
    "s64": np.dtype(np.int64),
    "flt": np.dtype(np.float32),
    "dbl": np.dtype(np.float64),
}


def planes(frame: av.AudioFrame) -> list[np.ndarray]:
    """The planes of a frame as views of its memory: one a channel, or one with all channels interleaved."""
    dtype = _DTYPES[frame.format.name.removesuffix("p")]
    held = frame.planes
    count = frame.samples * (frame.layout.nb_channels // len(held))  # what lies behind is padding
    return [np.frombuffer(plane, dtype, count) for plane in held]


def to_mono(frames: list[list[np.ndarray]], n_channels: int, channel: int | None = None) -> np.ndarray:
    """Average the channels of consecutive frames, or take one of them.

    Args:
        frames: `planes` of each, of one format.
        channel: the one to take, counted from 0; the last one where there are fewer.

    Returns:
        float32 of shape (samples,), integers scaled so that full scale is 1.
    """
    channels = [np.concatenate(parts) for parts in zip(*frames, strict=True)]
    if len(channels) < n_channels:
        channels = list(channels[0].reshape(-1, n_channels).T)
    if channel is not None:
        channels, n_channels = [channels[min(channel, n_channels - 1)]], 1
    dtype = channels[0].dtype
    mono = channels[0].astype(np.float32)
    for channel in channels[1:]:
        mono += channel
    if dtype == np.uint8:
        mono -= 128.0 * n_channels
    scale = 1.0 if dtype.kind == "f" else 128.0 if dtype == np.uint8 else float(-np.iinfo(dtype).min)
    if n_channels * scale != 1:
        mono /= n_channels * scale
    return mono
