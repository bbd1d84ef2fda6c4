"""What `infer.py` does with its options: check, shorten, export, or score recordings, alone or as one of several."""

from __future__ import annotations

import itertools
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from data_prep.errors import EXIT_SOME_FAILED, UserError
from data_prep.files import AudioFile
from scoring.check_command import check_model
from scoring.checkpoint import DEFAULT_MODEL, default_model, load_checkpoint
from scoring.detector import Detector
from scoring.engine import Result
from scoring.layers import save_shortened
from scoring.listing import STDIN, list_files
from scoring.portable import export
from scoring.sharding import (
    Shard,
    clear,
    earlier_rows,
    join,
    local_device,
    meet,
    part_path,
    require_shareable,
    this_shard,
)
from scoring.summary import Summary
from scoring.timeline_files import TimelineWriter
from scoring.writers import ScoreWriter
from training.launch import start_all_processes


def execute(arguments: Namespace) -> int:
    """Do what the options ask for.

    Args:
        arguments: of `scoring.arguments.parse_arguments`.

    Returns:
        the exit status: 0, or 1 when some recordings could not be scored or a check failed.

    Raises:
        UserError: nothing was done; the sentence says why.
    """
    start_all_processes()
    disable_progress_bar()  # of loading weights
    if arguments.check is not None:
        return check_model(arguments.check, arguments.output, arguments.fake_label)
    if arguments.save is not None:
        shortened = load_checkpoint(arguments.model, "cpu", arguments.fake_label, arguments.layers)
        save_shortened(shortened.model, shortened.extractor, arguments.save)
        print(f"{arguments.save}: the first {arguments.layers} encoder layers; fine-tune it next", file=sys.stderr)
        return 0
    if arguments.export is not None:
        backend, folder = arguments.export
        checkpoint = load_checkpoint(arguments.model or default_model(), "cpu", arguments.fake_label, arguments.layers)
        change = export(checkpoint, backend, Path(folder))
        print(f"{folder}: logits differ from PyTorch by at most {change:.1e}", file=sys.stderr)
        return 0
    return score(arguments)


def score(arguments: Namespace) -> int:
    shard = this_shard()
    if shard is not None:
        return score_shard(arguments, shard)
    files = _at_least_one(_files(arguments), arguments)
    detector = load_detector(arguments)
    with ScoreWriter(arguments.output, arguments.resume) as writer:
        summary = write_rows(detector, files, writer, arguments, writer.done)
    print(summary.text(detector.threshold), file=sys.stderr)
    return EXIT_SOME_FAILED if summary.errors else 0


def score_shard(arguments: Namespace, shard: Shard) -> int:
    """One of several processes: its share into a part, then the first one joins the parts in input order."""
    require_shareable(arguments.output, arguments.paths)
    if shard.index == 0 and not arguments.resume:
        clear(arguments.output)
    arguments.device = arguments.device or local_device(shard)
    files = shard.of(_at_least_one(_files(arguments), arguments))
    detector = load_detector(arguments)
    meet(shard)
    done = earlier_rows(arguments.output) if arguments.resume else set()
    with ScoreWriter(part_path(arguments.output, shard), arguments.resume) as writer:
        summary = write_rows(detector, files, writer, arguments, done, shard)
    meet(shard)
    if shard.index == 0:
        join(arguments.output, (str(file.path) for file in _files(arguments)))
        print(f"this process, one of {shard.count}: {summary.text(detector.threshold)}", file=sys.stderr)
    meet(shard)
    return EXIT_SOME_FAILED if summary.errors else 0


def write_rows(
    detector: Detector,
    files: Iterator[AudioFile],
    writer: ScoreWriter,
    arguments: Namespace,
    done: set[str],
    shard: Shard | None = None,
) -> Summary:
    """Score the files that are not `done`, writing each row as soon as it is known."""
    timelines = None
    if arguments.timeline:
        page = "index.html" if shard is None else f"index.{shard.index}.html"
        timelines = TimelineWriter(arguments.timeline, not arguments.no_pictures, page, arguments.resume)
    summary = Summary(kept=len(done))
    todo = (file for file in files if str(file.path) not in done)
    with tqdm(unit=" files", file=sys.stderr) as bar:
        for file, result in analyse(detector, todo, timelines is not None):
            row = detector.row(result)
            if timelines is not None:
                timelines.write(file.name, row, result)
            writer.write(row)
            summary.add(row)
            bar.update()
    return summary


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
        layers=arguments.layers,
        backend=arguments.backend,
        timeline_window_s=arguments.timeline_window_s,
        timeline_hop_s=arguments.timeline_hop_s,
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


def _files(arguments: Namespace) -> Iterator[AudioFile]:
    return list_files(arguments.paths, arguments.include, arguments.exclude)


def _at_least_one(files: Iterator[AudioFile], arguments: Namespace) -> Iterator[AudioFile]:
    first = next(files, None)
    if first is None:
        kept = " that --include and --exclude leave" if arguments.include or arguments.exclude else ""
        places = ", ".join("the list on stdin" if path == STDIN else path for path in arguments.paths)
        raise UserError(f"no audio files in {places}{kept}; name a recording, or a folder that holds some")
    return itertools.chain([first], files)
