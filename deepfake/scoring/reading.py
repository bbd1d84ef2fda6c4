"""Recordings decoded and searched for speech in parallel, delivered in input order within bounded memory."""

from __future__ import annotations

import copy
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import soxr

from deepfake.audio.decode import SAMPLING_RATE, AudioError, AudioReader, Source
from deepfake.audio.windows import SpeechTrack, Window, WindowCutter, in_pieces
from deepfake.models.choices import MIN_DURATION_S
from deepfake.scoring.audio_facts import AudioFacts

if TYPE_CHECKING:
    from deepfake.models.windows import WindowScore

MIN_SPEECH_S = 0.25  # of a window; less is noise, silence or a click
MIN_FAINT_SPEECH_S = 0.5  # by the second look, which is more easily mistaken
_QUEUED_WINDOWS = 4  # of one file, decoded and waiting: 3.3 MB at 13 s


class NoSpeechError(AudioError):
    """Nobody speaks, or nobody is heard."""


class SpeechWindows:
    """Samples in pieces of any size in, the windows with speech out, each as soon as all of it has been judged.

    A recording in which nobody is heard is looked at again, more sensitively: until a window has speech, windows come
    out as `faint` in which only that look hears some. They count where no other window has come by the end.

    Args:
        window, hop: in samples, see `WindowCutter`.
        track: hears what is pushed.
    """

    def __init__(self, window: int, hop: int, track: SpeechTrack) -> None:
        self._cutter = WindowCutter(window, hop)
        self._track = track
        self._waiting: list[Window] = []  # for the end of a frame: which pieces come must not decide
        self._found = self._found_faint = False

    def push(self, samples: np.ndarray) -> list[Window]:
        """Add float32 16 kHz samples of shape (samples,); the windows with speech that are complete by them."""
        self._track.push(samples)
        self._waiting += self._cutter.push(samples)
        judged = [window for window in self._waiting if self._track.covers(window.stop)]
        del self._waiting[: len(judged)]
        return self._speaking(judged)

    def ahead(self) -> list[Window]:
        """What `finish` would give if the recording ended here; more may be pushed all the same."""
        if self._track.samples < MIN_DURATION_S * SAMPLING_RATE:
            return []
        ahead = copy.copy(self)
        ahead._track = self._track.finished()
        return ahead._speaking([*self._waiting, *self._cutter.last()])

    def finish(self) -> list[Window]:
        """The windows with speech that the recording's end completes.

        Raises:
            AudioError: the recording is too short, or `no_speech`.
        """
        self._track.finish()
        left = self._speaking([*self._waiting, *self._cutter.last()])
        duration_s = self._track.samples / SAMPLING_RATE
        if duration_s < MIN_DURATION_S:
            raise AudioError(f"too short: {duration_s:.3f} s, at least {MIN_DURATION_S} s are needed")
        if not self._found and self._found_faint:
            self._track.accept_faint()
        elif not self._found:
            heard_s = self._track.speech_s(0, self._track.samples)
            raise NoSpeechError(f"no_speech: {heard_s:.2f} s of speech found, at least {MIN_SPEECH_S} s are needed")
        return left

    def _speaking(self, windows: list[Window]) -> list[Window]:
        """Windows with speech; as long as there was none, those in which only the more sensitive look hears some."""
        speaking = []
        for window in windows:
            if len(window.samples) < MIN_DURATION_S * SAMPLING_RATE:
                continue
            if self._track.speech_s(window.start, window.stop) >= MIN_SPEECH_S:
                self._found = True
                speaking.append(window)
            elif not self._found and self._track.listen_again(window) >= MIN_FAINT_SPEECH_S:
                self._found_faint = True
                speaking.append(replace(window, faint=True))
        return speaking


class KnownWindows(Protocol):
    """Scores of a recording's windows that outlive this process; see `deepfake.scoring.kept.KeptWindows`."""

    def get(self, window: Window) -> WindowScore | None: ...

    def put(self, window: Window, score: WindowScore) -> None: ...


@dataclass
class Reading:
    """One recording on its way through: a sentinel `error` or, once read, its length and where it has speech.

    `listener` is called with each block of 16 kHz mono samples before anything else hears it. It may raise AudioError
    to give the recording up.
    """

    source: Source | np.ndarray
    sampling_rate: int | None = None
    error: str | None = None
    track: SpeechTrack = field(default_factory=SpeechTrack)
    peaks: list[np.ndarray] | None = None  # see `_note_peaks`
    change: Callable[[np.ndarray], np.ndarray] | None = None  # of all its 16 kHz samples, before anything is heard
    listener: Callable[[np.ndarray], None] | None = None
    facts: AudioFacts | None = None  # collects what makes the score less sure
    channel: int | None = None  # of a file: this one alone, counted from 0, in place of the mean of all
    stated_s: float | None = None  # duration by the recording's header, known as soon as it is open
    known: KnownWindows | None = None  # the windows that were scored before, and need not be scored again

    @classmethod
    def of(cls, source: Source | np.ndarray, speech_detection: str = "auto", **fields: Any) -> Reading:
        """A recording that is read by the option of this name, see `deepfake.scoring.options.ScoringOptions`."""
        return cls(source, track=SpeechTrack(speech_detection != "off"), **fields)

    @property
    def duration_s(self) -> float:
        return self.track.samples / SAMPLING_RATE

    def windows(self, window: int, hop: int) -> Iterator[Window]:
        """The windows that hold speech.

        Raises:
            AudioError: not decodable, too short, or `no_speech`.
            ValueError: samples without a sampling rate, or not of shape (samples,).
        """
        if isinstance(self.source, np.ndarray):
            yield from self._speaking([_resampled(self.source, self.sampling_rate)], window, hop)
            return
        with AudioReader(self.source, channel=self.channel, compare_channels=self.facts is not None) as reader:
            self.stated_s = reader.info.stated_s
            blocks: Iterable[np.ndarray] = reader.blocks()
            if self.change is not None:
                blocks = [self.change(np.concatenate(list(blocks)))]
            try:
                yield from self._speaking(blocks, window, hop, reader)
            except NoSpeechError as error:
                if self.facts is None or self.facts.cancelled_db is None:
                    raise
                raise NoSpeechError(
                    f"{error}; mixed, the channels cancel each other, so score each by itself (--channels each)"
                ) from error

    def _speaking(
        self, blocks: Iterable[np.ndarray], window: int, hop: int, reader: AudioReader | None = None
    ) -> Iterator[Window]:
        if self.listener is not None:
            blocks = _heard_by(self.listener, blocks)
        if self.facts is not None:
            blocks = _noted(self.facts, blocks, reader)
        if self.peaks is not None:
            blocks = _note_peaks(blocks, self.peaks)
        windows = SpeechWindows(window, hop, self.track)
        for piece in in_pieces(blocks, window):
            yield from windows.push(piece)
        yield from windows.finish()


def read_ahead(readings: Iterable[Reading], window: int, hop: int, workers: int, ahead: int) -> Iterator[Event]:
    """Decode in `workers` threads (decoders and the speech detector release the interpreter's lock).

    Args:
        readings: recordings, taken lazily.
        window, hop: in samples, see `WindowCutter`.
        workers: threads; 0 decodes in the caller's own.
        ahead: how many recordings may be under way, so that one long recording does not hold up the short ones.

    Yields:
        for each reading in order: (reading, window) for each window with speech, then (reading, None). What went wrong
        is in its `error` by then.
    """
    if workers == 0:
        for reading in readings:
            yield from ((reading, item) for item in _drain(reading, window, hop))
            yield reading, None
        return
    stop = threading.Event()
    pending: deque[tuple[Reading, queue.Queue]] = deque()
    readings = iter(readings)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")

    def produce(reading: Reading, items: queue.Queue) -> None:
        for item in _drain(reading, window, hop):
            if not _put(items, item, stop):
                return
        _put(items, None, stop)

    try:
        while True:
            for reading in islice(readings, ahead - len(pending)):
                items: queue.Queue = queue.Queue(_QUEUED_WINDOWS)
                pending.append((reading, items))
                pool.submit(produce, reading, items)
            if not pending:
                return
            reading, items = pending.popleft()
            while (item := items.get()) is not None:
                yield reading, item
            yield reading, None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


Event = tuple[Reading, Window | None]


def _drain(reading: Reading, window: int, hop: int) -> Iterator[Window]:
    try:
        yield from reading.windows(window, hop)
    except AudioError as error:
        reading.error = str(error)
    except Exception as error:  # whatever a decoder does, it must not end a batch
        reading.error = f"cannot be read ({type(error).__name__}: {error})"


def _put(items: queue.Queue, item: Window | None, stop: threading.Event) -> bool:
    """Wait for room; False when nobody will take it any more."""
    while not stop.is_set():
        try:
            items.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False


def _heard_by(listener: Callable[[np.ndarray], None], blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for block in blocks:
        listener(block)
        yield block


def _noted(facts: AudioFacts, blocks: Iterable[np.ndarray], reader: AudioReader | None) -> Iterator[np.ndarray]:
    for block in blocks:
        facts.hear(block)
        yield block
    facts.ended(reader)


def _note_peaks(blocks: Iterable[np.ndarray], peaks: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Append the largest magnitude of each 20 ms to `peaks`, for drawing."""
    held = np.zeros(0, dtype=np.float32)
    for block in blocks:
        held = np.concatenate((held, block))
        whole = len(held) // 320 * 320
        peaks.append(np.abs(held[:whole]).reshape(-1, 320).max(axis=1))
        held = held[whole:]
        yield block
    if len(held):
        peaks.append(np.abs(held).max(keepdims=True))


def _resampled(samples: np.ndarray, sampling_rate: int | None) -> np.ndarray:
    if sampling_rate is None:
        raise ValueError("samples need their sampling_rate in hertz")
    if samples.ndim != 1:
        raise ValueError(f"samples have the shape {samples.shape}; expected mono, (samples,)")
    samples = samples.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise AudioError("contains NaN or infinite samples")
    return samples if sampling_rate == SAMPLING_RATE else soxr.resample(samples, sampling_rate, SAMPLING_RATE, "HQ")
