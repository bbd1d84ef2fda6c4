"""What `infer.py` does with its options: check, shorten, export, or score recordings, alone or as one of several."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path

from deepfake.audio.files import AudioFile
from deepfake.errors import EXIT_INTERRUPTED, EXIT_SOME_FAILED, UserError
from deepfake.launch import start_all_processes
from deepfake.models.checkpoint import default_model, load_checkpoint
from deepfake.scoring.analysis import analyse, for_these, load_detector
from deepfake.scoring.arguments import Request
from deepfake.scoring.kept import KeptWindows, WindowStore
from deepfake.scoring.listing import STDIN, Listing, list_files
from deepfake.scoring.options import ScoringOptions, TimelineOptions
from deepfake.scoring.outputs import parts
from deepfake.scoring.progress import Progress
from deepfake.scoring.record import Record
from deepfake.scoring.remote_output import working_copy
from deepfake.scoring.result import row_key
from deepfake.scoring.sharding import (
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
from deepfake.scoring.summary import Summary
from deepfake.scoring.timeline_files import TimelineWriter
from deepfake.scoring.verdict import verdict
from deepfake.scoring.writers import ScoreWriter, scored_keys


def execute(request: Request) -> int:
    """Do what was asked for.

    Returns:
        the exit status: 0, or 1 when some recordings could not be scored or a check failed.

    Raises:
        UserError: nothing was done; the sentence says why.
    """
    start_all_processes()
    options = request.scoring
    # What needs PyTorch is imported where it is needed: scoring may do without.
    if request.check is not None:
        from deepfake.scoring.check_command import check_model

        return check_model(request.check, request.output, options.fake_label)
    if request.save is not None:
        from deepfake.models.layers import save_shortened

        shortened = load_checkpoint(options.model, "cpu", options.fake_label, options.layers)
        save_shortened(shortened.model, shortened.extractor, request.save)
        print(f"{request.save}: the first {options.layers} encoder layers; fine-tune it next", file=sys.stderr)
        return 0
    if request.export is not None:
        from deepfake.models.exporting import export

        backend, folder = request.export
        checkpoint = load_checkpoint(options.model or default_model(), "cpu", options.fake_label, options.layers)
        change = export(checkpoint, backend, folder)
        print(
            f"{folder}: on made-up speech, logits differ from PyTorch by {change:.1e}; on recordings it may be more",
            file=sys.stderr,
        )
        return 0
    if request.verify is not None:
        return verify_report(request)
    shard = this_shard()
    listing = _listing(request)
    if request.report is not None:
        if shard is not None:
            raise UserError("--report is written by one process; start it without a launcher")
        return write_report(request, listing)
    if shard is not None and request.cluster is not None:
        raise UserError("--engine ray starts its processes itself; give the command without accelerate or torchrun")
    summary = score(request, listing) if shard is None else score_as_one_of_several(request, shard, listing)
    if shard is None or shard.index == 0:
        _tell_unreadable(listing)
    return EXIT_SOME_FAILED if summary.errors or listing.unreadable_folders else 0


def write_report(request: Request, listing: Listing) -> int:
    """Examine everything that was named, and write the report. 1 where a file could not be scored, 130 after Ctrl-C."""
    from deepfake.scoring.case.build import examine_files
    from deepfake.scoring.case.files import PAGE, RECORD, write_case

    files = _at_least_one(request, listing)
    told = {"title": request.title} if request.title is not None else {}
    case = examine_files(load_detector(request.scoring), files, date=request.date, **told)
    digest = write_case(request.report, case)
    print(f"report    {request.report / PAGE}\nrecord    {request.report / RECORD}\nsha256    {digest}")
    if not case.complete:
        print("interrupted: the report holds the files that were finished", file=sys.stderr)
        return EXIT_INTERRUPTED
    _tell_unreadable(listing)
    failed = bool(listing.unreadable_folders) or any(
        found.error is not None for file in case.files for found in file.findings
    )
    return EXIT_SOME_FAILED if failed else 0


def verify_report(request: Request) -> int:
    """Check a report, and the recordings against it where they are named; 1 where something is not as it says."""
    from deepfake.scoring.case.files import PAGE, RECORD, altered, read_case
    from deepfake.scoring.case.verify import verify_recordings

    stated = read_case(request.verify)
    found = altered(request.verify)
    if request.paths:
        found += verify_recordings(stated, _at_least_one(request, _listing(request)), request.scoring)
    for text in found:
        print(f"DIFFERS   {text}")
    if found:
        return EXIT_SOME_FAILED
    print(f"unaltered {request.verify / RECORD}, {request.verify / PAGE}")
    if request.paths:
        print(f"the same  {len(stated.files)} recordings: bytes, sound, metadata and scores")
    else:
        print("the recordings were not looked at; name them before --verify to have them hashed and scored again")
    return 0


def score(request: Request, listing: Listing | None = None) -> Summary:
    """Score everything in this process: rows, or for one recording on a terminal a verdict."""
    files = _at_least_one(request, listing or _listing(request))
    if request.cluster is not None:
        return _score_on_cluster(request, files)
    if request.output is None and sys.stdout.isatty():
        first = list(itertools.islice(files, 2))
        if len(first) == 1:
            return show(request.scoring, first[0], request.timeline)
        files = itertools.chain(first, files)
    options, files = for_these(request.scoring, files)
    with working_copy(request.output, request.resume) as (output, after_row):
        if request.resume and parts(output):  # of several processes, or of a cluster
            join(output, ())
        summary = score_shard(
            options, files, output, resume=request.resume, timeline=request.timeline, after_row=after_row
        )
    print(summary.text(), file=sys.stderr)
    return summary


def _score_on_cluster(request: Request, files: Iterator[AudioFile]) -> Summary:
    from deepfake.scoring.on_ray import score_on_ray

    with working_copy(request.output, request.resume) as (output, after_row):
        summary = score_on_ray(
            request.scoring, files, output, request.cluster, resume=request.resume, after_row=after_row
        )
    print(summary.text(), file=sys.stderr)
    return summary


def show(options: ScoringOptions, file: AudioFile, timeline: TimelineOptions | None = None) -> Summary:
    """Score one recording, and print what a person wants to know of it."""
    detector = load_detector(options)
    timelines = _timelines(timeline)
    summary = Summary(detector.threshold)
    with Progress() as bar:
        results = [result for _, result in analyse(detector, [file], timelines is not None, scored=bar.scored)]
    for result in results:
        row = detector.row(result)
        if timelines is not None:
            timelines.write(file.name, row, result)
        print(verdict(row, detector.decision, result), end="\n\n" if result is not results[-1] else "\n")
        summary.add(row)
    return summary


def score_as_one_of_several(request: Request, shard: Shard, listing: Listing) -> Summary:
    """Score this process's share into a part; the first process joins the parts in input order."""
    require_shareable(request.output, request.paths)
    if shard.index == 0 and not request.resume:
        clear(request.output)
    files = shard.of(_at_least_one(request, listing))
    meet(shard)
    timeline = request.timeline and replace(request.timeline, page=f"index.{shard.index}.html")
    summary = score_shard(
        replace(request.scoring, device=request.scoring.device or local_device(shard)),
        files,
        part_path(request.output, shard),
        resume=request.resume,
        earlier=earlier_rows(request.output) if request.resume else (),
        timeline=timeline,
    )
    meet(shard)
    if shard.index == 0:
        join(request.output, (str(file.path) for file in _listing(request)))
        print(f"this process, one of {shard.count}: {summary.text()}", file=sys.stderr)
    meet(shard)
    return summary


def score_shard(
    options: ScoringOptions,
    files: Iterable[AudioFile],
    part: Path | None,
    *,
    resume: bool = False,
    done: Set[str] = frozenset(),
    earlier: Sequence[Path] = (),
    timeline: TimelineOptions | None = None,
    after_row: Callable[[], None] | None = None,
) -> Summary:
    """Score files one after the other, and write each row as soon as it is known. Needs no other process.

    Args:
        options: how; also which model, on which device.
        files: taken lazily.
        part: file for the rows: .csv, .jsonl or .parquet; None: CSV on stdout.
        resume: keep the rows with a score that `part` holds, and score what failed or is missing.
        done: paths of files that were scored elsewhere, and are left out (keys of channels, see `row_key`).
        earlier: files of rows of an earlier run; what has a score there is left out as well.
        timeline: where to write timelines.
        after_row: called when a row was written.

    Raises:
        UserError: the model cannot be loaded, a file not be written, or earlier rows were made by another model or
            with other options.
    """
    detector = load_detector(options)
    record = None if part is None else Record.of(detector)
    for rows in earlier:
        record.require_same(rows)
    done = done.union(*map(scored_keys, earlier))
    with ScoreWriter(part, resume, record) as writer:
        done, failed = done | writer.done, frozenset(writer.failed)
        timelines = _timelines(timeline, resume)
        summary = Summary(detector.threshold, kept=len(done))
        # On a terminal the rows themselves are the progress, and a bar would be torn by them.
        kept = None if part is None else WindowStore(part, record, resume)
        with Progress(silent=part is None and sys.stdout.isatty()) as bar:
            for file, result in analyse(detector, files, timelines is not None, done, kept, bar.scored):
                row = detector.row(result)
                if timelines is not None:
                    timelines.write(file.name, row, result)
                writer.write(row)
                summary.add(row, again=bool({row.key, row_key(row.path, None)} & failed))
                bar.finished()
                if isinstance(result.reading.known, KeptWindows):
                    result.reading.known.remove()
                if after_row is not None:
                    after_row()
        if kept is not None:
            kept.clear()
    return summary


def _timelines(timeline: TimelineOptions | None, resume: bool = False) -> TimelineWriter | None:
    if timeline is None:
        return None
    return TimelineWriter(timeline.folder, timeline.pictures, timeline.page, resume)


def _listing(request: Request) -> Listing:
    return list_files(request.paths, request.include, request.exclude)


def _tell_unreadable(listing: Listing) -> None:
    for folder in listing.unreadable_folders:
        print(f"warning: cannot read the folder {folder}, so nothing in it was scored", file=sys.stderr)


def _at_least_one(request: Request, listing: Listing) -> Iterator[AudioFile]:
    first = next(listing, None)
    if first is None:
        if listing.unreadable_folders:
            raise UserError(
                f"cannot read the folder {listing.unreadable_folders[0]}, and found no audio files elsewhere"
            )
        kept = " that --include and --exclude leave" if request.include or request.exclude else ""
        places = ", ".join("the list on stdin" if path == STDIN else path for path in request.paths)
        raise UserError(f"no audio files in {places}{kept}; name a recording, or a folder that holds some")
    return itertools.chain([first], listing)
