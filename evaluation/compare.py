"""What `python -m evaluation compare` does: score files of any detectors on one list of labelled clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepfake.errors import UserError
from deepfake.judging import figures
from deepfake.judging.clips import ScoredClips
from deepfake.judging.comparison import COMPARISON, Comparison, Contender, compare_systems, write_comparison
from deepfake.judging.judge import Judge
from deepfake.judging.record import SCORE, TEST, Threshold
from deepfake.judging.tables import comparison_table
from deepfake.metrics.definitions import equal_error_rate
from evaluation.commands import OTHERS, judge_of_scores
from evaluation.options import CompareOptions
from evaluation.page import write_comparison_page
from evaluation.score_files import JoinedScores, read_scores, without_extension


def compare(arguments: CompareOptions) -> int:
    """Compare the detectors and write compare.json, det.png and compare.html."""
    names = _names(arguments.scores)
    given = _thresholds(arguments.thresholds, names)
    joined = [read_scores(path, arguments.labels, take_decisions=True) for path in arguments.scores]
    kept = _common(joined, arguments.labels)
    contenders = []
    for name, found in zip(names, joined, strict=True):
        clips = _chosen(found, kept)
        scored = sum(len(part) for split, part in found.splits.items() if split not in OTHERS)
        judge = _judge(found, clips, given.get(name))
        contenders.append(Contender(name, clips, judge, found.layout, scored - len(clips)))
    try:
        result = compare_systems(contenders, arguments.labels.stem, arguments.resamples)
    except ValueError as error:
        raise UserError(str(error)) from error
    write(result, arguments.output)
    print(comparison_table(result))
    print(f"page      {arguments.output / 'compare.html'}\nnumbers   {arguments.output / COMPARISON}")
    return 0


def write(found: Comparison, folder: Path) -> None:
    """Write compare.json, det.png and compare.html into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_comparison(folder / COMPARISON, found)
    pictures = []
    if found.systems[0].judged.series.roc is not None:
        curves = [figures.Curve(one.name, one.judged, False) for one in found.systems]
        pictures = [
            figures.save(folder / "det.png", lambda axes: figures.det(axes, curves), figures.curve_size(curves))
        ]
    write_comparison_page(found, pictures, folder / "compare.html")


def _names(paths: Sequence[Path]) -> list[str]:
    """What the detectors are called: their files' names, with the folder's where these are alike."""
    if len(paths) < 2:
        raise UserError("compare takes the score files of two or more detectors; found one")
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    longer = [f"{path.resolve().parent.name}/{path.stem}" for path in paths]
    if len(set(longer)) < len(longer):
        raise UserError(f"two score files are called {max(longer, key=longer.count)}; give them different names")
    return longer


def _thresholds(given: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    found = {}
    for text in given:
        name, _, value = text.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise UserError(f"--threshold is {text}; expected NAME=NUMBER, such as {names[0]}=0.5") from error
        if name not in names or not math.isfinite(found[name]):
            raise UserError(f"--threshold is {text}; expected a finite number for one of {', '.join(names)}")
    return found


def _common(joined: Sequence[JoinedScores], labels: Path) -> dict[str, frozenset[str]]:
    """By split, the names of the clips that every detector scored; not those of train and validation."""
    splits = [split for split in joined[0].splits if split not in OTHERS]
    bare = [{split: _bare(one.names.get(split, ())) for split in splits} for one in joined]
    kept = {split: frozenset.intersection(*(frozenset(one[split]) for one in bare)) for split in splits}
    if not any(kept.values()):
        raise UserError(f"no clip of {labels} outside {' and '.join(OTHERS)} has a score in every file")
    return kept


def _chosen(joined: JoinedScores, kept: dict[str, frozenset[str]]) -> ScoredClips:
    """One detector's clips that all scored, in the order of the labels: every detector's in the same."""
    parts = [
        joined.splits[split].take(np.array([name in names for name in _bare(joined.names[split])]))
        for split, names in sorted(kept.items())
        if names
    ]
    return parts[0] if len(parts) == 1 else ScoredClips.joined(parts)


def _bare(names: Sequence[str]) -> list[str]:
    """Names by which one clip is the same in all score files, whether or not these write its extension."""
    return [without_extension(name) for name in names]


def _judge(joined: JoinedScores, clips: ScoredClips, threshold: float | None) -> Judge:
    """The given threshold, else what the file or validation says, else that of the equal error rate on these clips."""
    if threshold is not None or joined.decided is not None or "validation" in joined.splits or joined.unit != SCORE:
        return judge_of_scores(joined, threshold)
    try:
        _, value = equal_error_rate(clips.scores, clips.labels)
    except ValueError as error:
        raise UserError(f"the scores have no threshold, and none can be chosen: {error}") from error
    origin = "of the equal error rate on these very clips, for want of another: flattered"
    return Judge(Threshold(value, joined.unit, origin, TEST, "eer"))
