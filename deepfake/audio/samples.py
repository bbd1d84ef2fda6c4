"""Decoded frames to mono float32, without the copies that PyAV's `to_ndarray` makes."""

from __future__ import annotations

import math

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
_EXACT = (np.uint8, np.int16, np.float32)


def planes(frame: av.AudioFrame, form: str, n_channels: int) -> list[np.ndarray]:
    """The planes of a frame as views of its memory: one a channel, or one with all channels interleaved.

    Args:
        form, n_channels: the name of its format and how many channels it has, which take longer to ask for than here.
    """
    dtype = _DTYPES[form.removesuffix("p")]
    held = frame.planes
    count = frame.samples * (n_channels // len(held))  # what lies behind is padding
    return [np.frombuffer(plane, dtype, count) for plane in held]


def to_mono(frames: list[list[np.ndarray]], n_channels: int, channel: int | None = None) -> np.ndarray:
    """Average the channels of consecutive frames, or take one of them.

    Args:
        frames: `planes` of each, of one format.
        channel: the one to take, counted from 0; the last one where there are fewer.

    Returns:
        float32 of shape (samples,), integers scaled so that full scale is 1.
    """
    dtype = frames[0][0].dtype
    # What float32 holds exactly is converted before it is parted: strides are slow, and slower while they convert.
    channels = _channels(frames, n_channels, np.float32 if dtype in _EXACT else None)
    if channel is not None:
        channels, n_channels = [channels[min(channel, n_channels - 1)]], 1
    if dtype in _EXACT:
        mono = channels[0] + channels[1] if n_channels > 1 else np.ascontiguousarray(channels[0])
        channels = channels[1:]
    else:
        mono = channels[0].astype(np.float32)
    for other in channels[1:]:
        mono += other
    if dtype == np.uint8:
        mono -= 128.0 * n_channels
    scale = 1.0 if dtype.kind == "f" else 128.0 if dtype == np.uint8 else float(-np.iinfo(dtype).min)
    scale *= n_channels
    if math.frexp(scale)[0] == 0.5:  # by a power of two both are exact, and one is fast
        mono *= np.float32(1 / scale)
    else:
        mono /= scale
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


def _channels(frames: list[list[np.ndarray]], n_channels: int, dtype: type | None = None) -> list[np.ndarray]:
    """One new array a channel, as `dtype` or else in the format of the frames."""
    joined = [np.concatenate(parts, dtype=dtype, casting="unsafe") for parts in zip(*frames, strict=True)]
    return joined if len(joined) == n_channels else list(joined[0].reshape(-1, n_channels).T)
