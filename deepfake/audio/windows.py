"""A recording of any length as windows of a model's length, one block of memory at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.audio.vad import FRAME_SAMPLES, SPEECH_THRESHOLD, Listener, faint_speech


@dataclass(frozen=True)
class Window:
    """A stretch of a recording: float32 `samples` of shape (samples,), beginning at sample `start`.

    `faint`: only the more sensitive look heard speech in it, so that it counts only where no window has more.
    """

    start: int
    samples: np.ndarray
    faint: bool = False

    @property
    def stop(self) -> int:
        return self.start + len(self.samples)


class WindowCutter:
    """Cuts mono samples that come in pieces into overlapping windows; holds at most one window and one piece.

    A recording no longer than `window` comes out whole and unpadded. A longer one gives windows at 0, hop, 2 hop, …
    and a last one that ends with the recording, so that every sample is heard and every window has the same length.

    Args:
        window: window length in samples.
        hop: distance between windows in samples, at most `window`.

    Raises:
        ValueError: hop outside 1..window.
    """

    def __init__(self, window: int, hop: int) -> None:
        if not 1 <= hop <= window:
            raise ValueError(f"hop is {hop} samples; expected 1 to the window's {window}")
        self._window, self._hop = window, hop
        self._held = np.zeros(0, dtype=np.float32)
        self._origin = 0  # the recording's sample at held[0]
        self._start = 0  # of the next window, within `held`
        self._found = False

    def push(self, samples: np.ndarray) -> list[Window]:
        """Add float32 samples of shape (samples,); the windows that are complete by them."""
        self._held = np.concatenate((self._held, samples))
        complete = []
        # Only with a sample to spare: a recording that ends exactly here is finished by `last`.
        while self._start + self._window < len(self._held):
            # Copied, as a slice would keep all of `held` alive for as long as the window waits.
            piece = self._held[self._start : self._start + self._window].copy()
            complete.append(Window(self._origin + self._start, piece))
            self._found, self._start = True, self._start + self._hop
        # Keep one window back from the end, for the last window.
        drop = min(self._start, max(0, len(self._held) - self._window))
        self._held, self._start, self._origin = self._held[drop:], self._start - drop, self._origin + drop
        return complete

    def last(self) -> list[Window]:
        """What is still to come, none or one window, if the recording ends here; more may be pushed all the same."""
        left = len(self._held)
        if not left or (self._found and self._start - self._hop + self._window >= left):
            return []
        return [Window(self._origin + max(0, left - self._window), self._held[-self._window :])]


def iter_windows(blocks: Iterable[np.ndarray], window: int, hop: int) -> Iterator[Window]:
    """The windows of `WindowCutter` from consecutive float32 arrays of shape (samples,), each as soon as it is heard.

    Raises:
        ValueError: hop outside 1..window.
    """
    cutter = WindowCutter(window, hop)
    for piece in in_pieces(blocks, window):
        yield from cutter.push(piece)
    yield from cutter.last()


def in_pieces(blocks: Iterable[np.ndarray], most: int) -> Iterator[np.ndarray]:
    """The same samples in arrays of at most `most`: an hour in one array is not an hour of windows at once."""
    for block in blocks:
        for start in range(0, len(block), most):
            yield block[start : start + most]


class SpeechTrack:
    """Where a recording has speech, found once while its samples pass by; the pieces they come in do not matter.

    Args:
        detects: False takes everything for speech and listens to nothing.

    Attributes:
        detects: as given.
        samples: how many samples have passed.
        flags: one byte for each 32 ms frame, 1 where there is speech (112 kB an hour).
        faint: whether all of its speech was only heard by the more sensitive look.
    """

    def __init__(self, detects: bool = True) -> None:
        self.detects = detects
        self.faint = False
        self.samples = 0
        self.flags = bytearray()
        self._listener = Listener() if detects else _everything
        self._held = np.zeros(0, dtype=np.float32)  # less than one frame
        self._faint_flags = bytearray()

    def push(self, samples: np.ndarray) -> None:
        """Hear float32 16 kHz samples of shape (samples,)."""
        self.samples += len(samples)
        heard = np.concatenate((self._held, samples))
        whole = len(heard) // FRAME_SAMPLES * FRAME_SAMPLES
        self._held = heard[whole:]
        self.flags += _flags(self._listener, heard[:whole])

    def finish(self) -> None:
        """The recording ends here: the last frame need not be whole."""
        self.flags += _flags(self._listener, self._held)
        self._held = self._held[:0]

    def finished(self) -> SpeechTrack:
        """A track of the recording up to here, as if it ended here; this one can go on."""
        ended = copy.copy(self)
        ended.flags, ended._listener = self.flags.copy(), copy.copy(self._listener)
        ended._faint_flags = self._faint_flags.copy()
        ended.finish()
        return ended

    def listen_again(self, window: Window) -> float:
        """Seconds of speech in a window by the more sensitive look, which judges each window by itself."""
        heard = faint_speech(window.samples)
        first = window.start // FRAME_SAMPLES  # the window's frames lie up to one frame beside the recording's
        self._faint_flags.extend(bytes(max(0, first + len(heard) - len(self._faint_flags))))
        for frame in np.flatnonzero(heard):
            self._faint_flags[first + frame] = 1
        return float(heard.sum()) * FRAME_SAMPLES / SAMPLING_RATE

    def accept_faint(self) -> None:
        """Nothing else was heard: what the more sensitive look heard is the recording's speech."""
        self.faint = True
        self.flags = bytearray(map(max, self.flags, self._faint_flags.ljust(len(self.flags), b"\0")))

    def covers(self, stop: int) -> bool:
        """Whether every frame that overlaps the samples up to `stop` has been judged."""
        return len(self.flags) * FRAME_SAMPLES >= stop

    def speech_s(self, start: int, stop: int) -> float:
        """Seconds of frames with speech that overlap the samples start..stop."""
        frames = self.flags[start // FRAME_SAMPLES : -(-stop // FRAME_SAMPLES)]
        return sum(frames) * FRAME_SAMPLES / SAMPLING_RATE


def _everything(samples: np.ndarray) -> np.ndarray:
    """In place of a `Listener`: every frame is speech."""
    return np.ones(len(samples) // FRAME_SAMPLES, dtype=np.float32)


def _flags(listener: Callable[[np.ndarray], np.ndarray], samples: np.ndarray) -> bytes:
    padded = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))
    return (listener(padded) >= SPEECH_THRESHOLD).astype(np.uint8).tobytes()
