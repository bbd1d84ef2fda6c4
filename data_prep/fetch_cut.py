"""One fetched file in, its clips out as FLAC: what a worker process of `fetch` does.

Both classes go through the same steps. What was published differs between them in level and in the silence around the
speech, for reasons that have nothing to do with the voice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.fetch_clip import ListedClip, Problem, Reason
from deepfake.audio.decode import SAMPLING_RATE, AudioError, AudioReader, encode_flac
from deepfake.audio.energy import HOP_SAMPLES, SILENCE_DBFS, frame_levels, gate_thresholds, runs
from deepfake.errors import UserError
from deepfake.text import replacing

_CEILING = 0.99  # of full scale; a clip that would exceed it stays below the level asked for


@dataclass(frozen=True)
class Treatment:
    """What is done to every stretch.

    Attributes:
        edge_silence_s: silence longer than this is cut off at both edges; None keeps the stretch as it is.
        level_dbfs: root mean square of the clip, full scale = 0 dB; None keeps the level as published.
        bits: significant ones of a sample; below 16 the others are zero, which FLAC does not store.

    Raises:
        UserError: a value out of range.
    """

    edge_silence_s: float | None = 0.1
    level_dbfs: float | None = -23.0
    bits: int = 16

    def __post_init__(self) -> None:
        if self.edge_silence_s is not None and not 0 <= self.edge_silence_s <= 10:
            raise UserError(f"--edge-silence-s is {self.edge_silence_s:g}; expected 0 to 10")
        if self.level_dbfs is not None and not -60 <= self.level_dbfs <= -10:
            raise UserError(f"--level-dbfs is {self.level_dbfs:g}; expected -60 to -10")
        if not 8 <= self.bits <= 16:
            raise UserError(f"--bits is {self.bits}; expected 8 to 16")


@dataclass(frozen=True)
class ClipFacts:
    """A clip as it was written.

    `start_s` and `end_s` are positions in the decoded file, after the edges were trimmed. `published_dbfs` is the level
    before it was changed: root mean square between these positions.
    """

    clip_id: str
    start_s: float
    end_s: float
    published_dbfs: float


@dataclass(frozen=True)
class CutTask:
    """A fetched file and the clips to cut from it. `clips_folder` and `work` are on one file system."""

    path: Path
    clips: tuple[ListedClip, ...]
    treatment: Treatment
    clips_folder: Path
    work: Path


@dataclass(frozen=True)
class CutResult:
    """For each clip of a task, in its order, the facts or the problem."""

    clips: tuple[ClipFacts | Problem, ...]


def clip_path(folder: Path, clip_id: str) -> Path:
    """Where a clip lies: at most a few hundred files in one folder, and no text of the list in its name."""
    return folder / clip_id[:2] / f"{clip_id}.flac"


def cut_file(task: CutTask) -> CutResult:
    """Decode a file once and write all its clips; whatever is wrong with it becomes a `Problem`.

    Raises:
        OSError: a clip cannot be written (a full disk).
    """
    try:
        waveform = _decode(task.path, max(_samples(clip.end_s) for clip in task.clips))
    except AudioError as error:
        return CutResult((Problem(Reason.AUDIO, str(error)),) * len(task.clips))
    except Exception as error:  # hostile bytes surface in many libraries; the batch goes on, the report names the file
        what = f"{type(error).__name__}: {error}"
        return CutResult((Problem(Reason.AUDIO, what),) * len(task.clips))
    return CutResult(tuple(_cut_one(waveform, clip, task) for clip in task.clips))


def _decode(path: Path, n_samples: int) -> np.ndarray:
    """The first `n_samples` of a recording and perhaps some more; fewer when it ends before."""
    blocks, held = [], 0
    with AudioReader(path) as reader:
        for block in reader.blocks():
            blocks.append(block)
            held += len(block)
            if held >= n_samples:
                break
    return np.concatenate(blocks)


def _cut_one(waveform: np.ndarray, clip: ListedClip, task: CutTask) -> ClipFacts | Problem:
    start, stop = _samples(clip.start_s), min(_samples(clip.end_s), len(waveform))
    if start >= stop:
        return Problem(Reason.STRETCH, f"{len(waveform) / SAMPLING_RATE:.2f} s long")
    stretch = waveform[start:stop]
    sound = _sound(stretch)
    if sound is None:
        return Problem(Reason.SILENT, f"nothing above {SILENCE_DBFS:g} dBFS")
    if task.treatment.edge_silence_s is not None:
        margin = _samples(task.treatment.edge_silence_s)
        start, stop = start + max(0, sound[0] - margin), min(stop, start + sound[1] + margin)
    samples = waveform[start:stop]
    facts = ClipFacts(clip.clip_id, start / SAMPLING_RATE, stop / SAMPLING_RATE, level_dbfs(samples))
    _write(clip_path(task.clips_folder, clip.clip_id), encode_flac(treated(samples, task.treatment)), task.work)
    return facts


def treated(samples: np.ndarray, treatment: Treatment) -> np.ndarray:
    """The level and the bits of `treatment` on float32 samples of shape (samples,); same shape."""
    if treatment.level_dbfs is not None:
        gain = 10 ** ((treatment.level_dbfs - level_dbfs(samples)) / 20)
        samples = samples * np.float32(min(gain, _CEILING / float(np.abs(samples).max())))
    if treatment.bits < 16:
        steps = 2 ** (treatment.bits - 1)
        samples = np.clip(np.rint(samples * steps), -steps, steps - 1).astype(np.float32) / steps
    return samples


def level_dbfs(samples: np.ndarray) -> float:
    """Root mean square of float samples, full scale 1, in decibels; not below -120."""
    return 10 * float(np.log10(max(np.mean(np.square(samples, dtype=np.float64)), 1e-12)))


def _sound(stretch: np.ndarray) -> tuple[int, int] | None:
    """First and last (exclusive) sample of what the energy gate calls sound; None where there is none."""
    levels = frame_levels(stretch)
    spans = runs(levels > gate_thresholds(levels))
    if not len(spans):
        return None
    return int(spans[0, 0]) * HOP_SAMPLES, min(int(spans[-1, 1]) * HOP_SAMPLES, len(stretch))


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLING_RATE)


def _write(path: Path, content: bytes, work: Path) -> None:
    """Write a file that is either complete or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, work) as draft:
        draft.write_bytes(content)
