"""Many recordings, one model: windows of all of them packed into batches, results in input order, bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.audio.windows import Window
from deepfake.models.windows import Forward, WindowScore
from deepfake.scoring.reading import Reading, read_ahead
from deepfake.scoring.timeline import Timeline
from deepfake.text import fake_probability

_POOLED_BATCHES = 4  # windows are gathered for this many batches, then sorted by length
_MAX_PADDING = 0.15  # of a batch; beyond it a second, smaller batch is cheaper
_MAX_UNDER_WAY = 1024  # recordings waiting for their turn in the output


@dataclass(frozen=True)
class Plan:
    """How recordings are cut and packed.

    Attributes:
        window, hop: in samples at 16 kHz.
        batch_size: windows a forward pass.
        equal_lengths: never pad; for models whose logits depend on padding.
        fixed_length: the feature extractor brings every window to one length, so that sorting gains nothing.
        workers: decoding threads; 0 decodes between forward passes.
        frame_stride: samples from one frame of evidence to the next; None when unknown.
        timeline_window, timeline_hop: in samples; where the model gives no frames, the timeline's evidence comes from
            windows this short, scored besides. 0: from the windows of the score.
    """

    window: int
    hop: int
    batch_size: int = 8
    equal_lengths: bool = False
    fixed_length: bool = False
    workers: int = 0
    frame_stride: int | None = None
    timeline_window: int = 0
    timeline_hop: int = 0


@dataclass(frozen=True)
class ScoredWindow:
    """A window with speech, from sample `start` to `stop`, and its float64 logit (fake minus real)."""

    start: int
    stop: int
    logit: float

    @property
    def fake_probability(self) -> float:
        """P(fake) of this window alone."""
        return fake_probability(self.logit)


@dataclass
class Result:
    """What is known about one recording: its windows, and sums over them of float64 logits (fake minus real).

    Windows that are `faint` are forgotten as soon as one comes that is not.
    """

    reading: Reading
    timeline: Timeline | None = None
    windows: int = 0
    logit_sum: float = 0.0
    max_logit: float = -np.inf
    waiting: int = 0  # windows not scored yet
    reached_s: float = 0.0  # the end of the latest window, in seconds
    localised: int = 0  # the sample up to which short windows were scored
    scored: list[ScoredWindow] = field(default_factory=list, repr=False)  # in the order of the batches
    faint: bool = True  # of the windows so far
    read: bool = field(default=False, repr=False)

    @property
    def logit(self) -> float:
        """The file's score: the mean over its windows with speech."""
        return self.logit_sum / self.windows

    @property
    def error(self) -> str | None:
        """Why there is no score; None where there is one."""
        if self.reading.error is None and not np.isfinite(self.logit):
            return "the model's output is not a finite number"
        return self.reading.error

    def add(self, window: Window, score: WindowScore, finer: bool = False) -> None:
        """Add a scored window; `finer`: the timeline gets its evidence from short windows in its place."""
        self.waiting -= 1
        self.reached_s = max(self.reached_s, window.stop / SAMPLING_RATE)
        if window.faint != self.faint:
            if window.faint:
                return
            self._forget()
        self.windows += 1
        self.logit_sum += score.logit
        self.max_logit = max(self.max_logit, score.logit)
        self.scored.append(ScoredWindow(window.start, window.stop, score.logit))
        if self.timeline is not None:
            self.timeline.add(window, score, finer)

    def _forget(self) -> None:
        self.faint, self.windows, self.logit_sum, self.max_logit, self.localised = False, 0, 0.0, -np.inf, 0
        self.scored = []
        if self.timeline is not None:
            self.timeline = self.timeline.emptied()


def score_readings(
    readings: Iterable[Reading],
    forward: Forward,
    plan: Plan,
    with_timeline: bool = False,
    scored: Callable[[Result], None] | None = None,
) -> Iterator[Result]:
    """Score recordings; one `Result` for each, in order, as soon as it and all before it are done.

    Args:
        scored: called with a recording for each window of it that was scored, which is long before all of it is.

    Which windows share a batch depends on the recordings and their order alone, never on timing, so that two runs over
    the same list give the same numbers.
    """
    pool: list[tuple[Result, Window]] = []
    under_way: deque[Result] = deque()
    pool_size = plan.batch_size * _POOLED_BATCHES
    for reading, window in read_ahead(readings, plan.window, plan.hop, plan.workers, max(4 * plan.workers, pool_size)):
        if not under_way or under_way[-1].reading is not reading:
            under_way.append(Result(reading, Timeline(plan.frame_stride) if with_timeline else None))
        result = under_way[-1]
        if window is None:
            result.read = True
            if len(under_way) >= _MAX_UNDER_WAY:
                _score_pool(pool, forward, plan, scored)
        else:
            result.waiting += 1
            pool.append((result, window))
            if len(pool) >= pool_size:
                _score_pool(pool, forward, plan, scored)
        yield from _finished(under_way)
    _score_pool(pool, forward, plan, scored)
    yield from _finished(under_way)


def pack(lengths: list[int], plan: Plan) -> list[list[int]]:
    """Indices of windows of these lengths (samples), in batches with little or no padding."""
    if plan.fixed_length:
        order = list(range(len(lengths)))
    else:
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches: list[list[int]] = []
    for index in order:
        if batches and len(batches[-1]) < plan.batch_size and _fits(lengths, batches[-1], index, plan):
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _fits(lengths: list[int], batch: list[int], index: int, plan: Plan) -> bool:
    longest, samples = lengths[batch[0]], sum(lengths[i] for i in batch) + lengths[index]
    if plan.fixed_length or lengths[index] == longest:
        return True
    return not plan.equal_lengths and 1 - samples / (longest * (len(batch) + 1)) <= _MAX_PADDING


def _score_pool(
    pool: list[tuple[Result, Window]], forward: Forward, plan: Plan, scored: Callable[[Result], None] | None
) -> None:
    """Score and empty the pool."""
    to_localise: list[tuple[Result, Window]] = []
    for (result, window), score in _scores(pool, forward, plan):
        finer = score.frames is None and 0 < plan.timeline_window < len(window.samples)
        result.add(window, score, finer)
        if finer and result.timeline is not None:
            to_localise.append((result, window))
        if scored is not None:
            scored(result)
    to_localise = [pair for pair in to_localise if pair[1].faint == pair[0].faint]  # the others were forgotten
    to_localise.sort(key=lambda pair: pair[1].start)  # of one recording; batches are sorted by length
    short = (piece for pair in to_localise for piece in _short_windows(*pair, plan))
    while batch := list(islice(short, plan.batch_size)):
        for (result, window), score in _scores(batch, forward, plan):
            result.timeline.add_evidence(window, score.logit)
    pool.clear()


def _scores(
    pool: list[tuple[Result, Window]], forward: Forward, plan: Plan
) -> Iterator[tuple[tuple[Result, Window], WindowScore]]:
    """Each window with its score; those that an earlier run scored come first, and cost nothing."""
    left = []
    for pair in pool:
        known = pair[0].reading.known.get(pair[1]) if pair[0].reading.known is not None else None
        if known is None:
            left.append(pair)
        else:
            yield pair, known
    for batch in pack([len(window.samples) for _, window in left], plan):
        scores = forward([left[i][1].samples for i in batch])
        for index, score in zip(batch, scores, strict=True):
            result, window = left[index]
            if result.reading.known is not None:
                result.reading.known.put(window, score)
            yield left[index], score


def _short_windows(result: Result, window: Window, plan: Plan) -> Iterator[tuple[Result, Window]]:
    """What lies in `window` and was not in the one before, in steps of the timeline's hop, and the very end."""
    last = len(window.samples) - plan.timeline_window
    first = min(max(0, result.localised - window.start), last)
    result.localised = window.start + last + plan.timeline_hop
    for start in [*range(first, last, plan.timeline_hop), last]:
        yield result, Window(window.start + start, window.samples[start : start + plan.timeline_window])


def _finished(under_way: deque[Result]) -> Iterator[Result]:
    while under_way and under_way[0].read and under_way[0].waiting == 0:
        yield under_way.popleft()
