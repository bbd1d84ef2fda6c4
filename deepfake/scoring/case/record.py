"""case.json: everything that a report on recordings says. Nothing in it depends on when or where it was made."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Part:
    """A chunk or box of a file, in its order: `name` as it stands there, `size` of it in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class Container:
    """What a file says it is.

    Attributes:
        name: of the container, as FFmpeg calls it. codec: of the audio. sampling_rate: in hertz.
        sample_format: FFmpeg's name of the decoded samples' form.
        bit_rate: in bit/s; None where the stream does not say. stated_s: duration by its header, None likewise.
        streams: of audio, video, subtitles and data.
        tags: (place, name, value) of all metadata, the place being "file" or the stream's number and kind.
        parts: chunks of RIFF and boxes of MP4 files on the top level; empty for others.
    """

    name: str
    codec: str
    sampling_rate: int
    channels: int
    sample_format: str | None = None
    bit_rate: int | None = None
    stated_s: float | None = None
    streams: tuple[str, ...] = ()
    tags: tuple[tuple[str, str, str], ...] = ()
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Examined:
    """One thing that was looked for: `what`, and what was `found`, None for nothing. `weight`: "note" or "trace"."""

    what: str
    found: str | None
    weight: str = "note"


@dataclass(frozen=True)
class Passage:
    """A stretch of speech judged as one, in seconds; `label` "real" or "fake"."""

    start_s: float
    stop_s: float
    label: str
    fake_probability: float


@dataclass(frozen=True)
class Curve:
    """Where in a recording the evidence is, in equal columns over its duration.

    Attributes:
        loudness: the highest absolute sample of each, full scale = 1.
        fake_probability: of each; None where nobody speaks.
    """

    loudness: tuple[float, ...]
    fake_probability: tuple[float | None, ...]


@dataclass(frozen=True)
class Finding:
    """What the detector says of a recording, or of one channel of it.

    Attributes:
        channel: counted from 0; None for the mean of all.
        headline: the verdict in words. meaning: what it does and does not say.
        fake_probability, prediction, windows, agreeing, max_window: None and 0 where there is an `error`.
        speech_s: seconds of it that are speech.
        ratio, favours, strength, capped: the likelihood ratio, see `deepfake.metrics.strength.Statement`; None where
            the detector supports no such statement. statement: the same in words.
        passages, curve: of the timeline.
        warnings: what makes the score less sure.
        error: why there is no score.
    """

    channel: int | None
    headline: str
    meaning: str = ""
    fake_probability: float | None = None
    prediction: str | None = None
    windows: int = 0
    agreeing: int = 0
    max_window: float | None = None
    duration_s: float | None = None
    speech_s: float | None = None
    ratio: float | None = None
    favours: str | None = None
    strength: str | None = None
    capped: bool | None = None
    statement: str | None = None
    passages: tuple[Passage, ...] = ()
    curve: Curve | None = None
    warnings: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class CaseFile:
    """One file.

    Attributes:
        name: relative to what was named on the command line. size: in bytes. sha256: of the file.
        audio_sha256: of the decoded sound, the mean of the channels at 16 kHz as 32-bit little-endian floats, before
            anything else is done to it; None where it cannot be decoded. samples: how many.
        container: None where no audio is found. examined: in the file and its metadata.
        findings: by channel.
    """

    name: str
    size: int
    sha256: str
    audio_sha256: str | None
    samples: int
    container: Container | None
    examined: tuple[Examined, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Decided:
    """The rule of the verdicts: operating point and what it got wrong where that was measured, all as shares.

    Attributes:
        fpr, fnr: lowest and highest share of human recordings called fake, and of fakes missed; None where nothing was
            measured. fpr_upper: upper bound of the first at `confidence`.
        note: what validation could not promise.
        lowest_ratio, highest_ratio: likelihood ratios that validation supports; None where it supports none.
    """

    operating_point: str
    threshold: float
    real_below: float
    note: str | None = None
    fpr: tuple[float, float] | None = None
    fnr: tuple[float, float] | None = None
    fpr_upper: float | None = None
    confidence: float | None = None
    n_real: int | None = None
    n_fake: int | None = None
    measured_on: str | None = None
    lowest_ratio: float | None = None
    highest_ratio: float | None = None


@dataclass(frozen=True)
class Instrument:
    """What the recordings were examined with.

    Attributes:
        model: its folder's name or Hub id. weights_sha256: of its weights, all files of them together.
        files: name and SHA-256 of each file of weights and code in the folder; empty for a Hub id.
        options: of scoring. software: versions by name.
    """

    model: str
    weights_sha256: str
    class_of_fakes: str
    window_s: float
    hop_s: float
    options: dict[str, str]
    software: dict[str, str]
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Case:
    """The whole report.

    Attributes:
        title: given by whoever asked for it. date: likewise, in their words; None where they gave none.
        complete: whether every file that was listed is in it; not after Ctrl-C.
        not_examined: what nothing here says anything about.
    """

    title: str
    date: str | None
    complete: bool
    files: tuple[CaseFile, ...]
    decided: Decided
    instrument: Instrument
    not_examined: tuple[str, ...] = field(default_factory=tuple)
