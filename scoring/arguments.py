"""The options of `infer.py`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from data_prep.errors import UserError
from data_prep.version import add_version
from scoring.choices import BACKENDS, EXPORTED, PRECISIONS, TIMELINE_HOP_S, TIMELINE_WINDOW_S
from scoring.reading import MIN_DURATION_S

_EPILOG = """\
One row per file: path, fake_probability (higher = fake), prediction, threshold, duration_s, windows (how many with
speech were scored), max_window (the highest fake_probability of one window), error. A file that cannot be scored has an
error and no score ("no_speech: …" where nobody speaks); the others are scored all the same.

exit status: 0 all scored, 1 some files could not be scored or a check failed, 2 nothing done (wrong path, model or
option), 130 Ctrl-C: what was scored is kept

  python infer.py call.mp3 --model OUT                     CSV to the screen
  python infer.py call.wav                                 with the detector in the box
  python infer.py calls/ --model OUT --output scores.csv   a folder, with all folders in it
  python infer.py calls/ --model OUT --output scores.csv --resume        go on after a crash or Ctrl-C
  python infer.py calls/ --model OUT --timeline timelines/               where in each file: JSON, labels, RTTM, picture
  find calls -name '*.wav' | python infer.py - --model OUT --precision int8"""


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: options that do not go together or are out of range.
    """
    parser = _parser()
    arguments = parser.parse_args(words)
    if arguments.save is not None and (arguments.layers is None or arguments.model is None):
        raise UserError("--save writes a model shortened by --layers N; give --model and --layers too")
    if arguments.export is not None and arguments.export[0] not in EXPORTED:
        raise UserError(f"--export is {' '.join(arguments.export)}; expected --export onnx|openvino DIR")
    no_paths = arguments.check is not None or arguments.save is not None or arguments.export is not None
    if not no_paths and not arguments.paths:
        parser.error("the following arguments are required: PATH")
    if arguments.backend != "torch" and arguments.model is None:
        raise UserError(f"--backend {arguments.backend} needs --model DIR, a folder written by --export")
    if arguments.threshold is not None and not 0 <= arguments.threshold <= 1:
        raise UserError(f"--threshold is {arguments.threshold}; expected a probability from 0 to 1")
    if arguments.batch_size < 1:
        raise UserError(f"--batch-size is {arguments.batch_size}; expected at least 1")
    if arguments.workers is not None and arguments.workers < 0:
        raise UserError(f"--workers is {arguments.workers}; expected 0 or more")
    if arguments.timeline_window_s and arguments.timeline_window_s < MIN_DURATION_S:
        raise UserError(
            f"--timeline-window-s is {arguments.timeline_window_s:g}; expected at least {MIN_DURATION_S} s, or 0"
        )
    if not 0.02 <= arguments.timeline_hop_s <= (arguments.timeline_window_s or math.inf):
        raise UserError(f"--timeline-hop-s is {arguments.timeline_hop_s:g}; expected 0.02 s to the window's length")
    if arguments.resume and arguments.output is None:
        raise UserError("--resume goes on from the rows in --output FILE; name that file")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Score recordings with a speech deepfake detector, over their whole length.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="audio file, folder with all below it, glob pattern, or - for a list"
    )
    parser.add_argument("--model", help="model folder or Hub id; default: the compact detector in checkpoints/compact")
    parser.add_argument("--check", metavar="MODEL", help="check what scores rest on, and write contract.json")
    parser.add_argument("--output", type=Path, help="file to write: .csv, .jsonl or .parquet; default: CSV on stdout")
    parser.add_argument("--resume", action="store_true", help="keep the rows in --output and score what is missing")
    parser.add_argument("--include", action="append", default=[], metavar="PATTERN", help="only names like this: *.wav")
    parser.add_argument("--exclude", action="append", default=[], metavar="PATTERN", help="no names like this: */old/*")
    parser.add_argument("--threshold", type=float, help="fake from this fake_probability on; default: the stored one")
    parser.add_argument(
        "--operating-point",
        metavar="NAME",
        help="decide by a stored operating point: balanced_accuracy, eer, fpr_0.05, fpr_0.01, fpr_0.001, bayes, "
        "abstain (may answer uncertain), or bayes:PRIOR,MISS,FALSE_ACCEPT from the stored calibration",
    )
    parser.add_argument("--fake-label", help="class name that means fake, where the checkpoint's names do not say")
    parser.add_argument(
        "--timeline", type=Path, metavar="DIR", help="write when in each file the evidence lies; see index.html"
    )
    parser.add_argument(
        "--timeline-window-s", type=float, default=TIMELINE_WINDOW_S, metavar="S",
        help=f"with --timeline and a model without evidence for each frame, such as the one in the box: windows "
        f"of so many seconds are looked at (default {TIMELINE_WINDOW_S:g}); 0: at those of the score",
    )  # fmt: skip
    parser.add_argument(
        "--timeline-hop-s", type=float, default=TIMELINE_HOP_S, metavar="S",
        help=f"seconds from one such window to the next (default {TIMELINE_HOP_S:g})",
    )  # fmt: skip
    parser.add_argument("--no-pictures", action="store_true", help="with --timeline: no PNG files")
    parser.add_argument("--device", help="torch device, e.g. cpu or cuda:1; default: cuda where there is one")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32",
        help="int8 (CPU), bf16 or fp16 are faster; given up where scores move by more than 0.02",
    )  # fmt: skip
    parser.add_argument("--layers", type=int, help="use the first so many encoder layers only")
    parser.add_argument("--save", type=Path, metavar="DIR", help="with --layers: write the shortened model and exit")
    parser.add_argument(
        "--export", nargs=2, metavar=("BACKEND", "DIR"), help="write --model as onnx or openvino, with contract.json"
    )
    parser.add_argument(
        "--backend", choices=BACKENDS, default="torch", help="what runs the model; onnx: an exported one"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="windows scored at once (default 8)")
    parser.add_argument("--workers", type=int, help="threads that decode (default: one a core)")
    return parser
