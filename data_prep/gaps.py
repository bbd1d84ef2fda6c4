"""Shortened silences inside chunks: a timeline of a passage from which the middles of its gaps are cut out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE


@dataclass(frozen=True)
class Timeline:
    """Positions in the recording and on the squeezed timeline, where the stretches `removed` take no time.

    Both agree up to the first removed stretch. `removed` is int64 of shape (stretches, 2), ascending, disjoint.
    """

    removed: np.ndarray

    @classmethod
    def without_gaps(cls, passage: np.ndarray, gap_ms: int | None) -> Timeline:
        """Leave `gap_ms` of every longer gap between the spans of `passage`, half at either side; None leaves all."""
        if gap_ms is None:
            return cls(np.zeros((0, 2), np.int64))
        keep = gap_ms * SAMPLING_RATE // 1000
        starts, stops = passage[:-1, 1] + keep // 2, passage[1:, 0] - (keep - keep // 2)
        return cls(np.column_stack((starts, stops))[stops > starts].astype(np.int64))

    @property
    def _lengths(self) -> np.ndarray:
        return np.concatenate(([0], np.cumsum(self.removed[:, 1] - self.removed[:, 0])))

    def squeeze(self, positions: np.ndarray) -> np.ndarray:
        """Squeezed positions of samples of the recording; those inside a removed stretch fall onto its start."""
        index = np.searchsorted(self.removed[:, 0], positions, side="right")
        gone = self._lengths[index]
        if len(self.removed):
            inside = np.where(index > 0, self.removed[index - 1, 1] - positions, 0)
            gone = gone - np.maximum(inside, 0)
        return positions - gone

    def stretch(self, position: int, begins: bool = False) -> int:
        """The sample of the recording at a squeezed position; `begins` takes the far side of a removed stretch."""
        joints = self.removed[:, 0] - self._lengths[:-1]
        return int(position + self._lengths[np.searchsorted(joints, position, side="right" if begins else "left")])

    def chunk(self, start: int, stop: int) -> tuple[int, int, tuple[tuple[int, int], ...]]:
        """Start, length and removed stretches of the chunk between two squeezed positions."""
        first, last = self.stretch(start, begins=True), self.stretch(stop)
        held = (self.removed[:, 0] >= first) & (self.removed[:, 1] <= last)
        return first, int(stop - start), tuple((int(a), int(b)) for a, b in self.removed[held])

    def wrap(self, pause: Callable[[int, int], int]) -> Callable[[int, int], int]:
        """A pause finder that takes and gives squeezed positions."""

        def squeezed(low: int, high: int) -> int:
            cut = pause(self.stretch(low), self.stretch(high))
            return int(np.clip(self.squeeze(np.array(cut)), low, high))

        return squeezed
