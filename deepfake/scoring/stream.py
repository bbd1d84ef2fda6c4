"""`StreamingDetector`: samples as they come in, a running verdict out, and at the end the score of `Detector`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import soxr

from deepfake.audio.decode import SAMPLING_RATE, AudioError
from deepfake.audio.windows import Window, in_pieces
from deepfake.models.windows import WindowScore
from deepfake.scoring.audio_facts import AudioWarning, warnings_of
from deepfake.scoring.detector import Detector
from deepfake.scoring.engine import Result
from deepfake.scoring.reading import Reading, SpeechWindows
from deepfake.scoring.result import Score
from deepfake.text import fake_probability


@dataclass(frozen=True)
class Verdict:
    """What is known of a stream so far.

    Attributes:
        score: of everything heard; its `duration_s` is how much that is.
        start_s, stop_s: the newest window with speech.
        window_fake_probability: P(fake) of that window alone.
        provisional: that window is still being heard. `score` is then what `Detector.score` gives for a recording that
            ends here. Otherwise the window is complete, and `score` rests on the complete windows.
    """

    score: Score
    start_s: float
    stop_s: float
    window_fake_probability: float
    provisional: bool


class StreamingDetector:
    """Scores one recording that is still going on.

    Whatever the pieces, `finish` gives what `Detector.score` gives for all samples at once. Memory holds two windows,
    and for each hour 112 kB of speech flags and one small record a window.

    Args:
        detector: shared by any number of streams and threads.
        sampling_rate: of the samples, in hertz.
        name: to report the recording under.
        update_s: seconds of audio from one provisional verdict to the next, each for one more forward pass of the
            model; None: verdicts for complete windows only.
        speech_detection: see `deepfake.scoring.options.ScoringOptions`; default: as the detector has it.
    """

    def __init__(
        self,
        detector: Detector,
        sampling_rate: int = SAMPLING_RATE,
        *,
        name: str = "",
        update_s: float | None = 1.0,
        speech_detection: str | None = None,
    ) -> None:
        self._detector = detector
        self._resampler = None
        if sampling_rate != SAMPLING_RATE:
            self._resampler = soxr.ResampleStream(sampling_rate, SAMPLING_RATE, 1, dtype="float32", quality="HQ")
        plan = detector.plan
        self._most = plan.window
        self._reading = Reading.of(name, speech_detection or detector.options.speech_detection)
        self._result = Result(self._reading)
        self._windows = SpeechWindows(plan.window, plan.hop, self._reading.track)
        self._update = None if update_s is None else round(update_s * SAMPLING_RATE)
        self._updated = 0  # the sample of the newest verdict
        self._ended = False

    @property
    def heard_s(self) -> float:
        """Seconds of audio heard."""
        return self._reading.duration_s

    @property
    def warnings(self) -> tuple[AudioWarning, ...]:
        """What is known by now of its speech that makes the score less sure."""
        return warnings_of(None, self._reading.track)

    @property
    def speech_s(self) -> float:
        """Seconds of speech heard, of the frames that are whole."""
        return self._reading.track.speech_s(0, self._reading.track.samples)

    def feed(self, samples: np.ndarray) -> list[Verdict]:
        """Hear the next samples.

        Args:
            samples: mono float samples of shape (samples,), any number, full scale 1.

        Returns:
            one verdict for each window with speech that is complete by them. Then, when `update_s` has passed since
            the verdict before and there is speech, a provisional one: of the newest second only, so that whoever is
            late, and feeds a minute at once, catches up.

        Raises:
            AudioError: a sample is NaN or infinite.
            ValueError: another shape or type, or the stream was finished.
        """
        if self._ended:
            raise ValueError("the stream was finished; a new recording needs a new StreamingDetector")
        if samples.ndim != 1 or samples.dtype.kind != "f":
            raise ValueError(f"samples are {samples.dtype} of shape {samples.shape}; expected mono floats, (samples,)")
        if not np.isfinite(samples).all():
            raise AudioError("contains NaN or infinite samples")
        verdicts = self._push(self._at_our_rate(samples.astype(np.float32, copy=False)))
        track = self._reading.track
        if self._update is not None and track.samples - self._updated >= self._update:
            verdicts += self._provisional()
        return verdicts

    def finish(self) -> Score:
        """The recording's score, equal to `Detector.score` of all samples.

        Raises:
            AudioError: too short, `no_speech`, or the model's output is not finite.
            ValueError: the stream was finished before.
        """
        if self._ended:
            raise ValueError("the stream was finished before")
        self._push(self._at_our_rate(np.zeros(0, np.float32), last=True))
        self._ended = True
        self._add(self._result, self._windows.finish())
        score = self._detector.row(self._result)
        if score.error is not None:
            raise AudioError(score.error)
        return score

    def _at_our_rate(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        return samples if self._resampler is None else self._resampler.resample_chunk(samples, last=last)

    def _push(self, samples: np.ndarray) -> list[Verdict]:
        verdicts = []
        for piece in in_pieces([samples], self._most):
            for window in self._windows.push(piece):
                self._add(self._result, [window])
                verdicts.append(self._verdict(self._result, provisional=False))
        return verdicts

    def _provisional(self) -> list[Verdict]:
        ahead = self._windows.ahead()
        if not ahead:
            return []
        result = replace(self._result, scored=list(self._result.scored[-1:]))
        self._add(result, ahead)
        return [self._verdict(result, provisional=True)]

    def _add(self, result: Result, windows: list[Window]) -> None:
        if not windows:
            return
        logits = self._detector.fake_logits([window.samples for window in windows])
        for window, logit in zip(windows, logits, strict=True):
            result.add(window, WindowScore(float(logit), None))

    def _verdict(self, result: Result, provisional: bool) -> Verdict:
        self._updated = self._reading.track.samples
        newest = result.scored[-1]
        times = newest.start / SAMPLING_RATE, newest.stop / SAMPLING_RATE
        return Verdict(self._detector.row(result), *times, fake_probability(newest.logit), provisional)
