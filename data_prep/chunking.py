"""Recording to chunks in two passes: split on silence and join short neighbours, then cut what is too long at pauses.

Pass 1 (`deepfake.audio.energy`) finds the spans of sound. Spans with less than `max_gap_ms` between them form a
passage. A passage that fits `max_s` is one chunk, true gaps included (or shortened on request: `data_prep.gaps`). One
that is a little shorter than `min_s` is widened into the silence around it. A longer one is cut from the left, each
time inside the window that leaves both the piece and the rest at least `min_s` long (never empty because max_s >= 2 *
min_s): at the longest silence between spans, or, where the window holds none, pass 2: at the best pause the VAD hears,
or else at the quietest instant. Positions are whole samples throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from data_prep.chunks import Chunk, ChunkingOptions
from data_prep.gaps import Timeline
from deepfake.audio import vad, vad_batch
from deepfake.audio.decode import SAMPLING_RATE
from deepfake.audio.energy import HOP_SAMPLES, frame_levels, runs, sound_spans

TOO_SHORT = "too_short"
NO_SPEECH = "no_speech"
_CLICK_MS = 50  # shorter than any syllable: lip noise, a switch
_VAD_LEAD_SAMPLES = 2 * SAMPLING_RATE  # the VAD hears better after a second or two
_VAD_RUN_UP_SAMPLES = 15 * SAMPLING_RATE
_VAD_SPARE_FRAMES = 12  # 0.4 s: what the VAD needs to warm up, and a pause
_VAD_DEAF_DBFS, _VAD_LEVEL_DBFS = -45.0, -30.0  # quieter voices it takes for noise: they are played to it louder
_HEARD_AT_ONCE = 60 * SAMPLING_RATE  # 4 MB, the first stretches of some 50 chunks; more at once are no faster
_MIN_PAUSE_FRAMES = 2  # 64 ms below the speech threshold: one 32 ms dip is a plosive's closure, not a pause


@dataclass(frozen=True)
class Chunking:
    """The chunks of one recording, ascending and disjoint, and what became of every sample of speech that pass 1 found.

    `speech_samples == kept_samples + sum(lost_samples.values())`, exactly.
    """

    chunks: tuple[Chunk, ...]
    speech_samples: int
    kept_samples: int
    lost_samples: Mapping[str, int] = field(default_factory=dict)

    @property
    def speech_s(self) -> float:
        return self.speech_samples / SAMPLING_RATE

    @property
    def losses(self) -> dict[str, float]:
        """Seconds of speech that no chunk holds, by reason: "too_short" (no neighbour to join) or "no_speech" (VAD)."""
        return {reason: samples / SAMPLING_RATE for reason, samples in self.lost_samples.items()}


def chunk_recording(waveform: np.ndarray, options: ChunkingOptions | None = None) -> Chunking:
    """Cut a recording into chunks of `options.min_s` to `options.max_s` seconds.

    Time and memory beyond the waveform grow linearly with its length (about 20 bytes per 10 ms); a memory map is never
    read whole.

    Args:
        waveform: float32 of shape (samples,), 16 kHz mono, full scale 1, finite.
        options: defaults when None.

    Returns:
        `Chunking`; chunk i is `waveform[start_sample : start_sample + n_samples]` unless gaps were shortened, and
        `chunk.cut(waveform)` in any case. Equal input gives equal output.
    """
    options = options or ChunkingOptions()
    levels = frame_levels(waveform)
    spans = _speech_spans(levels, len(waveform), options)
    judge = _Judge(levels, waveform, options.min_speech_share)
    lost = {TOO_SHORT: 0}
    passages = list(_passages(spans, options))
    limits = [0, *(int(passage[-1, 1]) for passage in passages)]  # where the passage before ends
    for index, passage in enumerate(passages):
        timeline = Timeline.without_gaps(passage, options.gap_ms)
        squeezed = timeline.squeeze(passage)
        start, stop = int(passage[0, 0]), int(passage[-1, 1])
        pieces: Iterable[tuple[int, int]]
        if squeezed[-1, 1] - squeezed[0, 0] < options.min_samples:
            after = int(passages[index + 1][0, 0]) if index + 1 < len(passages) else len(waveform)
            before = max(limits[index], judge.kept_until(limits[index]))
            widened = _widened(squeezed, start - before, after - stop, options)
            if widened is None:
                lost[TOO_SHORT] += _overlap(passage, start, stop)
                continue
            pieces = [widened]
        else:
            pieces = _pieces(squeezed, options, timeline.wrap(_pause_finder(levels, waveform, start)))
        for piece_start, piece_stop in pieces:
            chunk = Chunk(*timeline.chunk(piece_start, piece_stop))
            judge.add(_Candidate(chunk, start, _overlap(squeezed, piece_start, piece_stop)))
    chunks, kept, lost[NO_SPEECH] = judge.verdict()
    found = int((spans[:, 1] - spans[:, 0]).sum())
    return Chunking(chunks, found, kept, {reason: count for reason, count in lost.items() if count})


def _speech_spans(levels: np.ndarray, n_samples: int, options: ChunkingOptions) -> np.ndarray:
    """Pass 1 in samples: integers of shape (spans, 2)."""
    hop_ms = 1000 * HOP_SAMPLES // SAMPLING_RATE
    frames = (-(-value // hop_ms) for value in (_CLICK_MS, options.min_silence_ms, options.pad_ms))
    return np.minimum(sound_spans(levels, *frames) * HOP_SAMPLES, n_samples)


def _widened(squeezed: np.ndarray, before: int, after: int, options: ChunkingOptions) -> tuple[int, int] | None:
    """A passage stretched to `min_samples` into `before` and `after` samples of silence; None if those are too few."""
    start, stop = int(squeezed[0, 0]), int(squeezed[-1, 1])
    missing = options.min_samples - (stop - start)
    if missing > options.widen_share * options.min_samples or missing > before + after:
        return None
    left = min(before, max(missing // 2, missing - after))
    return start - left, stop + missing - left


def _passages(spans: np.ndarray, options: ChunkingOptions) -> Iterator[np.ndarray]:
    """Runs of spans with no gap over `max_gap_ms` between them, each of shape (spans of the passage, 2)."""
    max_gap = options.max_gap_ms * SAMPLING_RATE // 1000
    breaks = np.flatnonzero(spans[1:, 0] - spans[:-1, 1] > max_gap) + 1
    return (passage for passage in np.split(spans, breaks) if len(passage))


def _pieces(
    passage: np.ndarray, options: ChunkingOptions, pause: Callable[[int, int], int]
) -> Iterator[tuple[int, int]]:
    """Cut a passage of at least `min_samples` into pieces [start, stop) within the limits, losing only gaps."""
    start, end = int(passage[0, 0]), int(passage[-1, 1])
    gap_starts, gap_stops = passage[:-1, 1], passage[1:, 0]
    while end - start > options.max_samples:
        low, high = start + options.min_samples, min(start + options.max_samples, end - options.min_samples)
        first, last = np.searchsorted(gap_starts, low), np.searchsorted(gap_starts, high, side="right")
        # The rest begins after the gap, and must still be long enough.
        last = min(last, np.searchsorted(gap_stops, end - options.min_samples, side="right"))
        if first < last:
            lengths = gap_stops[first:last] - gap_starts[first:last]
            best = last - 1 - int(lengths[::-1].argmax())  # of equal silences the later: fewer, longer chunks
            yield start, int(gap_starts[best])
            start = int(gap_stops[best])
        else:
            cut = pause(low, high)
            yield start, cut
            start = cut
    yield start, end


def _pause_finder(levels: np.ndarray, waveform: np.ndarray, origin: int) -> Callable[[int, int], int]:
    """Pass 2 for one passage: a function from a window of samples [low, high] to the best sample in it to cut at.

    Args:
        levels: of the whole recording, from `frame_levels`.
        waveform: the whole recording; the VAD hears no more of it than the windows and what leads up to them.
        origin: where the passage begins: nothing before it is heard.
    """

    def pause(low: int, high: int) -> int:
        begin = max(origin, low - _VAD_LEAD_SAMPLES)
        probabilities = vad.speech_probabilities(waveform[begin:high])
        first = -(-(low - begin) // vad.FRAME_SAMPLES)
        window = probabilities[first : (high - begin) // vad.FRAME_SAMPLES]
        pauses = runs(window < vad.SPEECH_THRESHOLD)
        pauses = pauses[pauses[:, 1] - pauses[:, 0] >= _MIN_PAUSE_FRAMES]
        if len(pauses):
            # Long and deep at once: the area between the threshold and the curve.
            areas = [float((vad.SPEECH_THRESHOLD - window[a:b]).sum()) for a, b in pauses]
            a, b = pauses[int(np.argmax(areas))]
            low, high = (begin + (first + int(edge)) * vad.FRAME_SAMPLES for edge in (a, b))
        return _quietest(levels, low, high)

    return pause


def _quietest(levels: np.ndarray, low: int, high: int) -> int:
    """The middle of the quietest 10 ms frame that lies within the samples [low, high]; `low` when none does."""
    first, last = -(-low // HOP_SAMPLES), high // HOP_SAMPLES
    if last <= first:
        return low
    return (first + int(levels[first:last].argmin())) * HOP_SAMPLES + HOP_SAMPLES // 2


def _overlap(spans: np.ndarray, start: int, stop: int) -> int:
    """How many samples of [start, stop) lie in `spans`."""
    first, last = np.searchsorted(spans[:, 1], start, side="right"), np.searchsorted(spans[:, 0], stop)
    inside = spans[first:last]
    return int((np.minimum(inside[:, 1], stop) - np.maximum(inside[:, 0], start)).sum())


@dataclass(frozen=True)
class _Candidate:
    """A chunk that is kept if it holds speech, with its `speech_samples` as of pass 1.

    `origin` is the sample where its passage begins: a quiet voice needs a run-up.
    """

    chunk: Chunk
    origin: int
    speech_samples: int


class _Judge:
    """Keeps the candidates of which at least `min_share` of the 32 ms frames hold speech.

    The loudest stretch of each is heard first: speech in that alone is usually enough, and spares the VAD most of its
    work. Only then all of it, with what its passage holds before. First stretches are heard many at once.
    """

    def __init__(self, levels: np.ndarray, waveform: np.ndarray, min_share: float) -> None:
        self._levels, self._waveform, self._min_share = levels, waveform, min_share
        self._waiting: list[_Candidate] = []
        self._waiting_samples = 0
        self._chunks: list[Chunk] = []
        self._kept = self._lost = 0

    def add(self, candidate: _Candidate) -> None:
        """The next candidate; they ascend."""
        self._waiting.append(candidate)
        self._waiting_samples += self._first_samples(candidate.chunk)
        if self._waiting_samples >= _HEARD_AT_ONCE:
            self._decide()

    def kept_until(self, sample: int) -> int:
        """Where the last kept chunk ends, or any number up to `sample` if it ends no later than that."""
        if self._waiting and self._waiting[-1].chunk.stop_sample > sample:
            self._decide()
        return self._chunks[-1].stop_sample if self._chunks else 0

    def verdict(self) -> tuple[tuple[Chunk, ...], int, int]:
        """The chunks kept, and the samples of speech in them and in the others."""
        self._decide()
        return tuple(self._chunks), self._kept, self._lost

    def _decide(self) -> None:
        gains = [self._gain(candidate.chunk) for candidate in self._waiting]
        needed = [self._needed(candidate.chunk) for candidate in self._waiting]
        first = [self._first(*heard) for heard in zip(self._waiting, gains, strict=True)]
        at_once = vad_batch.hold_speech(first, needed)
        for candidate, gain, stretch, need, answer in zip(self._waiting, gains, first, needed, at_once, strict=True):
            if answer is None:
                answer = vad.holds_speech(stretch, need)
            if answer or self._holds_speech(candidate, gain, need):
                self._chunks.append(candidate.chunk)
                self._kept += candidate.speech_samples
            else:
                self._lost += candidate.speech_samples
        self._waiting.clear()
        self._waiting_samples = 0

    def _gain(self, chunk: Chunk) -> np.float32:
        inside = self._levels[chunk.start_sample // HOP_SAMPLES : -(-chunk.stop_sample // HOP_SAMPLES)]
        if np.count_nonzero(inside > _VAD_DEAF_DBFS + 1) > 0.06 * len(inside) + 2:  # so the percentile is above it, too
            return np.float32(1.0)
        loud = float(np.percentile(inside, 95))
        return np.float32(10 ** ((_VAD_LEVEL_DBFS - loud) / 20) if loud < _VAD_DEAF_DBFS else 1.0)

    def _needed(self, chunk: Chunk) -> int:
        return math.ceil(self._min_share * (-(-(chunk.stop_sample - chunk.start_sample) // vad.FRAME_SAMPLES)))

    def _first_samples(self, chunk: Chunk) -> int:
        return (self._needed(chunk) + _VAD_SPARE_FRAMES) * vad.FRAME_SAMPLES

    def _first(self, candidate: _Candidate, gain: np.float32) -> np.ndarray:
        start, stop = candidate.chunk.start_sample, candidate.chunk.stop_sample
        length = self._first_samples(candidate.chunk)
        first = _loudest(self._levels, start, stop, length)
        return gain * self._waveform[first : min(first + length, stop)]

    def _holds_speech(self, candidate: _Candidate, gain: np.float32, needed: int) -> bool:
        start, stop = candidate.chunk.start_sample, candidate.chunk.stop_sample
        lead = min(start - candidate.origin, _VAD_RUN_UP_SAMPLES) // vad.FRAME_SAMPLES
        heard = gain * self._waveform[start - lead * vad.FRAME_SAMPLES : stop]
        return vad.holds_speech(heard, needed, skip=lead)


def _loudest(levels: np.ndarray, start: int, stop: int, length: int) -> int:
    """Where in the samples [start, stop) a stretch of `length` samples has the highest mean level in dB."""
    inside = np.cumsum(levels[start // HOP_SAMPLES : stop // HOP_SAMPLES], dtype=np.float64)
    n_frames = length // HOP_SAMPLES
    if len(inside) <= n_frames:
        return start
    return start + int((inside[n_frames:] - inside[:-n_frames]).argmax()) * HOP_SAMPLES
