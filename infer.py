#!/usr/bin/env python3
"""Score recordings: is this speech human or AI-generated?

python infer.py FOLDER --model OUT --output scores.csv

from infer import Detector
Detector.from_pretrained("OUT").score("call.wav").fake_probability
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from data_prep.errors import EXIT_SOME_FAILED, UserError, run_command
from data_prep.files import find_audio_files
from scoring.detector import Detector
from scoring.result import ScoreWriter

__all__ = ["Detector", "main"]

EPILOG = """\
One row per file: path, fake_probability (higher = fake), prediction, threshold, duration_s, windows (how many with
speech were scored), max_window (the highest fake_probability of one window), error. A file that cannot be scored has an
error and no score; the others are scored all the same.

exit status: 0 all scored, 1 some files could not be scored, 2 nothing done (wrong path, model or option)

  python infer.py call.mp3 --model OUT                     CSV to the screen
  python infer.py calls/ --model OUT --output scores.csv   a folder, with all folders in it"""


def score(arguments: argparse.Namespace) -> int:
    if arguments.threshold is not None and not 0 <= arguments.threshold <= 1:
        raise UserError(f"--threshold is {arguments.threshold}; expected a probability from 0 to 1")
    disable_progress_bar()  # of loading weights
    files = list(find_audio_files(arguments.paths))
    if not files:
        raise UserError(f"no audio files under {', '.join(map(str, arguments.paths))}")
    detector = Detector.from_pretrained(
        arguments.model,
        device=arguments.device,
        threshold=arguments.threshold,
        fake_label=arguments.fake_label,
        batch_size=arguments.batch_size,
        operating_point=arguments.operating_point,
    )
    if detector.threshold_is_default:
        print(
            f"warning: {arguments.model} stores no threshold; {detector.threshold} is used, which may be far off",
            file=sys.stderr,
        )
    if detector.decision.note:
        print(f"warning: {detector.decision.name}: {detector.decision.note}", file=sys.stderr)
    failed = fake = uncertain = 0
    with ScoreWriter(arguments.output) as writer:
        for row in tqdm(detector.score_files(f.path for f in files), total=len(files), unit="file", file=sys.stderr):
            writer.write(row)
            failed += row.error is not None
            fake += row.prediction == "fake"
            uncertain += row.prediction == "uncertain"
    print(
        f"{len(files)} files: {fake} fake, {len(files) - fake - failed - uncertain} real at threshold "
        f"{detector.threshold:.4f}, {f'{uncertain} uncertain, ' if uncertain else ''}"
        f"{failed} could not be scored",
        file=sys.stderr,
    )
    return EXIT_SOME_FAILED if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Score recordings with a speech deepfake detector, over their whole length.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", type=Path, help="audio file, or folder with all below it")
    parser.add_argument("--model", required=True, help="model folder or Hub id")
    parser.add_argument("--output", type=Path, help="file to write: .csv, .jsonl or .parquet; default: CSV on stdout")
    parser.add_argument("--threshold", type=float, help="fake from this fake_probability on; default: the stored one")
    parser.add_argument(
        "--operating-point",
        metavar="NAME",
        help="decide by a stored operating point: balanced_accuracy, eer, fpr_0.05, fpr_0.01, fpr_0.001, bayes, "
        "abstain (may answer uncertain), or bayes:PRIOR,MISS,FALSE_ACCEPT from the stored calibration",
    )
    parser.add_argument("--fake-label", help="class name that means fake, where the checkpoint's names do not say")
    parser.add_argument("--device", help="torch device, e.g. cpu or cuda:1; default: cuda where there is one")
    parser.add_argument("--batch-size", type=int, default=8, help="windows scored at once (default 8)")
    return run_command(lambda: score(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
