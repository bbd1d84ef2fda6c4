"""Recordings decoded and searched for speech in parallel, delivered in input order within bounded memory."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import soxr

from data_prep.audio import SAMPLING_RATE, AudioError, AudioReader, Source, load_audio
from scoring.choices import MIN_DURATION_S
from scoring.windows import SpeechTrack, Window, iter_windows

MIN_SPEECH_S = 0.25  # of a window; less is noise, silence or a click
_QUEUED_WINDOWS = 4  # of one file, decoded and waiting: 3.3 MB at 13 s


@dataclass
class Reading:
    """One recording on its way through: a sentinel `error` or, once read, its length and where it has speech."""

    source: Source | np.ndarray
    sampling_rate: int | None = None
    error: str | None = None
    track: SpeechTrack = field(default_factory=SpeechTrack)
    peaks: list[np.ndarray] | None = None  # see `_note_peaks`
    change: Callable[[np.ndarray], np.ndarray] | None = None  # of all its 16 kHz samples, before anything is heard

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
        if self.change is not None:
            yield from self._speaking([self.change(load_audio(self.source))], window, hop)
            return
        with AudioReader(self.source) as reader:
            yield from self._speaking(reader.blocks(), window, hop)

    def _speaking(self, blocks: Iterable[np.ndarray], window: int, hop: int) -> Iterator[Window]:
        blocks = self.track.follow(blocks if self.peaks is None else _note_peaks(blocks, self.peaks))
        found = False
        for candidate in iter_windows(blocks, window, hop):
            long_enough = len(candidate.samples) >= MIN_DURATION_S * SAMPLING_RATE
            if long_enough and self.track.speech_s(candidate.start, candidate.stop) >= MIN_SPEECH_S:
                found = True
                yield candidate
        if self.duration_s < MIN_DURATION_S:
            raise AudioError(f"too short: {self.duration_s:.3f} s, at least {MIN_DURATION_S} s are needed")
        if not found:
            heard_s = self.track.speech_s(0, self.track.samples)
            raise AudioError(f"no_speech: {heard_s:.2f} s of speech found, at least {MIN_SPEECH_S} s are needed")


def read_ahead(readings: Iterable[Reading], window: int, hop: int, workers: int, ahead: int) -> Iterator[Event]:
    """Decode in `workers` threads (decoders and the speech detector release the interpreter's lock).

    Args:
        readings: recordings, taken lazily.
        window, hop: in samples, see `iter_windows`.
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


def default_workers() -> int:
    """One decoding thread a core: PyAV and onnxruntime use one core each."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
