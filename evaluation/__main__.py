"""What can be said about a detector: `python -m evaluation report|scores|compare|arena|freeze|stress`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from deepfake.errors import UserError, run_command
from deepfake.scoring.options import ScoringOptions
from deepfake.version import add_version
from evaluation.options import ArenaOptions, CompareOptions, FreezeOptions, ReportOptions, ScoresOptions, StressOptions

_REPORT = """\
Judge a detector on the test split of a prepared dataset, on datasets from elsewhere, and beside the model it started
from. Its threshold and calibration are those it stores; nothing is fitted on the clips it is judged on.

  python -m evaluation report --model OUT --dataset DATASET --ood OTHER --base-model BASE --output REPORT
"""
_SCORES = """\
The same report for any detector's scores.

  scores.csv   a column id, path or file_name; and fake_logit, fake_probability or score (higher = fake)
  labels.csv   the same names; label (real, fake); and, where known, split (train, validation, test, or any other name),
               source (the recording), speaker, speaker_group, generator, language, duration_s, container, page,
               corpus, family, group_id, channel, sex, age

The CSV that infer.py writes is judged at the threshold that stands in it. With rows of split validation the
calibration, and the threshold where the scores name none, are fitted on them; else give --threshold.

A clip has the same name in both files, or in one of them a shorter one that its path ends in (a.wav, /data/real/a.wav).
"""
_COMPARE = """\
Any number of detectors on the same clips: which is better, whether that is more than chance, and where each one fails.

  python -m evaluation compare A.csv B.csv scores.txt --labels labels.csv --output COMPARED

Reads CSV files as `scores` does, infer.py's among them; "name score" as of ASVspoof 2021 and Speech-DF-Arena, "name
source key score" as of ASVspoof 2019, and tables with a column cm-score as of ASVspoof 5. Scores of the last three rise
with genuineness by the rule of their format and are turned round.

Only clips that every detector scored are compared; rows of split train and validation are not. Differences are paired:
both detectors are resampled together, over the groups of the column group_id where known, else over recordings. Their
p-values are corrected for the number of pairs (Holm). A detector's threshold is that of --threshold, else the one in
its file, else fitted on rows of validation; a score of no known unit gets that of its equal error rate on these very
clips, which flatters it, and the page says so.
"""
_ARENA = """\
Write what the open leaderboard of speech_spoof_bench takes: scores.txt, one "utterance score" a line, higher = bona
fide, and meta.yaml, which describes the detector. What it would refuse is refused here: more than 5 % of the trials
without a score, a name that it cannot read, a link that is none, and scores the wrong way round.

  python -m evaluation arena scores.csv --labels labels.csv --output SUBMISSION --name "My detector" --slug my-detector
      --description "what it is" --code https://… --checkpoint https://…
"""
_FREEZE = """\
Fix the test, the checkpoint and the threshold before the test is touched. The hashes go into one file; publish it, or
commit it, where others keep the date. report and scores take it with --frozen and say whether all of it held.

  python -m evaluation freeze labels.csv --threshold 0.5 --output frozen.json
  python -m evaluation freeze DATASET --split test --checkpoint OUT --output frozen.json
"""
_STRESS = """\
The test clips through codecs, telephone lines, packet loss, less bandwidth, noise, rooms, levels, clipping, changes of
speed, denoisers, loudness normalisation, chains of encoders and edits of silence, all judged at the threshold that the
model stores. Says where it fails first, how often the verdict on a human recording flips under what recordings go
through every day (--conditions benign), and what laundering hides of the fakes (--conditions laundered).

  python -m evaluation stress --model OUT --dataset DATASET --output STRESS
  python -m evaluation stress --model OUT --dataset DATASET --output STRESS --conditions telephone Opus white_10dB
"""
_GATE = """\
exit status: 0 done; 1 done, but a gate failed; 2 nothing done

  --gate "accuracy>=0.80" --gate "eer<=0.12" --gate "recall_real>=0.75"     on the first set
  --gate "roc_auc.low>=0.90"                                                on the lower end of its 95 % interval
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    if getattr(arguments, "resamples", 2) < 2:
        raise UserError(f"--resamples is {arguments.resamples}; expected 2 or more (2000 is usual)")
    options = _options(arguments)
    # Imported late: --help needs neither torch nor matplotlib.
    from evaluation import arena, commands, compare, freezing, stress

    run = {
        ReportOptions: commands.report,
        ScoresOptions: commands.scores,
        CompareOptions: compare.compare,
        ArenaOptions: arena.arena,
        FreezeOptions: freezing.freeze,
        StressOptions: stress.stress,
    }
    return run[type(options)](options)


def _options(
    arguments: argparse.Namespace,
) -> ReportOptions | ScoresOptions | CompareOptions | ArenaOptions | FreezeOptions | StressOptions:
    given = dict(vars(arguments))
    kinds = {
        "report": ReportOptions,
        "scores": ScoresOptions,
        "compare": CompareOptions,
        "arena": ArenaOptions,
        "freeze": FreezeOptions,
        "stress": StressOptions,
    }
    kind = kinds[given.pop("command")]
    for name, value in given.items():
        if isinstance(value, list):
            given[name] = tuple(value)
    if kind in (ReportOptions, StressOptions):
        given["scoring"] = ScoringOptions.read(arguments)
    return kind(**{one.name: given[one.name] for one in fields(kind)})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evaluation", description=__doc__)
    add_version(parser)
    parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    report = parsers.add_parser(
        "report", help="a model on a dataset", description=_REPORT, epilog=_GATE, formatter_class=raw
    )
    _model_options(report)
    report.add_argument("--split", default="test", help="split to judge on (default test)")
    report.add_argument("--ood", nargs="+", default=[], metavar="DATASET", help="datasets from elsewhere, all splits")
    report.add_argument(
        "--leave-one-generator-out",
        action="store_true",
        help="train again without each generator in turn, by the model's recipe, and judge on its fakes (long)",
    )
    report.add_argument("--stress", type=Path, metavar="JSON", help="stress.json of the same model, to be told as well")
    report.add_argument("--base-model", metavar="MODEL", help="the checkpoint it was fine-tuned from, as the control")
    _common(report)
    scores = parsers.add_parser(
        "scores", help="anybody's scores", description=_SCORES, epilog=_GATE, formatter_class=raw
    )
    scores.add_argument("--scores", required=True, type=Path, metavar="CSV", help="one score a clip")
    scores.add_argument("--labels", required=True, type=Path, metavar="CSV", help="one label a clip")
    scores.add_argument("--column", help="name of the score column, where it is none of the usual ones")
    scores.add_argument(
        "--lower-is-fake", action="store_true", help="the scores rise with genuineness: turn them round"
    )
    scores.add_argument("--threshold", type=float, help="fake from this score on, chosen elsewhere")
    scores.add_argument("--name", help="what to call the detector (default: the name of the scores file)")
    _common(scores)
    compare = parsers.add_parser("compare", help="several detectors' scores", description=_COMPARE, formatter_class=raw)
    compare.add_argument("scores", nargs="+", type=Path, metavar="SCORES", help="one score file a detector")
    compare.add_argument("--labels", required=True, type=Path, metavar="CSV", help="one label a clip, as for scores")
    compare.add_argument(
        "--threshold", action="append", default=[], dest="thresholds", metavar="NAME=NUMBER",
        help="fake from this score on, for the detector whose file is called NAME; may be repeated",
    )  # fmt: skip
    _output(compare)
    _arena_options(parsers.add_parser("arena", help="a leaderboard's files", description=_ARENA, formatter_class=raw))
    _freeze_options(
        parsers.add_parser("freeze", help="fix a test before it is touched", description=_FREEZE, formatter_class=raw)
    )
    stress = parsers.add_parser("stress", help="a model under bad conditions", description=_STRESS, formatter_class=raw)
    _model_options(stress)
    stress.add_argument("--split", default="test", help="split to judge on (default test)")
    stress.add_argument(
        "--conditions", nargs="+", metavar="NAME", help="conditions, families, or benign (default: all)"
    )
    stress.add_argument("--max-clips", type=int, metavar="N", help="at most this many clips, drawn with --seed")
    stress.add_argument("--seed", type=int, default=0, help="of everything drawn (default 0)")
    _output(stress)
    return parser


def _model_options(parser: argparse.ArgumentParser) -> None:
    required = {"required": True, "help": "model folder or Hub id"}
    ScoringOptions.add_to(parser, "model", model=required)
    parser.add_argument("--dataset", required=True, help="dataset folder or Hub id")
    ScoringOptions.add_to(parser, "batch_size", "device")


def _arena_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scores", type=Path, metavar="SCORES", help="one score a clip, as for compare")
    parser.add_argument("--labels", required=True, type=Path, metavar="CSV", help="one label a clip, as for scores")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the two files")
    parser.add_argument("--name", required=True, help="of the detector")
    parser.add_argument("--slug", required=True, help="its short name: small letters, digits and hyphens")
    parser.add_argument("--description", required=True, help="one sentence on it")
    parser.add_argument("--code", required=True, metavar="URL", help="where its code is")
    parser.add_argument("--checkpoint", required=True, metavar="URL", help="where its weights are")
    parser.add_argument("--parameters", type=int, metavar="N", help="how many it has")
    parser.add_argument("--notes", default="", help="for whoever reads the submission")
    parser.add_argument("--split", default="test", help="of the labels that is the benchmark (default test)")
    parser.add_argument("--column", help="name of the score column, where it is none of the usual ones")
    parser.add_argument("--lower-is-fake", action="store_true", help="the scores rise with genuineness")


def _freeze_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("test", metavar="TEST", help="labels file, or dataset folder or Hub id")
    parser.add_argument("--split", default="test", help="of a dataset (default test)")
    parser.add_argument("--checkpoint", type=Path, metavar="PATH", help="folder or file of the detector")
    parser.add_argument("--threshold", type=float, help="in the unit of the scores (default: the checkpoint's own)")
    parser.add_argument("--output", required=True, type=Path, metavar="JSON", help="file to write; never written over")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--frozen", type=Path, metavar="JSON", help="what freeze wrote before the test was touched")
    parser.add_argument(
        "--gate", action="append", default=[], metavar="CONDITION", help='such as "accuracy>=0.80"; may be repeated'
    )
    _output(parser)


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument("--resamples", type=int, default=2000, help="bootstrap resamples (default 2000)")


if __name__ == "__main__":
    sys.exit(main())
