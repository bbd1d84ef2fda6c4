"""When in a recording the evidence lies: additive parts of the score on a 20 ms grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfake.audio.vad import FRAME_SAMPLES
from deepfake.audio.windows import Window
from deepfake.labels import LABELS
from deepfake.models.windows import WindowScore
from deepfake.text import fake_probability

BIN_SAMPLES = 320  # 20 ms at 16 kHz, the frame of most speech encoders
BIN_S = 0.02
SMOOTHING_S = 0.5  # about two syllables; single frames are far noisier than what they add up to
MIN_SEGMENT_S = 0.3  # shorter stretches of one class join what they touch


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording judged as one: `label` "real" or "fake", and its mean P(fake)."""

    start_s: float
    stop_s: float
    label: str
    fake_probability: float


class Timeline:
    """Collects the frames of each window into 20 ms bins; about 5 MB for an hour of audio.

    Frame t of window w, with T_w frames, adds evidence[t] / T_w to the window's logit, and with W windows
    evidence[t] / (T_w · W) to the file's. Bins hold these parts, so that they add up to the file's score exactly,
    whatever the overlap. Frames of a model that hears a fixed 30 s belong to no bin beyond the recording's end; their
    part is kept as `padding`.
    """

    def __init__(self, frame_stride: int | None = None) -> None:
        self._stride = frame_stride
        self._bins = 0  # used, of the arrays' capacity
        self._parts = np.zeros(1024)  # sum of evidence / T_w
        self._evidence = np.zeros(1024)  # sum of evidence
        self._counts = np.zeros(1024, dtype=np.int32)  # of frames
        self._padding = 0.0
        self._windows = 0

    def emptied(self) -> Timeline:
        """A new one of the same model."""
        return Timeline(self._stride)

    def add(self, window: Window, score: WindowScore, finer: bool = False) -> None:
        """Add the frames of one scored window; one logit for all of it where the model gives no frames.

        Args:
            window: where it lies.
            score: its logit and frames.
            finer: the evidence comes by `add_evidence`; add only what the window contributes to the score.
        """
        self._windows += 1
        bins = -(-len(window.samples) // BIN_SAMPLES)
        frames = np.full(bins, score.logit) if score.frames is None else score.frames
        stride = self._stride if score.frames is not None and self._stride else len(window.samples) / len(frames)
        centres = (np.arange(len(frames)) + 0.5) * stride
        inside = centres < len(window.samples) + stride
        last = (window.stop - 1) // BIN_SAMPLES
        where = np.minimum((window.start + centres[inside]) // BIN_SAMPLES, last).astype(np.int64)
        self._grow(last + 1)
        np.add.at(self._parts, where, frames[inside] / len(frames))
        if not finer:
            np.add.at(self._evidence, where, frames[inside])
            np.add.at(self._counts, where, 1)
        self._padding += float(frames[~inside].sum()) / len(frames)

    def add_evidence(self, window: Window, logit: float) -> None:
        """The logit of a short window, which says more about its 20 ms bins than the long one around it."""
        first, last = window.start // BIN_SAMPLES, -(-window.stop // BIN_SAMPLES)
        self._grow(last)
        self._evidence[first:last] += logit
        self._counts[first:last] += 1

    @property
    def contributions(self) -> np.ndarray:
        """float64 of shape (bins,): what each 20 ms adds to the file's logit; with `padding` they sum to it."""
        return self._parts[: self._bins] / max(1, self._windows)

    @property
    def padding(self) -> float:
        """What frames beyond the recording's end add to the file's logit; 0.0 but for models of fixed length."""
        return self._padding / max(1, self._windows)

    @property
    def logits(self) -> np.ndarray:
        """float64 of shape (bins,): mean evidence of the frames in each 20 ms; NaN where nothing was scored."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._evidence[: self._bins] / self._counts[: self._bins]

    def smooth_logits(self, speech_flags: bytes | bytearray = b"") -> np.ndarray:
        """`logits` averaged over `SMOOTHING_S`; NaN where nothing was scored or, if given, where there is no speech.

        Args:
            speech_flags: one byte for each 32 ms, as in `SpeechTrack.flags`.
        """
        width = round(SMOOTHING_S / BIN_S) | 1
        kernel = np.ones(width)
        scored = self._counts[: self._bins] > 0
        if len(speech_flags):
            scored = scored & speech_bins(speech_flags, len(scored))
        values = np.where(scored, self.logits, 0.0)
        if len(values) == 0:
            return values
        total = np.convolve(values, kernel, "full")[width // 2 :][: len(values)]
        count = np.convolve(scored, kernel, "full")[width // 2 :][: len(values)]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(scored, total / count, np.nan)

    def _grow(self, bins: int) -> None:
        self._bins = max(self._bins, bins)
        if bins > len(self._parts):  # by doubling, or ten hours would be copied thousands of times
            missing = max(bins, 2 * len(self._parts)) - len(self._parts)
            self._parts = np.pad(self._parts, (0, missing))
            self._evidence = np.pad(self._evidence, (0, missing))
            self._counts = np.pad(self._counts, (0, missing))


def speech_bins(flags: bytes | bytearray, bins: int) -> np.ndarray:
    """Frames of 32 ms with speech as bool of shape (bins,) on the 20 ms grid; short pauses (0.2 s) count as speech."""
    frames = np.frombuffer(bytes(flags), dtype=np.uint8)
    if len(frames) == 0:
        return np.zeros(bins, dtype=bool)
    centres = np.minimum((np.arange(bins) * BIN_SAMPLES + BIN_SAMPLES // 2) // FRAME_SAMPLES, len(frames) - 1)
    reach = 3  # frames, about 0.1 s on either side
    near = (
        np.convolve(frames, np.ones(2 * reach + 1), "same")
        if len(frames) > 2 * reach
        else np.repeat(frames.max(), len(frames))
    )
    return near[centres] > 0


def segments(logits: np.ndarray, threshold: float) -> list[Segment]:
    """Stretches of one decision: P(fake) of the smoothed curve at or above the threshold, or below.

    Args:
        logits: smoothed, of shape (bins,); NaN separates stretches.
        threshold: as a probability.
    """
    probabilities = fake_probability(logits)
    classes = np.where(np.isnan(logits), -1, probabilities >= threshold).astype(int)
    minimum = round(MIN_SEGMENT_S / BIN_S)
    found: list[list[int]] = []  # start, stop, class
    for start, stop in _runs(classes):
        touching = bool(found) and found[-1][1] == start and classes[start] >= 0
        if touching and (stop - start < minimum or found[-1][2] == classes[start]):
            found[-1][1] = stop
        elif touching and found[-1][1] - found[-1][0] < minimum:  # a short first one
            found[-1][1:] = [stop, int(classes[start])]
        elif classes[start] >= 0:
            found.append([start, stop, int(classes[start])])
    return [
        Segment(start * BIN_S, stop * BIN_S, LABELS[kind], float(probabilities[start:stop].mean()))
        for start, stop, kind in found
    ]


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    if len(values) == 0:
        return []
    edges = np.flatnonzero(np.diff(values)) + 1
    return list(zip([0, *edges.tolist()], [*edges.tolist(), len(values)], strict=True))
