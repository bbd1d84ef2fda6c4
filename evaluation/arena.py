"""What `python -m evaluation arena` does: a detector's scores in the form that speech_spoof_bench's leaderboard takes.

The form is that of its submission guide: scores.txt holds "utterance score" a line, higher = more bona fide, and
meta.yaml describes the system by the fields of its submission_meta schema.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlparse

import numpy as np
import yaml

from deepfake.errors import UserError
from deepfake.judging.clips import ScoredClips
from deepfake.metrics.definitions import equal_error_rate
from deepfake.text import write_text
from evaluation.options import ArenaOptions
from evaluation.score_files import JoinedScores, read_scores, without_extension

SCORES, META = "scores.txt", "meta.yaml"
MOST_UNSCORED = 0.05  # of the trials; with more the leaderboard's own runner stops
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]*")


def arena(arguments: ArenaOptions) -> int:
    """Write scores.txt and meta.yaml; nothing is written where the leaderboard would refuse it."""
    meta = meta_of(arguments)
    joined = read_scores(arguments.scores, arguments.labels, arguments.column, arguments.lower_is_fake)
    names, clips = _trials(joined, arguments)
    skipped = joined.unscored
    trials = len(clips) + skipped
    if skipped > MOST_UNSCORED * trials:
        raise UserError(
            f"{skipped} of {trials} trials have no score; the leaderboard takes at most {MOST_UNSCORED:.0%}, so score "
            "the rest"
        )
    text = scores_text(names, clips)
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_text(arguments.output / SCORES, text)
    write_text(arguments.output / META, yaml.safe_dump(meta, sort_keys=False, allow_unicode=True))
    eer, _ = equal_error_rate(clips.scores, clips.labels)
    print(f"trials    {trials}, of which {skipped} skipped\nEER       {100 * eer:.4f} %")
    print(f"sha256    {hashlib.sha256(text.encode()).hexdigest()}  {SCORES}")
    print(f"scores    {arguments.output / SCORES}, higher = more bona fide\nsystem    {arguments.output / META}")
    return 0


def meta_of(arguments: ArenaOptions) -> dict[str, Any]:
    """The contents of meta.yaml. Raises UserError for what its schema refuses."""
    if not arguments.name.strip():
        raise UserError("--name is empty; expected what the detector is to be called")
    if not _SLUG.fullmatch(arguments.slug):
        raise UserError(
            f"--slug is {arguments.slug}; expected small letters, digits and hyphens, such as my-detector-1"
        )
    for option, url in (("--code", arguments.code), ("--checkpoint", arguments.checkpoint)):
        if urlparse(url).scheme not in ("http", "https") or not urlparse(url).netloc:
            raise UserError(f"{option} is {url}; expected a URL that anybody can open, such as https://example.org/x")
    if arguments.parameters is not None and arguments.parameters < 0:
        raise UserError(f"--parameters is {arguments.parameters}; expected 0 or more")
    system = {name: getattr(arguments, name) for name in ("name", "slug", "description", "code", "checkpoint")}
    if arguments.parameters is not None:
        system["params_millions"] = round(arguments.parameters / 1e6, 3)
    return {"system": system} | ({"notes": arguments.notes} if arguments.notes else {})


def scores_text(names: tuple[str, ...], clips: ScoredClips) -> str:
    """The lines of scores.txt: scores turned round, so that higher means bona fide, with every digit.

    Raises:
        UserError: a name that holds blanks, one class only, or scores that rank the classes the wrong way round.
    """
    blank = next((name for name in names if len(name.split()) != 1), None)
    if blank is not None:
        raise UserError(f"the clip {blank!r} has blanks in its name, which {SCORES} parts its columns by; rename it")
    try:
        eer, _ = equal_error_rate(clips.scores, clips.labels)
    except ValueError as error:
        raise UserError(f"the leaderboard computes an equal error rate, and {error}") from error
    if eer > 0.5 and np.mean(clips.scores[clips.labels == 1]) < np.mean(clips.scores[clips.labels == 0]):
        raise UserError(
            f"the equal error rate is {100 * eer:.1f} %: the scores rank real above fake; where they rise with "
            "genuineness, give --lower-is-fake"
        )
    return "".join(f"{name} {-score!r}\n" for name, score in zip(names, clips.scores.tolist(), strict=True))


def _trials(joined: JoinedScores, arguments: ArenaOptions) -> tuple[tuple[str, ...], ScoredClips]:
    if arguments.split not in joined.splits:
        raise UserError(
            f"{arguments.labels} has no scored clips of split {arguments.split}; it has {', '.join(joined.splits)}"
        )
    names = tuple(PurePosixPath(without_extension(name)).name for name in joined.names[arguments.split])
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise UserError(f"two clips of {arguments.labels} are called {twice}; expected one utterance a name")
    return names, joined.splits[arguments.split]
