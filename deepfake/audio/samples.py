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
    channels = _channels(frames, n_channels)
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


def as_floats(frames: list[list[np.ndarray]], n_channels: int) -> np.ndarray:
    """The channels of consecutive frames, float32 of shape (channels, samples).

    Args:
        frames: `planes` of each, of one format.

    Returns:
        in the unit of the format, its zero at 0: for comparing channels with each other.
    """
    channels = np.stack(_channels(frames, n_channels))
    return channels.astype(np.float32) - np.float32(128 if channels.dtype == np.uint8 else 0)


def _channels(frames: list[list[np.ndarray]], n_channels: int) -> list[np.ndarray]:
    """One array a channel, in the format of the frames."""
    channels = [np.concatenate(parts) for parts in zip(*frames, strict=True)]
    return channels if len(channels) == n_channels else list(channels[0].reshape(-1, n_channels).T)
