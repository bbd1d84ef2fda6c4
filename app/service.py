"""One detector for all clients: a queue with back-pressure, recordings of several requests in one batch."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.listening import Listener, look, warnings
from app.schemas import SpeechDetection
from app.settings import Settings
from app.uploads import Upload, UploadFolder
from deepfake.audio.decode import AudioInfo
from deepfake.scoring.audio_facts import AudioFacts, AudioWarning
from deepfake.scoring.detector import Detector
from deepfake.scoring.engine import Result
from deepfake.scoring.reading import Reading

_LOG = logging.getLogger("app")
_SHORT_S = 60.0  # longer recordings wait in a queue of their own, so that short ones need not wait for them
_GUESSED_BYTES_A_SECOND = 4_000  # of a container that does not say how long it is: 32 kbit/s


class Refused(Exception):
    """The request cannot be taken on now. `status` is the HTTP status, `retry_s` when to come again."""

    def __init__(self, status: int, text: str, retry_s: int = 5) -> None:
        super().__init__(text)
        self.status, self.text, self.retry_s = status, text, retry_s


@dataclass(frozen=True)
class Analysis:
    """Everything known of one recording, or of one channel of it.

    Attributes:
        name: as the client called it.
        channel: counted from 0; None: the mean of all.
        result: as of `Detector.analyse_readings`, but for its timeline; its reading holds the error, if there is one.
        curve: the timeline's smoothed logits, float32 of shape (bins,), NaN where there is no speech; None where no
            timeline was asked for. All of a job's analyses are kept for a while, and the timeline is four times as big.
        info: of the container; None when it is not audio.
    """

    name: str
    channel: int | None
    result: Result
    curve: np.ndarray | None
    listener: Listener
    info: AudioInfo | None
    warnings: list[AudioWarning]


@dataclass
class Task:
    """A recording on its way: `future` gives its `Analysis`."""

    name: str
    client: str
    reading: Reading
    listener: Listener
    info: AudioInfo | None
    detailed: bool
    future: Future[Analysis] = field(default_factory=Future)

    @property
    def progress(self) -> float | None:
        """Share that was read; None while the length is not known."""
        if self.future.done():
            return 1.0
        stated_s = self.info.stated_s if self.info is not None else None
        return min(0.99, self.reading.duration_s / stated_s) if stated_s else None

    def cancel(self) -> None:
        """Nobody waits any more: it is dropped from the queue, or given up at the next block."""
        self.listener.cancelled.set()


class Service:
    """Loads the detector in the background and scores what is submitted, short recordings and long ones in turn.

    Args:
        load: gives the detector.
        settings: the limits.
        failed: called with the exception when `load` raises.
    """

    def __init__(
        self, load: Callable[[], Detector], settings: Settings, failed: Callable[[Exception], None] | None = None
    ) -> None:
        self.settings = settings
        self.uploads = UploadFolder()
        self.detector: Detector | None = None
        self.streams = 0
        self._load, self._failed = load, failed
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()  # recordings of each client
        self._queues: tuple[queue.Queue[Task | None], ...] = (queue.Queue(), queue.Queue())  # short, long
        self._threads = [
            threading.Thread(target=self._work, args=(lane,), name=f"score-{n}", daemon=True)
            for n, lane in enumerate(self._queues)
        ]
        self.pool = ThreadPoolExecutor(8, thread_name_prefix="io")

    def start(self) -> None:
        threading.Thread(target=self._start, name="load", daemon=True).start()

    def close(self) -> None:
        """End the threads, after what is under way, and remove all files."""
        for lane in self._queues:
            lane.put(None)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10)
        self.pool.shutdown(cancel_futures=True)
        self.uploads.close()

    def ready(self) -> Detector:
        """The detector.

        Raises:
            Refused: it is not loaded yet.
        """
        if self.detector is None:
            raise Refused(503, "the model is not loaded yet", 2)
        return self.detector

    @property
    def waiting(self) -> int:
        """Recordings in the queue or being scored."""
        return self._held.total()

    def submit(
        self,
        uploads: list[Upload],
        client: str,
        *,
        each_channel: bool = False,
        detailed: bool = True,
        max_duration_s: float | None = None,
        time_limit_s: float | None = None,
        speech_detection: SpeechDetection | None = None,
    ) -> list[Task]:
        """Queue files; reads their headers, so not for the event loop's thread.

        Args:
            uploads: kept by the caller until the futures are done.
            client: who asks, for a fair share.
            each_channel: a task for each channel of a file, in place of one for their mean.
            detailed: with the timeline, for which a model without evidence for each frame runs five times as long.
            max_duration_s: of a recording; default: `Settings.max_duration_s`.
            time_limit_s: after which no more is read; None: none.
            speech_detection: default: as the detector was loaded with.

        Raises:
            Refused: no model yet, a queue that is full, or too much of one client already in it.
        """
        detection = speech_detection or self.ready().options.speech_detection
        deadline = None if time_limit_s is None else time.monotonic() + time_limit_s
        most_s = self.settings.max_duration_s if max_duration_s is None else max_duration_s
        tasks: list[Task] = []
        for upload in uploads:
            tasks += self._tasks(upload, client, each_channel, detailed, most_s, deadline, detection)
        with self._lock:
            if self.waiting + len(tasks) > self.settings.max_waiting:
                raise Refused(503, f"busy: {self.waiting} recordings are waiting; come again in a few seconds")
            if self._held[client] + len(tasks) > self.settings.max_per_client:
                raise Refused(429, f"{self._held[client]} of your recordings are under way already; wait for them")
            self._held[client] += len(tasks)
        for task in tasks:
            self._queues[self._is_long(task)].put(task)
        return tasks

    def _tasks(
        self,
        upload: Upload,
        client: str,
        each_channel: bool,
        detailed: bool,
        most_s: float,
        deadline: float | None,
        detection: SpeechDetection,
    ) -> Iterator[Task]:
        try:
            info = look(upload.path)
        except Exception:  # whatever a decoder does; the row says it when the file is read
            info = None
        channels = range(info.channels) if each_channel and info is not None and info.channels > 1 else [None]
        for channel in channels:
            listener = Listener(most_s, deadline)
            peaks = [] if detailed else None
            reading = Reading.of(
                upload.path, detection, peaks=peaks, listener=listener, facts=AudioFacts(), channel=channel
            )
            yield Task(upload.name, client, reading, listener, info, detailed)

    @staticmethod
    def _is_long(task: Task) -> bool:
        if task.info is None:
            return False
        size = Path(task.reading.source).stat().st_size if Path(task.reading.source).exists() else 0
        return (task.info.stated_s or size / _GUESSED_BYTES_A_SECOND) > _SHORT_S

    def _start(self) -> None:
        try:
            self.detector = self._load()
        except Exception as error:
            _LOG.error("the model was not loaded: %s", error)
            if self._failed is not None:
                self._failed(error)
            return
        for thread in self._threads:
            thread.start()

    def _work(self, lane: queue.Queue[Task | None]) -> None:
        """Score what waits in a lane together, then what has come meanwhile."""
        while (first := lane.get()) is not None:
            tasks = [first]
            while len(tasks) < self.settings.batch_files:
                try:
                    task = lane.get_nowait()
                except queue.Empty:
                    break
                if task is None:
                    lane.put(None)
                    break
                tasks.append(task)
            for detailed in (False, True):
                self._score([task for task in tasks if task.detailed == detailed])

    def _score(self, tasks: list[Task]) -> None:
        if not tasks:
            return
        results = self.detector.analyse_readings((t.reading for t in tasks), with_timeline=tasks[0].detailed)
        left = list(tasks)
        try:
            for task, result in zip(tasks, results, strict=True):
                analysis = _analysis(task, result)
                left.remove(task)
                self._done(task)
                task.future.set_result(analysis)
        except Exception as error:  # of the model, say out of memory: these fail, the server goes on
            _LOG.exception("scoring failed")
            for task in left:
                self._done(task)
                task.future.set_exception(error)

    def _done(self, task: Task) -> None:
        with self._lock:
            self._held[task.client] -= 1
            if not self._held[task.client]:
                del self._held[task.client]


def _analysis(task: Task, result: Result) -> Analysis:
    track, curve, told = result.reading.track, None, []
    if result.timeline is not None:
        curve = result.timeline.smooth_logits(track.flags).astype(np.float32)
        result.timeline = None
    if task.info is not None and result.reading.error is None:
        told = warnings(task.reading.facts, task.info, track)
    task.reading.facts = None
    return Analysis(task.name, task.reading.channel, result, curve, task.listener, task.info, told)
