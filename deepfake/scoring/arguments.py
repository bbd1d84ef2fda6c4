"""The options of `infer.py`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from deepfake.audio.remote import RemoteFile, is_url
from deepfake.cluster import ClusterOptions, add_cluster_arguments, read_cluster_arguments
from deepfake.errors import UserError
from deepfake.models.choices import EXPORTED
from deepfake.scoring.options import ScoringOptions, TimelineOptions
from deepfake.scoring.outputs import output_kind, output_place, require_new
from deepfake.scoring.remote_output import check_remote_output
from deepfake.version import add_version

_EPILOG = """\
One row per file: path, fake_probability (higher = fake), prediction, threshold, duration_s, windows (how many with
speech were scored), max_window (the highest fake_probability of one window), error. A file that cannot be scored has an
error and no score ("no_speech: …" where nobody speaks); the others are scored all the same.

exit status: 0 all scored, 1 some files could not be scored or a check failed, 2 nothing done (wrong path, model or
option), 130 Ctrl-C: what was scored is kept

  python infer.py call.mp3 --model OUT                     CSV to the screen
  python infer.py call.wav                                 with the shipped detector
  python infer.py calls/ --model OUT --output scores.csv   a folder, with all folders in it
  python infer.py calls/ --model OUT --output scores.csv --resume        go on after a crash or Ctrl-C
  python infer.py calls/ --model OUT --timeline timelines/               where in each file: JSON, labels, RTTM, picture
  python infer.py call.wav --report case/                  hashes, metadata, traces, timeline, verdict: case/case.html
  python infer.py call.wav --verify case/                  whether that report is unaltered, and true of the recording
  find calls -name '*.wav' | python infer.py - --model OUT --precision int8
  python infer.py s3://bucket/calls --output s3://bucket/scores.csv      each file is fetched, scored and forgotten"""


@dataclass(frozen=True)
class Request:
    """What `infer.py` was asked to do.

    Attributes:
        scoring: how.
        paths, include, exclude: which recordings; see `deepfake.scoring.listing.list_files`.
        output: file for the rows, here or elsewhere, or for the contract of `check`; None: the screen.
        resume: keep the scored rows of an earlier run, and score what failed or is missing.
        overwrite: replace the rows of an earlier run.
        timeline: where timelines are written; None: nowhere.
        cluster: what scores; None: this process.
        check: model to check in place of scoring.
        save: folder for the model shortened to `deepfake.models.layers`, in place of scoring.
        export: backend and folder to export the model to, in place of scoring.
        report: folder for a report on the recordings, in place of rows.
        title, date: to be printed in it as they are; None: a plain title, and no date.
        verify: folder of a report to check, against the recordings where `paths` names them.
    """

    scoring: ScoringOptions
    paths: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    output: Path | RemoteFile | None = None
    resume: bool = False
    overwrite: bool = False
    timeline: TimelineOptions | None = None
    cluster: ClusterOptions | None = None
    check: str | None = None
    save: Path | None = None
    export: tuple[str, Path] | None = None
    report: Path | None = None
    title: str | None = None
    date: str | None = None
    verify: Path | None = None


def parse_arguments(words: list[str] | None = None) -> Request:
    """Read the command line.

    Raises:
        UserError: options that do not go together or are out of range, or an output that exists already.
    """
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.save is not None and (arguments.layers is None or arguments.model is None):
        raise UserError("--save writes a model shortened by --layers N; give --model and --layers too")
    if arguments.export is not None and arguments.export[0] not in EXPORTED:
        raise UserError(f"--export is {' '.join(arguments.export)}; expected --export onnx|openvino DIR")
    _require_report_alone(arguments)
    no_paths = any(one is not None for one in (arguments.check, arguments.save, arguments.export, arguments.verify))
    if not no_paths and not arguments.paths:
        parser.error("the following arguments are required: PATH")
    if arguments.resume and arguments.output is None:
        raise UserError("--resume goes on from the rows in --output FILE; name that file")
    if arguments.resume and arguments.overwrite:
        raise UserError("--resume keeps the rows in --output and --overwrite replaces them; give one of the two")
    if arguments.output is not None and not no_paths:
        new = not arguments.resume and not arguments.overwrite
        output_kind(arguments.output)
        if isinstance(arguments.output, RemoteFile):
            check_remote_output(arguments.output, new)
        elif new:
            require_new(arguments.output)
    for option, place in (("--output", arguments.output if no_paths else None), ("--timeline", arguments.timeline)):
        if place is not None and is_url(str(place)):
            raise UserError(f"{option} {place}: only rows of scores can be written to a URL; name a place here")
    timeline = None if arguments.timeline is None else Path(arguments.timeline)
    cluster = read_cluster_arguments(arguments)
    if cluster is not None and not no_paths:
        if arguments.output is None:
            raise UserError("--engine ray writes its rows into a file; name it with --output")
        if timeline is not None:
            raise UserError("--engine ray writes no timelines; score what needs one without it")
    return Request(
        scoring=ScoringOptions.read(arguments),
        paths=tuple(arguments.paths),
        include=tuple(arguments.include),
        exclude=tuple(arguments.exclude),
        output=arguments.output,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        timeline=None if timeline is None else TimelineOptions(timeline, not arguments.no_pictures),
        cluster=cluster,
        check=arguments.check,
        save=arguments.save,
        export=None if arguments.export is None else (arguments.export[0], Path(arguments.export[1])),
        report=arguments.report,
        title=arguments.title,
        date=arguments.date,
        verify=arguments.verify,
    )


def _require_report_alone(arguments: argparse.Namespace) -> None:
    """Refuse what does not go with --report or --verify."""
    for name in ("report", "verify"):
        others = ("output", "timeline", "check", "save", "export", *({"report", "verify"} - {name}))
        with_it = [other for other in others if getattr(arguments, other) is not None]
        if getattr(arguments, name) is not None and (with_it or arguments.resume):
            raise UserError(f"--{name} is given with --{(with_it or ['resume'])[0]}; give one of the two")
    folder = arguments.report
    if folder is not None and folder.is_dir() and any(folder.iterdir()) and not arguments.overwrite:
        raise UserError(f"--report {folder} holds something already; name a new folder, or give --overwrite")
    if arguments.report is None and (arguments.title is not None or arguments.date is not None):
        raise UserError("--title and --date are printed in a report; give --report DIR too")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Score recordings with a speech deepfake detector, over their whole length.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="audio file, folder with all below it, glob pattern, URL of one (s3://, gs://, hf://, https://), or - for "
        "a list",
    )
    parser.add_argument(
        "--output",
        type=output_place,
        metavar="FILE",
        help="file to write, or its URL (s3://…): .csv, .jsonl or .parquet; default: CSV on stdout",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep the rows in --output that have a score, try again what failed, and score what is missing; refused "
        "where another model, threshold or option made them",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an --output that exists already")
    parser.add_argument(
        "--include", action="append", default=[], metavar="PATTERN", help="score only names like this: *.wav"
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="PATTERN", help="score no names like this: */old/*"
    )
    parser.add_argument(
        "--timeline", metavar="DIR", help="write where in each file the evidence lies; open DIR/index.html"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="in place of rows, write a report on the recordings for a newsroom or a court: DIR/case.html, case.json",
    )
    parser.add_argument("--title", help="with --report: its title")
    parser.add_argument("--date", help="with --report: a date to print in it, in any words; no clock is read")
    parser.add_argument("--no-pictures", action="store_true", help="with --timeline: write no PNG files")
    ScoringOptions.add_to(parser.add_argument_group("scoring"))
    add_cluster_arguments(parser.add_argument_group("several processes and machines"))
    others = parser.add_argument_group("in place of scoring")
    others.add_argument(
        "--check", metavar="MODEL", help="check what the scores of a model rest on, and write contract.json"
    )
    others.add_argument(
        "--verify",
        type=Path,
        metavar="DIR",
        help="check a report: that it is unaltered, and with PATH that these are the recordings and they score alike",
    )
    others.add_argument(
        "--save", type=Path, metavar="DIR", help="with --layers: write the shortened model into a folder"
    )
    others.add_argument(
        "--export", nargs=2, metavar=("BACKEND", "DIR"), help="write --model as onnx or openvino, with contract.json"
    )
    return parser
