"""Whether recordings are those of a report, and whether they score as it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from deepfake.audio.files import AudioFile
from deepfake.errors import UserError
from deepfake.metrics.decisions import DEFAULT_NAME
from deepfake.scoring.case.build import decided_by, examine_file, instrument
from deepfake.scoring.case.files import differences
from deepfake.scoring.case.record import Case
from deepfake.scoring.case.structure import read_structure
from deepfake.scoring.decision import GIVEN, STORED, UNFITTED
from deepfake.scoring.detector import Detector
from deepfake.scoring.options import ScoringOptions


def verify_recordings(stated: Case, files: Iterable[AudioFile], options: ScoringOptions) -> list[str]:
    """Examine the files again, in the way that the report says, and compare. Files that it does not name are ignored.

    Args:
        options: of these, the model, the device and the batch size count; the rest is the report's.

    Returns:
        what differs, in words; empty where nothing does.

    Raises:
        UserError: none of the files is of the report, or the model cannot be loaded.
    """
    names = {file.name for file in stated.files}
    by_hash: dict[str, AudioFile] = {}
    namesakes: set[str] = set()
    for file in files:
        if not isinstance(file.path, Path):
            continue
        try:
            by_hash.setdefault(read_structure(file.path).sha256, file)
        except OSError:
            continue
        namesakes |= {file.name} & names
    known = {file.sha256 for file in stated.files}
    if not known & set(by_hash) and not namesakes:
        raise UserError("none of the recordings that were named is one of the report; expected the ones it was made of")
    detector = Detector.from_options(_as_stated(stated, options))
    return list(_compared(stated, by_hash, namesakes, detector))


def _compared(stated: Case, by_hash: dict[str, AudioFile], namesakes: set[str], detector: Detector) -> Iterator[str]:
    mine = instrument(detector)
    if mine.weights_sha256 != stated.instrument.weights_sha256:
        yield f"the model's weights: sha256 {stated.instrument.weights_sha256}, now {mine.weights_sha256}"
    yield from differences(stated.decided, decided_by(detector), "decided")
    readable = [file for file in stated.files if file.sha256]  # of the others nothing is stated that could be checked
    for file in tqdm(readable, unit=" files", leave=False, disable=None):
        again = by_hash.get(file.sha256)
        if again is None:
            why = "is not the file that was examined" if file.name in namesakes else "was not among the files named"
            yield f"{file.name} {why} (sha256 {file.sha256})"
            continue
        found = examine_file(detector, again)
        yield from differences(file, replace(found, name=file.name), file.name)


def _as_stated(stated: Case, options: ScoringOptions) -> ScoringOptions:
    """The report's way of scoring, with the model that is at hand."""
    told, decided = stated.instrument.options, stated.decided
    by_name = decided.operating_point not in (DEFAULT_NAME, STORED, GIVEN, UNFITTED)
    return replace(
        options,
        operating_point=decided.operating_point if by_name else None,
        threshold=decided.threshold if decided.operating_point == GIVEN else None,
        precision=told.get("precision", options.precision),
        backend=told.get("backend", options.backend),
        channels=told.get("channels", options.channels),
        speech_detection=told.get("speech_detection", options.speech_detection),
        layers=int(told["layers"]) if "layers" in told else None,
        timeline_window_s=float(told.get("timeline_window_s", options.timeline_window_s)),
    )
