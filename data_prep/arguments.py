"""The options of `python -m data_prep build`, each with its unit and default."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.chunks import ChunkingOptions
from data_prep.equalise import STEPS, EqualiseOptions
from deepfake.cluster import add_cluster_arguments
from deepfake.launch import usable_cores

# The names of `data_prep.layouts.LAYOUT_NAMES` (a test compares them): importing it here would cost every worker.
_LAYOUTS = (
    "auto", "folders", "metadata", "asvspoof2019_la", "asvspoof5", "for", "in_the_wild", "mlaad", "wavefake",
    "audiofolder", "hub",
)  # fmt: skip


def add_build_arguments(build: argparse.ArgumentParser) -> None:
    """Add everything that `build` understands."""
    build.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="audio or video files, folders of them, hub:org/name or kaggle:owner/name",
    )
    build.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the dataset")
    _add_reading(build.add_argument_group("reading"))
    _add_chunking(build.add_argument_group("chunking"))
    _add_equalising(build.add_argument_group("equalising", "what the audit found, taken from both classes alike"))
    _add_splits(build.add_argument_group("splits"))
    build.add_argument(
        "--workers",
        type=int,
        default=usable_cores(),
        metavar="N",
        help="processes (default: one per CPU); same result with any",
    )
    add_cluster_arguments(build.add_argument_group("several machines"))
    build.add_argument("--overwrite", action="store_true", help="replace the finished dataset in --output")
    build.add_argument("--push-to-hub", metavar="ID", help="then push it to the Hub, e.g. my-name/my-dataset")


def _add_reading(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--layout",
        choices=_LAYOUTS,
        default="auto",
        help="form of every INPUT (default: recognised from its names and tables)",
    )
    group.add_argument(
        "--subfolders",
        nargs="+",
        default=("auto",),
        metavar="WHAT",
        help="what the folders below real/ and fake/ name, where nothing else says it: auto (default: by their names "
        "and sizes; what was understood is said), none, or for a class its levels from the outside in, such as "
        "real=speaker fake=generator/speaker, and - for a level that names neither",
    )
    group.add_argument(
        "--sample-per-class", type=int, metavar="N", help="take N recordings of each class, at random by --seed"
    )


def _add_chunking(group: argparse._ArgumentGroup) -> None:
    defaults = ChunkingOptions()
    group.add_argument(
        "--min-s",
        type=float,
        default=defaults.min_s,
        metavar="S",
        help="shortest chunk in seconds (default %(default)s)",
    )
    group.add_argument(
        "--max-s",
        type=float,
        default=defaults.max_s,
        metavar="S",
        help="longest chunk in seconds, at least twice --min-s (default %(default)s)",
    )

    group.add_argument(
        "--gap-ms",
        type=int,
        default=defaults.gap_ms,
        metavar="MS",
        help="shorten silences inside a chunk to this many milliseconds (default: kept as they are, so that a chunk is "
        "the recording's own samples); the column gap_removed_s says what was cut out",
    )


def _add_equalising(group: argparse._ArgumentGroup) -> None:
    defaults = EqualiseOptions()
    group.add_argument(
        "--equalise",
        nargs="+",
        choices=STEPS,
        default=(),
        help="trim: no silence at the edges; band: one band; level: one level of the sound; codec: all once through "
        "MP3; chunks are then no longer the recording's own samples",
    )
    group.add_argument(
        "--band-hz",
        type=float,
        default=defaults.band_hz,
        metavar="HZ",
        help="upper edge for band (default %(default)g)",
    )
    group.add_argument(
        "--level-dbfs",
        type=float,
        default=defaults.level_dbfs,
        metavar="DB",
        help="target for level (default %(default)g)",
    )


def _add_splits(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--splits",
        nargs=3,
        type=float,
        metavar=("TRAIN", "VALIDATION", "TEST"),
        help="share of each split in seconds of speech, 0 to leave one out (default 0.8 0.1 0.1, and a corpus that "
        "defines splits keeps them; given, everything is dealt anew)",
    )
    group.add_argument(
        "--leaks",
        choices=("keep", "drop"),
        default="keep",
        help="where a corpus' own splits share a source, a speaker or the same audio: keep them (default), "
        "or drop such recordings from training and validation, so that test stays whole and unseen; a speaker's "
        "name is one voice in all INPUTs and both classes: a fake that names the voice it clones counts as that voice",
    )
    group.add_argument("--seed", type=int, default=42, help="which recordings go where (default %(default)s)")
    group.add_argument(
        "--group-by",
        nargs="+",
        choices=("source", "speaker"),
        default=("source", "speaker"),
        help="what is never in two splits (default: source speaker, connected; a recording and its near duplicates "
        "always stay together)",
    )
    group.add_argument(
        "--hold-out-generator",
        action="append",
        default=[],
        metavar="NAME",
        help="put its fakes, and what shares a source or speaker with them, in test only; may be repeated",
    )
    group.add_argument(
        "--hold-out-speaker",
        action="append",
        default=[],
        metavar="NAME",
        help="the same for a speaker; may be repeated",
    )
    group.add_argument(
        "--test-manifest",
        type=Path,
        metavar="FILE",
        help="the test split, one recording's name a line as in report.json; besides these it gets only what shares a "
        "source or speaker with them",
    )


def add_fetch_arguments(fetch: argparse.ArgumentParser) -> None:
    """Add everything that `fetch` understands."""
    fetch.add_argument("clips", type=Path, metavar="LIST", help="a list of clips, e.g. corpora/pages.csv")
    fetch.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the clips")
    fetch.add_argument(
        "--mirror",
        type=Path,
        metavar="DIR",
        help="read local copies at DIR/OWNER+NAME, git directories or folders that hold one, and ask no server",
    )
    fetch.add_argument(
        "--workers", type=int, default=usable_cores(), metavar="N", help="processes that decode (default: one per CPU)"
    )
    server = fetch.add_argument_group("server")
    server.add_argument(
        "--base-url",
        default="https://raw.githubusercontent.com",
        metavar="URL",
        help="files are at URL/OWNER/NAME/COMMIT/PATH (default %(default)s)",
    )
    server.add_argument(
        "--connections", type=int, default=4, metavar="N", help="requests under way at once (default %(default)s)"
    )
    treatment = fetch.add_argument_group("treatment", "of every clip, both classes alike")
    treatment.add_argument(
        "--edge-silence-s",
        type=float,
        default=0.1,
        metavar="S",
        help="cut longer silence off at both edges down to this (default %(default)g)",
    )
    treatment.add_argument("--keep-edges", action="store_true", help="leave the edges as published")
    treatment.add_argument(
        "--level-dbfs", type=float, default=-23.0, metavar="DB", help="root mean square of a clip (default %(default)g)"
    )
    treatment.add_argument("--keep-level", action="store_true", help="leave the level as published")
    treatment.add_argument(
        "--bits",
        type=int,
        default=16,
        metavar="N",
        help="significant ones of a sample; 11 halve the folder (default %(default)s)",
    )
