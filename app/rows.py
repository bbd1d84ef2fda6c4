"""From an analysis and an operating point to a row of the API."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from scipy import stats

from app.facts import results_of
from app.jobs import Job
from app.schemas import (
    Detail,
    Interval,
    JobAnswer,
    JobFile,
    OperatingPoint,
    Picture,
    Row,
    SegmentAnswer,
    WarningAnswer,
    WindowAnswer,
)
from app.service import Analysis
from deepfake.audio.decode import SAMPLING_RATE
from deepfake.errors import UserError
from deepfake.metrics.decisions import ABSTAIN_NAME, DEFAULT_NAME
from deepfake.scoring.audio_facts import MIN_EVIDENCE_S, AudioWarning
from deepfake.scoring.decision import STORED, Decision, decide_by
from deepfake.scoring.detector import Detector
from deepfake.scoring.result import Score
from deepfake.scoring.timeline import BIN_S, Segment, segments
from deepfake.text import fake_probability

_COLUMNS = 1500  # of a timeline, at most


class Points:
    """The operating points of a detector, by name."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._stored = detector.checkpoint.stored
        self._measured = _measured_at_threshold(detector)
        points = self._stored.get("operating_points", {})
        names = sorted(points, key=lambda name: points[name]["threshold"])
        if names and self._stored.get("abstention"):
            names.append(ABSTAIN_NAME)
        stored = [STORED] if "threshold" in self._stored and DEFAULT_NAME not in points else []
        self._own = detector.decision.name
        self.all = [self.get(name)[1] for name in dict.fromkeys([self._own, *stored, *names])]

    def get(self, name: str | None = None) -> tuple[Decision, OperatingPoint]:
        """The rule of a point and its facts; None or "": what the server was started with.

        Raises:
            UserError: there is none of this name; the sentence says which there are.
        """
        own = self._detector.decision
        if not name or name == self._own:
            return own, self._facts(self._own, own)
        if len(name) > 60 or not name.isprintable():
            raise UserError("the operating point's name is too long or holds control characters")
        decision = decide_by(self._stored, None, None if name == STORED else name)
        return decision, self._facts(name, decision)

    def _facts(self, name: str, decision: Decision) -> OperatingPoint:
        values = self._stored.get("operating_points", {}).get(name) or (self._measured if name == STORED else {})
        rule = self._stored.get("threshold_rule") if name == STORED else values.get("rule")
        if name == ABSTAIN_NAME:
            band = self._stored["abstention"]
            rule = (
                f"outside the bounds at most {100 * band['max_error']:g} % of either class are wrong, promised with "
                f"{100 * band['confidence']:g} % confidence for recordings like those of validation"
            )
        facts = {key: values.get(key) for key in ("fpr", "fnr", "n_real", "n_fake")}
        return OperatingPoint(
            name=name,
            threshold=decision.threshold,
            real_below=decision.real_below,
            fpr_interval=_interval(facts["fpr"], facts["n_real"]),
            fnr_interval=_interval(facts["fnr"], facts["n_fake"]),
            rule=rule,
            supported=bool(values.get("supported", True)),
            note=values.get("note") or decision.note,
            **facts,
        )


def _measured_at_threshold(detector: Detector) -> dict[str, float | int | None]:
    """Validation's error rates at the stored threshold, from the results beside the checkpoint; empty without them."""
    results = results_of(detector)
    judged = results and results.judgement.sets.get(detector.checkpoint.stored.get("threshold_split"))
    if not judged or judged.confusion is None:
        return {}
    c = judged.confusion
    rates = {"fpr": judged.value("fpr"), "fnr": judged.value("fnr")}
    return rates | {"n_real": c.tn + c.fp, "n_fake": c.tp + c.fn}


@lru_cache(maxsize=256)
def _interval(rate: float | None, n: int | None) -> Interval | None:
    if rate is None or not n:
        return None
    count = round(rate * n)
    low = 0.0 if count == 0 else float(stats.beta.ppf(0.025, count, n - count + 1))
    high = 1.0 if count == n else float(stats.beta.ppf(0.975, count + 1, n - count))
    return Interval(low=low, high=high)


def row_of(
    analysis: Analysis, detector: Detector, decision: Decision, point: OperatingPoint, detail: Detail = "segments"
) -> Row:
    """A recording's row, decided by `decision`."""
    result = analysis.result
    score = detector.row(result, analysis.name)
    track = result.reading.track
    speech_s = track.speech_s(0, track.samples) if track.samples else None
    row = plain_row(score, decision, point, speech_s)
    row.channel = analysis.channel
    row.warnings = warning_answers(analysis.warnings)
    if score.error is not None:
        return row
    scored = sorted(result.scored, key=lambda window: window.start)
    row.window_scores = [
        WindowAnswer(
            start_s=w.start / SAMPLING_RATE, stop_s=w.stop / SAMPLING_RATE, fake_probability=fake_probability(w.logit)
        )
        for w in scored
    ]
    agreeing = [decision.prediction(window.fake_probability) == row.prediction for window in row.window_scores]
    row.agreeing_windows = sum(agreeing) / len(agreeing)
    if analysis.curve is not None and detail != "score":
        row.segments = [
            SegmentAnswer(
                start_s=round(s.start_s, 2), stop_s=round(s.stop_s, 2),
                label="uncertain" if _between(s, decision) else s.label, fake_probability=s.fake_probability,
            )
            for s in segments(analysis.curve, decision.threshold)
        ]  # fmt: skip
        if detail == "full":
            row.picture = _picture(analysis)
    return row


def warning_answers(found: Iterable[AudioWarning]) -> list[WarningAnswer]:
    """As sentences."""
    return [WarningAnswer(code=w.code, text=w.sentence) for w in found]


def _between(segment: Segment, decision: Decision) -> bool:
    """Whether a passage below the threshold is above the lower bound of `abstain`."""
    return segment.label == "real" and segment.fake_probability >= decision.real_below < decision.threshold


def plain_row(score: Score, decision: Decision, point: OperatingPoint, speech_s: float | None) -> Row:
    """A `Score` as a row, decided by `decision`; without what only a whole analysis tells."""
    prediction = None if score.fake_probability is None else decision.prediction(score.fake_probability)
    unsure = prediction in (None, "uncertain") or (speech_s is not None and speech_s < MIN_EVIDENCE_S)
    return Row(
        file=score.path,
        fake_probability=score.fake_probability,
        prediction=prediction,
        verdict="cannot_tell" if unsure else prediction,
        threshold=decision.threshold,
        operating_point=point,
        duration_s=score.duration_s,
        speech_s=speech_s,
        windows=score.windows,
        max_window=score.max_window,
        sentence=sentence(score.fake_probability, prediction),
        error=score.error,
    )


def confidence(fake_probability: float, prediction: str) -> float:
    """P of the class that was named; of the likelier one where none was."""
    if prediction == "uncertain":
        return max(fake_probability, 1 - fake_probability)
    return fake_probability if prediction == "fake" else 1 - fake_probability


def sentence(fake_probability: float | None, prediction: str | None) -> str:
    """ "The audio is classified as Fake with 97.89% confidence.", where there is something to say."""
    if fake_probability is None or prediction not in ("fake", "real"):
        return "The audio could not be classified."
    share = confidence(fake_probability, prediction)
    return f"The audio is classified as {prediction.capitalize()} with {100 * share:.2f}% confidence."


def job_of(job: Job, rows: list[Row]) -> JobAnswer:
    files = [JobFile(file=t.name, channel=t.reading.channel, progress=t.progress) for t in job.tasks]
    return JobAnswer(id=job.key, status="done" if job.done else "running", files=files, rows=rows)


def _picture(analysis: Analysis) -> Picture:
    """Curve and peaks in at most `_COLUMNS` columns."""
    result, curve = analysis.result, analysis.curve
    peaks = np.concatenate(result.reading.peaks or [np.zeros(1, np.float32)])
    bins = len(peaks)
    joined = -(-bins // _COLUMNS)
    columns = -(-bins // joined)
    padded = np.full(columns * joined, np.nan)
    padded[: min(bins, len(curve))] = curve[:bins]
    known = ~np.isnan(padded.reshape(columns, joined))
    total = np.where(known, padded.reshape(columns, joined), 0).sum(axis=1)
    probability = [
        fake_probability(float(t / n)) if n else None for t, n in zip(total, known.sum(axis=1), strict=True)
    ]  # fmt: skip
    highest = np.pad(peaks, (0, columns * joined - bins)).reshape(columns, joined).max(axis=1)
    levels = analysis.listener.spectrogram.levels()
    return Picture(
        column_s=joined * BIN_S,
        fake_probability=[None if p is None else round(p, 4) for p in probability],
        peaks=[round(float(peak), 4) for peak in highest],
        spectrogram=base64.b64encode(levels.tobytes()).decode(),
    )
