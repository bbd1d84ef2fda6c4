"""What a chunk of a recording is, and how long, and out of what it may be made."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.errors import UserError


@dataclass(frozen=True)
class ChunkingOptions:
    """How recordings become chunks.

    Attributes:
        min_s: shortest chunk. Below about 2.5 s a detector hears too little to decide.
        max_s: longest chunk; 13 s keeps a batch of the 300M-parameter encoder within a 16 GB card.
        min_silence_ms: shortest silence that separates two spans; closures inside words stay below 200 ms.
        pad_ms: kept around each span: the gate opens late on soft onsets and closes early on fading ends.
        max_gap_ms: longest silence that neighbours are joined across; more would make chunks of silence.
        gap_ms: silences inside a chunk are shortened to this; None keeps them as they are, and chunks sample-exact.
        widen_share: a passage short of min_s by at most this share is widened into the silence around it.
        min_speech_share: a chunk with a smaller share of VAD speech is dropped: music, noise, a hum. 0 keeps all.

    Raises:
        UserError: values that contradict each other.
    """

    min_s: float = 2.5
    max_s: float = 13.0
    min_silence_ms: int = 300
    pad_ms: int = 100
    max_gap_ms: int = 1500
    gap_ms: int | None = None
    widen_share: float = 0.2
    min_speech_share: float = 0.1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_s) and self.min_s >= 0.1):
            raise UserError(f"chunks of {self.min_s} to {self.max_s} s were asked for; min-s must be at least 0.1 s")
        if self.max_s < 2 * self.min_s:
            raise UserError(
                f"max-s is {self.max_s} and min-s is {self.min_s}, but a recording can only be cut into pieces within "
                f"both when max-s is at least twice min-s; use --max-s {2 * self.min_s:g} or more"
            )
        if not 0 <= 2 * self.pad_ms < self.min_silence_ms <= self.max_gap_ms:
            raise UserError(
                f"pad_ms={self.pad_ms}, min_silence_ms={self.min_silence_ms}, max_gap_ms={self.max_gap_ms}: expected "
                "0 <= 2 * pad_ms < min_silence_ms <= max_gap_ms"
            )
        if self.gap_ms is not None and not 0 <= self.gap_ms <= self.max_gap_ms:
            raise UserError(f"gap-ms is {self.gap_ms}; expected 0 to {self.max_gap_ms}, the longest gap inside a chunk")
        for name in ("min_speech_share", "widen_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; expected a share between 0 and 1")

    @property
    def min_samples(self) -> int:
        return math.ceil(self.min_s * SAMPLING_RATE)

    @property
    def max_samples(self) -> int:
        return math.floor(self.max_s * SAMPLING_RATE)


@dataclass(frozen=True)
class Chunk:
    """`n_samples` samples of the recording at 16 kHz from `start_sample` on, without the stretches `removed`.

    `removed` holds [start, stop) of silences that were cut out, ascending; empty unless `gap_ms` was asked for.
    """

    start_sample: int
    n_samples: int
    removed: tuple[tuple[int, int], ...] = ()

    @property
    def removed_samples(self) -> int:
        return sum(stop - start for start, stop in self.removed)

    @property
    def stop_sample(self) -> int:
        return self.start_sample + self.n_samples + self.removed_samples

    def cut(self, waveform: np.ndarray) -> np.ndarray:
        """The chunk's samples out of its recording, float32 of shape (n_samples,); a view where nothing is removed."""
        if not self.removed:
            return np.asarray(waveform[self.start_sample : self.stop_sample])
        starts = (self.start_sample, *(stop for _, stop in self.removed))
        stops = (*(start for start, _ in self.removed), self.stop_sample)
        return np.concatenate([np.asarray(waveform[a:b]) for a, b in zip(starts, stops, strict=True)])
