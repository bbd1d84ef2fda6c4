"""What FFmpeg reads of a container before anything is decoded, and the hash of what it decodes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import numpy as np

from deepfake.audio.decode import AudioError, AudioReader, open_source
from deepfake.scoring.case.record import Container
from deepfake.scoring.case.structure import Structure

_MOST_TAGS, _LONGEST = 200, 2000


def container_facts(path: Path, structure: Structure) -> Container | None:
    """Container, codec, streams and tags; None where the file holds no audio that FFmpeg finds."""
    try:
        with AudioReader(path) as reader:
            info = reader.info
        file = open_source(path)
    except AudioError:
        return None
    try:
        with file, av.open(file, mode="r", metadata_errors="replace") as container:
            stream = container.streams.audio[0]
            tags = [("file", str(k), str(v)[:_LONGEST]) for k, v in sorted(container.metadata.items())]
            for one in container.streams:
                place = f"stream {one.index}, {one.type}"
                tags += [(place, str(k), str(v)[:_LONGEST]) for k, v in sorted(one.metadata.items())]
            return Container(
                name=info.container,
                codec=info.codec,
                sampling_rate=info.sampling_rate,
                channels=info.channels,
                sample_format=stream.format.name if stream.format else None,
                bit_rate=stream.bit_rate or container.bit_rate or None,
                stated_s=None if info.stated_s is None else round(info.stated_s, 3),
                streams=tuple(one.type for one in container.streams),
                tags=tuple(tags[:_MOST_TAGS]),
                parts=structure.parts,
            )
    except (av.error.FFmpegError, ValueError, OSError):
        return None


def audio_hash(path: Path) -> tuple[str | None, int]:
    """SHA-256 of the decoded sound as 32-bit little-endian floats, mono at 16 kHz, and how many samples; None, 0."""
    digest, samples = hashlib.sha256(), 0
    try:
        with AudioReader(path) as reader:
            for block in reader.blocks():
                digest.update(np.ascontiguousarray(block, dtype="<f4"))
                samples += len(block)
    except AudioError:
        return None, 0
    return digest.hexdigest(), samples
