"""One file in, one part on disk out: what a worker process does."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.chunking import chunk_recording
from data_prep.equalise import trim
from data_prep.fingerprint import fingerprint
from data_prep.parts import (
    Recipe,
    RecordingFacts,
    part_path,
    read_facts,
    write_part,
)
from deepfake.audio.decode import SAMPLING_RATE, AudioError, AudioReader, open_source
from deepfake.audio.stated import MAX_DURATION_GAP_S, MAX_DURATION_GAP_SHARE

# Longer recordings are decoded into a file and memory-mapped: 30 minutes are 115 MB of float32.
_IN_MEMORY_SAMPLES = 30 * 60 * SAMPLING_RATE


@dataclass(frozen=True)
class PrepareTask:
    """A file to prepare, with everything a worker process needs to know. `parts` is the folder of the parts."""

    path: Path
    parts: Path
    options: Recipe


def prepare_recording(task: PrepareTask) -> RecordingFacts:
    """Decode, chunk and store one recording, or find that its part is there already.

    Whatever is wrong with the file becomes `RecordingFacts.error`.

    Raises:
        OSError: the part cannot be written (a full disk), which is no fault of the recording.
    """
    facts = RecordingFacts()
    try:
        with open_source(task.path) as file:
            facts = replace(facts, sha256=hashlib.file_digest(file, "sha256").hexdigest())
    except (AudioError, OSError) as error:
        return replace(facts, error=_sentence(error))
    part = part_path(task.parts, facts.sha256, task.options)
    if part.exists():
        return read_facts(part)
    try:
        with AudioReader(task.path) as reader:
            info = reader.info
            facts = replace(
                facts,
                container=info.container,
                codec=info.codec,
                sampling_rate=info.sampling_rate,
                channels=info.channels,
                stated_s=info.stated_s,
            )
            with decoded(reader, task.parts) as waveform:
                facts = replace(facts, corrupt_packets=reader.corrupt_packets)
                _chunk_and_store(waveform, facts, part, task.options)
        return read_facts(part)
    except OSError:
        raise
    except Exception as error:  # hostile bytes surface in many libraries; the batch goes on, the report names the file
        return replace(facts, error=_sentence(error))


def _chunk_and_store(waveform: np.ndarray, facts: RecordingFacts, part: Path, options: Recipe) -> None:
    chunking = chunk_recording(waveform, options.chunking)
    chunks = chunking.chunks
    if "trim" in options.equalise.steps:
        chunks = tuple(trim(chunk, chunk.cut(waveform), options.chunking) for chunk in chunks)
    duration_s = len(waveform) / SAMPLING_RATE
    facts = replace(
        facts,
        duration_s=duration_s,
        warning=_duration_warning(facts.stated_s, duration_s),
        speech_s=chunking.speech_s,
        chunk_samples=tuple(chunk.n_samples for chunk in chunks),
        losses=chunking.losses,
        gap_removed_s=sum(chunk.removed_samples for chunk in chunks) / SAMPLING_RATE,
    )
    write_part(part, facts, waveform, chunks, fingerprint(waveform), options.equalise)


def _duration_warning(stated_s: float | None, duration_s: float) -> str | None:
    if stated_s is None or abs(stated_s - duration_s) <= max(MAX_DURATION_GAP_S, MAX_DURATION_GAP_SHARE * stated_s):
        return None
    return f"the file states {stated_s:.1f} s and {duration_s:.1f} s could be decoded: it is cut short or has holes"


@contextmanager
def decoded(reader: AudioReader, folder: Path) -> Iterator[np.ndarray]:
    """The whole recording as a float32 array of shape (samples,): in memory, or mapped from a file when it is long.

    Args:
        folder: where the file of a long recording lies until the context ends (230 MB per hour); not the system's
            temporary folder, which is often memory.

    Raises:
        AudioError: see `AudioReader.blocks`.
    """
    blocks, held = [], 0
    stream = reader.blocks()
    for block in stream:
        blocks.append(block)
        held += len(block)
        if held > _IN_MEMORY_SAMPLES:
            break
    else:
        yield np.concatenate(blocks)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        while blocks:
            file.write(blocks.pop(0).tobytes())
        for block in stream:
            file.write(block.tobytes())
        file.flush()
        yield np.memmap(file, dtype=np.float32, mode="r")


def _sentence(error: Exception) -> str:
    if isinstance(error, AudioError):
        return str(error)
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    return f"cannot be prepared ({type(error).__name__}: {error})"
