"""Recordings and a detector → the report on them."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import av
import numpy as np

from deepfake.audio.files import AudioFile, readable_name
from deepfake.judging.freeze import hash_of_file
from deepfake.scoring.case.container import audio_hash, container_facts
from deepfake.scoring.case.record import Case, CaseFile, Curve, Decided, Examined, Finding, Instrument, Passage
from deepfake.scoring.case.structure import read_structure
from deepfake.scoring.case.traces import examine
from deepfake.scoring.detector import Detector
from deepfake.scoring.engine import Result
from deepfake.scoring.progress import Progress
from deepfake.scoring.record import Record
from deepfake.scoring.timeline import segments
from deepfake.scoring.verdict import headline, heard, meaning, stated_strength, windows_agreeing
from deepfake.text import fake_probability
from deepfake.version import project_version

_COLUMNS = 400  # of a curve
_DIGITS = 4  # of probabilities: another machine may differ in later ones
_DECIDING = (".safetensors", ".onnx", ".bin", ".data", ".xml", ".py")  # weights, graphs, code beside them
_SOFTWARE = ("torch", "transformers", "numpy", "av", "soxr", "silero-vad", "onnxruntime", "safetensors")
NOT_EXAMINED = (
    "who speaks, and whether what is said is true",
    "whether the sound was cut, joined or rearranged: only the file's metadata and structure were searched for that",
    "watermarks in the sound itself, such as those that some makers of synthetic speech put there",
    "the signatures of content credentials: they are reported where they are, and not verified",
    "pauses, music and noise: the detector hears stretches with speech only",
    "pictures and video",
    "how the file came to whoever handed it in, and the dates that the file system keeps",
)


def examine_files(
    detector: Detector, files: Iterable[AudioFile], title: str = "Examination of recordings", date: str | None = None
) -> Case:
    """Examine files one after the other. Ctrl-C ends the list early: what was finished is in the report.

    Args:
        detector: how they are scored.
        title, date: to be printed as they are.
    """
    done: list[CaseFile] = []
    complete = False
    # A file is a minute's work or less; the report of those that were finished is worth having.
    with contextlib.suppress(KeyboardInterrupt), Progress() as bar:
        for file in files:
            done.append(examine_file(detector, file))
            bar.finished()
        complete = True
    return Case(title, date, complete, tuple(done), decided_by(detector), instrument(detector), NOT_EXAMINED)


def examine_file(detector: Detector, file: AudioFile) -> CaseFile:
    """One file: its bytes, its container, its metadata, and what the detector says of it or of each channel."""
    name = readable_name(file.name)
    if not isinstance(file.path, Path):
        why = "lies elsewhere; copy it here first, so that its hash and its sound are of one file"
        return CaseFile(name, 0, "", None, 0, None, (), (_failed(None, why),))
    try:
        structure = read_structure(file.path)
    except OSError as error:
        why = f"cannot be read ({error.strerror or error})"
        return CaseFile(name, 0, "", None, 0, None, (), (_failed(None, why),))
    container = container_facts(file.path, structure)
    digest, samples = audio_hash(file.path)
    readings = detector.readings_of(file.path, with_timeline=True)
    findings = tuple(_finding(detector, result) for result in detector.analyse_readings(readings, with_timeline=True))
    examined = (*examine(structure, container), _stated(findings))
    return CaseFile(name, structure.size, structure.sha256, digest, samples, container, examined, findings)


def decided_by(detector: Detector) -> Decided:
    """The rule of the verdicts, with what is known of its errors."""
    decision, rates = detector.decision, detector.decision.rates
    limits = None if decision.scale is None else decision.scale.limits
    measured = {}
    if rates is not None:
        names = ("fpr", "fnr", "fpr_upper", "confidence", "n_real", "n_fake", "measured_on")
        measured = {name: getattr(rates, name) for name in names}
    return Decided(
        operating_point=decision.name,
        threshold=round(decision.threshold, 6),
        real_below=round(decision.real_below, 6),
        note=decision.note,
        lowest_ratio=None if limits is None else limits.lowest_lr,
        highest_ratio=None if limits is None else limits.highest_lr,
        **measured,
    )


def instrument(detector: Detector) -> Instrument:
    """The detector and the software, without a place on this machine. Reads all weights once."""
    made, options = Record.of(detector), detector.options
    folder = Path(made.model)
    names = ("precision", "channels", "speech_detection", "layers", "timeline_window_s")
    told = {name: getattr(options, name) for name in names}
    # What runs without PyTorch runs on the processor.
    told |= {"backend": detector.backend, "device": str(getattr(detector.checkpoint.model, "device", "cpu"))}
    software = {"speech-deepfake-detection": project_version(), "python": platform.python_version()}
    software |= {name: found for name in _SOFTWARE if (found := _version(name)) is not None}
    software |= {name: ".".join(map(str, found)) for name, found in sorted(av.library_versions.items())}
    return Instrument(
        model=folder.resolve().name if folder.is_dir() else made.model,
        weights_sha256=made.model_sha256,
        files=_hashes(folder),
        class_of_fakes=made.fake_class,
        window_s=made.window_s,
        hop_s=made.hop_s,
        options={name: str(value) for name, value in told.items() if value is not None},
        software=software,
    )


def _finding(detector: Detector, result: Result) -> Finding:
    row = detector.row(result, "")
    if row.error is not None:
        return _failed(row.channel, row.error, row.warnings)
    speech_s, enough = heard(result)
    curve = result.timeline.smooth_logits(result.reading.track.flags)
    found = Finding(
        channel=row.channel,
        headline=headline(row, enough),
        meaning=meaning(row, detector.decision, enough),
        fake_probability=round(row.fake_probability, _DIGITS),
        prediction=row.prediction,
        windows=row.windows,
        agreeing=windows_agreeing(row, detector.decision, result),
        max_window=round(row.max_window, _DIGITS),
        duration_s=row.duration_s,
        speech_s=round(speech_s, 2),
        passages=tuple(
            Passage(round(s.start_s, 2), round(s.stop_s, 2), s.label, round(s.fake_probability, 3))
            for s in segments(curve, row.threshold)
        ),
        curve=_curve(result, curve),
        warnings=row.warnings,
    )
    if not enough or detector.decision.scale is None:
        return found
    said = detector.decision.scale.statement(result.logit)
    changes = {"ratio": said.ratio, "favours": said.favours, "strength": said.strength, "capped": said.capped}
    return replace(found, **changes, statement=stated_strength(said))


def _failed(channel: int | None, why: str, warnings: tuple[str, ...] = ()) -> Finding:
    return Finding(channel, "could not be scored", error=why, warnings=warnings)


def _stated(findings: tuple[Finding, ...]) -> Examined:
    """Whether the header's duration and the decoded one agree is told by the detector's warnings."""
    what = "less sound than the header states, or damaged packets"
    told = {text for one in findings for text in one.warnings if text.startswith(("truncated", "damaged"))}
    return Examined(what, "; ".join(sorted(told)) or None, "trace")


def _curve(result: Result, logits: np.ndarray) -> Curve:
    """Loudness and smoothed P(fake) in at most `_COLUMNS` equal columns."""
    peaks = np.concatenate(result.reading.peaks or [np.zeros(1, np.float32)])
    columns = min(_COLUMNS, len(peaks))
    edges = np.linspace(0, len(peaks), columns + 1).astype(int)[:-1]
    padded = np.full(len(peaks), np.nan)
    padded[: min(len(peaks), len(logits))] = logits[: len(peaks)]
    known = np.isfinite(padded)
    total = np.add.reduceat(np.where(known, padded, 0.0), edges)
    count = np.add.reduceat(known.astype(float), edges)
    shares = fake_probability(total / np.maximum(count, 1))
    return Curve(
        tuple(np.round(np.maximum.reduceat(peaks, edges).astype(float), 3).tolist()),
        tuple(round(p, 3) if n else None for p, n in zip(shares.tolist(), count.tolist(), strict=True)),
    )


def _hashes(folder: Path) -> tuple[tuple[str, str], ...]:
    """Name and SHA-256 of each file that decides a score; none of a Hub id."""
    found = sorted(path for path in folder.glob("*") if path.suffix in _DECIDING) if folder.is_dir() else []
    return tuple((path.name, hash_of_file(path)) for path in found)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
