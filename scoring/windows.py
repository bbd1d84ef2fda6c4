"""A recording of any length as windows of a model's length, one block of memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from data_prep.vad import FRAME_SAMPLES, SPEECH_THRESHOLD, Listener


@dataclass(frozen=True)
class Window:
    """A stretch of a recording: float32 `samples` of shape (samples,), beginning at sample `start`."""

    start: int
    samples: np.ndarray

    @property
    def stop(self) -> int:
        return self.start + len(self.samples)


def iter_windows(blocks: Iterable[np.ndarray], window: int, hop: int) -> Iterator[Window]:
    """Cut a stream of mono samples into overlapping windows.

    A recording no longer than `window` comes out whole and unpadded. A longer one gives windows at 0, hop, 2 hop, …
    and a last one that ends with the recording, so that every sample is heard and every window has the same length.

    Args:
        blocks: consecutive float32 arrays of shape (samples,).
        window: window length in samples.
        hop: distance between windows in samples, at most `window`.

    Yields:
        windows of `window` samples, or one of the recording's own shorter length.

    Raises:
        ValueError: hop outside 1..window.
    """
    if not 1 <= hop <= window:
        raise ValueError(f"hop is {hop} samples; expected 1 to the window's {window}")
    held = np.zeros(0, dtype=np.float32)  # at most window + one block
    origin = 0  # the recording's sample at held[0]
    start = 0  # of the next window, within `held`
    yielded = False
    for block in blocks:
        held = np.concatenate((held, block))
        # Only with a sample to spare: a recording that ends exactly here is finished below.
        while start + window < len(held):
            # Copied, as a slice would keep all of `held` alive for as long as the window waits.
            yield Window(origin + start, held[start : start + window].copy())
            yielded, start = True, start + hop
        # Keep one window back from the end, for the last window.
        drop = min(start, max(0, len(held) - window))
        held, start, origin = held[drop:], start - drop, origin + drop
    if len(held) and (not yielded or start - hop + window < len(held)):
        yield Window(origin + max(0, len(held) - window), held[-window:])


class SpeechTrack:
    """Where a recording has speech, found once while its blocks pass by, whatever their lengths.

    Attributes:
        samples: how many samples have passed.
        flags: one byte for each 32 ms frame, 1 where there is speech (112 kB an hour).
    """

    def __init__(self) -> None:
        self.samples = 0
        self.flags = bytearray()
        self._listener = Listener()
        self._held = np.zeros(0, dtype=np.float32)  # less than one frame

    def follow(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass float32 16 kHz blocks of shape (samples,) on unchanged."""
        for block in blocks:
            self.samples += len(block)
            heard = np.concatenate((self._held, block))
            whole = len(heard) // FRAME_SAMPLES * FRAME_SAMPLES
            self._held = heard[whole:]
            self._detect(heard[:whole])
            yield block
        self._detect(np.pad(self._held, (0, -len(self._held) % FRAME_SAMPLES)))

    def speech_s(self, start: int, stop: int) -> float:
        """Seconds of frames with speech that overlap the samples start..stop."""
        frames = self.flags[start // FRAME_SAMPLES : -(-stop // FRAME_SAMPLES)]
        return sum(frames) * FRAME_SAMPLES / 16_000

    def _detect(self, samples: np.ndarray) -> None:
        found = self._listener(samples) >= SPEECH_THRESHOLD
        self.flags.extend(found.astype(np.uint8).tobytes())
