#!/usr/bin/env python3
"""Score recordings: is this speech human or AI-generated?

python infer.py FOLDER --output scores.csv

from infer import Detector
Detector.from_pretrained().score("call.wav").fake_probability
"""

from __future__ import annotations

import itertools
import sys
from argparse import Namespace
from collections.abc import Iterator

from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from data_prep.errors import EXIT_SOME_FAILED, UserError, run_command
from data_prep.files import AudioFile
from scoring.arguments import parse_arguments
from scoring.checkpoint import DEFAULT_MODEL
from scoring.detector import Detector
from scoring.engine import Result
from scoring.listing import list_files
from scoring.summary import Summary
from scoring.timeline_files import TimelineWriter
from scoring.writers import ScoreWriter

__all__ = ["Detector", "main"]


def score(arguments: Namespace) -> int:
    disable_progress_bar()  # of loading weights
    files = _at_least_one(list_files(arguments.paths, arguments.include, arguments.exclude), arguments)
    detector = load_detector(arguments)
    timelines = TimelineWriter(arguments.timeline, not arguments.no_pictures) if arguments.timeline else None
    summary = Summary()
    with ScoreWriter(arguments.output, arguments.resume) as writer, tqdm(unit="file", file=sys.stderr) as bar:
        summary.kept = len(writer.done)
        todo = (file for file in files if str(file.path) not in writer.done)
        for file, result in analyse(detector, todo, timelines is not None):
            row = detector.row(result)
            if timelines is not None:
                timelines.write(file.name, row, result)
            writer.write(row)
            summary.add(row)
            bar.update()
    print(summary.text(detector.threshold), file=sys.stderr)
    return EXIT_SOME_FAILED if summary.errors else 0


def load_detector(arguments: Namespace) -> Detector:
    """The detector asked for; a warning when it decides by nothing better than 0.5."""
    detector = Detector.from_pretrained(
        arguments.model,
        device=arguments.device,
        threshold=arguments.threshold,
        fake_label=arguments.fake_label,
        batch_size=arguments.batch_size,
        operating_point=arguments.operating_point,
        precision=arguments.precision,
        workers=arguments.workers,
    )
    if detector.threshold_is_default:
        name = arguments.model or DEFAULT_MODEL
        print(
            f"warning: {name} stores no threshold; {detector.threshold} is used, which may be far off",
            file=sys.stderr,
        )
    if detector.decision.note:
        print(f"warning: {detector.decision.name}: {detector.decision.note}", file=sys.stderr)
    return detector


def analyse(
    detector: Detector, files: Iterator[AudioFile], with_timeline: bool = False
) -> Iterator[tuple[AudioFile, Result]]:
    """Each file with its result, in order, while the listing is still going on."""
    for_reading, for_naming = itertools.tee(files)
    results = detector.analyse_files((file.path for file in for_reading), with_timeline=with_timeline)
    return zip(for_naming, results, strict=False)


def _at_least_one(files: Iterator[AudioFile], arguments: Namespace) -> Iterator[AudioFile]:
    first = next(files, None)
    if first is None:
        raise UserError(f"no audio files under {', '.join(arguments.paths)} that --include and --exclude leave")
    return itertools.chain([first], files)


def main() -> int:
    return run_command(lambda: score(parse_arguments()))


if __name__ == "__main__":
    sys.exit(main())
