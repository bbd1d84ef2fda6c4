"""The typed answers of the API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.listening import BANDS
from deepfake.audio.decode import SAMPLING_RATE
from deepfake.scoring.audio_facts import MIN_EVIDENCE_S

Probability = Annotated[float, Field(ge=0, le=1)]
Detail = Literal["score", "segments", "full"]
Channels = Literal["mix", "each"]
SpeechDetection = Literal["auto", "off"]


class Interval(BaseModel):
    """95 % interval, exact for independent clips (Clopper and Pearson 1934)."""

    low: Probability
    high: Probability


class OperatingPoint(BaseModel):
    """A decision threshold, and what it got wrong on the validation clips; null where that is not recorded."""

    name: str
    threshold: Probability = Field(description="fake from this fake_probability on")
    real_below: Probability = Field(description="below the threshold only for `abstain`, which says uncertain between")
    fpr: Probability | None = Field(None, description="share of real recordings called fake")
    fnr: Probability | None = Field(None, description="share of fakes called real")
    fpr_interval: Interval | None = None
    fnr_interval: Interval | None = None
    n_real: int | None = None
    n_fake: int | None = None
    rule: str | None = None
    supported: bool = True
    note: str | None = None


class SegmentAnswer(BaseModel):
    start_s: float
    stop_s: float
    label: Literal["real", "fake", "uncertain"]
    fake_probability: Probability


class WindowAnswer(BaseModel):
    start_s: float
    stop_s: float
    fake_probability: Probability


class WarningAnswer(BaseModel):
    code: str
    text: str


class Picture(BaseModel):
    """For drawing: columns of `column_s` seconds. Levels are 0 to 255, `bands` a column, low frequencies first."""

    column_s: float
    fake_probability: list[Probability | None]
    peaks: list[float]
    spectrogram: str = Field(description="base64 of unsigned bytes, column after column")
    bands: int = BANDS
    max_hz: int = SAMPLING_RATE // 2


class Row(BaseModel):
    """One recording, or one channel of it. What could not be scored has an `error` and no `fake_probability`."""

    file: str
    channel: int | None = Field(None, description="counted from 0; null: the mean of all channels")
    fake_probability: Probability | None
    prediction: Literal["fake", "real", "uncertain"] | None
    verdict: Literal["fake", "real", "cannot_tell"] = Field(
        description=f"cannot_tell: no speech, less than {MIN_EVIDENCE_S} s of it, or between the bounds of `abstain`"
    )
    threshold: Probability
    operating_point: OperatingPoint
    duration_s: float | None
    speech_s: float | None = None
    windows: int
    max_window: Probability | None
    agreeing_windows: Probability | None = Field(None, description="share of windows that, alone, get its prediction")
    segments: list[SegmentAnswer] = []
    window_scores: list[WindowAnswer] = []
    warnings: list[WarningAnswer] = []
    sentence: str
    error: str | None = None
    picture: Picture | None = None


class ScoreAnswer(BaseModel):
    rows: list[Row]


class JobFile(BaseModel):
    file: str
    channel: int | None = None
    progress: Probability | None = Field(None, description="share that was read; null while the length is not known")


class JobAnswer(BaseModel):
    """A job's `id` is its only key: keep it to yourself."""

    id: str
    status: Literal["running", "done"]
    files: list[JobFile]
    rows: list[Row] = Field([], description="those that are done, in the order of the files")


class Problem(BaseModel):
    """Why there is no answer; `rows` say it for each file where the reasons lie in the files."""

    detail: str
    rows: list[Row] = []
