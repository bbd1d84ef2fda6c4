"""How long a recording is by what is written in it, which a file that was cut short still says."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import av

# Of these FFmpeg tells a duration that it derives from the bit rate, and so from how much of the file is there.
_GUESSED = frozenset({"aac", "mp3", "mpegts", "ac3", "eac3"})
MAX_DURATION_GAP_S, MAX_DURATION_GAP_SHARE = 0.5, 0.02  # less is encoder padding and rounded headers
_HEAD_BYTES = 1 << 16
_FRAME_BYTES = 4096  # an MP3 frame is at most 2,881
_UNKNOWN_SIZE = 0x7FFFF000  # programs that do not know the length yet write this, more, or 0


def beginning(file: BinaryIO) -> bytes:
    """The first bytes of a recording without its ID3 tag, which may hold a picture; leaves the file at its start."""
    if not file.seekable():
        return b""
    head = file.read(_HEAD_BYTES)
    if head[:3] == b"ID3" and len(head) >= 10:
        size = 10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
        file.seek(size)
        head = file.read(_FRAME_BYTES)
    file.seek(0)
    return head


def stated_s(head: bytes, container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """The duration in seconds that the header says; None where there is none, or where FFmpeg would only guess it.

    Args:
        head: from `beginning`.
    """
    if container.format.name == "wav":
        return _riff_duration_s(head)
    # An MP3 file may begin with a frame that counts the others; else its duration is a guess, too.
    counted = container.format.name == "mp3" and any(tag in head[:_FRAME_BYTES] for tag in (b"Xing", b"Info", b"VBRI"))
    if container.format.name in _GUESSED and not counted:
        return None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def riff_chunks(head: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and size of each chunk of a WAV file that begins in `head`, up to its samples ("data")."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    at, name = 12, b""
    while at + 8 <= len(head) and name != b"data":
        name, size = struct.unpack_from("<4sI", head, at)
        yield name, at + 8, size
        at += 8 + size + size % 2


def _riff_duration_s(head: bytes) -> float | None:
    """From the sizes in a WAV file's chunks. FFmpeg takes the size of the file instead, where that is smaller."""
    bytes_a_second = 0
    for name, at, size in riff_chunks(head):
        if name == b"fmt " and at + 12 <= len(head):
            (bytes_a_second,) = struct.unpack_from("<I", head, at + 8)
        if name == b"data":
            return size / bytes_a_second if bytes_a_second and 0 < size < _UNKNOWN_SIZE else None
    return None
