"""Files through a detector, each or each of its channels with its result: here, and in the processes of a cluster."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import replace

from deepfake.audio.files import AudioFile
from deepfake.audio.remote import RemoteFile
from deepfake.launch import usable_cores
from deepfake.models.checkpoint import DEFAULT_MODEL
from deepfake.scoring.detector import Detector
from deepfake.scoring.engine import Result
from deepfake.scoring.kept import WindowStore
from deepfake.scoring.options import ScoringOptions
from deepfake.scoring.reading import Reading
from deepfake.scoring.result import row_key

FETCHING_THREADS = 8


def load_detector(options: ScoringOptions) -> Detector:
    """The detector asked for; a warning when it decides by nothing better than 0.5."""
    detector = Detector.from_options(options)
    if detector.threshold_is_default:
        name = options.model or DEFAULT_MODEL
        print(
            f"warning: {name} stores no threshold; {detector.threshold} is used, which may be far off",
            file=sys.stderr,
        )
    if detector.decision.note:
        print(f"warning: {detector.decision.name}: {detector.decision.note}", file=sys.stderr)
    return detector


def for_these(options: ScoringOptions, files: Iterable[AudioFile]) -> tuple[ScoringOptions, Iterator[AudioFile]]:
    """The options for such files as the first one is, and the files.

    Files that are fetched are mostly waited for, so that more threads than cores see to them where nothing was said.
    """
    files = iter(files)
    first = list(itertools.islice(files, 1))
    if options.workers is None and first and isinstance(first[0].path, RemoteFile):
        options = replace(options, workers=max(usable_cores(), FETCHING_THREADS))
    return options, itertools.chain(first, files)


def analyse(
    detector: Detector,
    files: Iterable[AudioFile],
    with_timeline: bool = False,
    done: Set[str] = frozenset(),
    kept: WindowStore | None = None,
    scored: Callable[[Result], None] | None = None,
) -> Iterator[tuple[AudioFile, Result]]:
    """Each file, or each of its channels, with its result, in order, while the listing is still going on."""

    def todo() -> Iterator[tuple[AudioFile, Reading]]:
        for file in files:
            if row_key(str(file.path), None) in done:
                continue
            for reading in detector.readings_of(file.path, with_timeline=with_timeline):
                if row_key(str(file.path), reading.channel) not in done:
                    reading.known = None if kept is None else kept.of(reading)
                    yield file, reading

    for_reading, for_naming = itertools.tee(todo())
    readings = (reading for _, reading in for_reading)
    results = detector.analyse_readings(readings, with_timeline=with_timeline, scored=scored)
    return zip((file for file, _ in for_naming), results, strict=False)
