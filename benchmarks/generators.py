#!/usr/bin/env python3
"""How much more generators, and more places with human speech, give a detector: ROC-AUC on held-out pages.

python -m benchmarks.generators --corpus FOLDER --encoder openai/whisper-base --work DIR --output RESULTS.json
python -m benchmarks.generators --redraw RESULTS.json --plot PICTURE.png

FOLDER is what `python -m data_prep fetch` or `build` writes from corpora/pages.csv, or any folder with a metadata.csv
that has page, generator, kind, year and label. The encoder stays as published; on its statistics a ridge head is
fitted, thousands of times, on some of the generators or some of the human pages of what is not held out. Five folds,
each without a fifth of the pages and without every generator on them. A curve's value is the mean over folds; its
interval is that of 95 % of the draws.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.frozen_features import CLEAN, TELEPHONE, Corpus, corpus_features
from benchmarks.frozen_head import (
    RECENT,
    Conditioned,
    Fold,
    Products,
    Question,
    chosen_ridge,
    examples_of,
    folds_of,
    judge,
    question,
    synthesis,
    weighted_auc,
)
from deepfake.judging.figures import save_grid
from deepfake.pages.style import FAKE as FAKE_COLOUR
from deepfake.pages.style import INK, MUTED
from deepfake.pages.style import REAL as REAL_COLOUR
from deepfake.training.stacked.sampling import REAL

CONDITIONS = (CLEAN, TELEPHONE)


@dataclass(frozen=True)
class Point:
    """A point of a curve.

    Attributes:
        count: generators or human pages drawn of each fold; of the last point, the mean over folds of all there are.
        clips: drawn with them, mean over folds and draws.
        draws: how many. auc, low, high: by condition, mean over folds and draws, and the interval of the draws' means;
            of the last point, over resampled held-out pages.
    """

    count: float
    clips: float
    draws: int
    auc: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]


@dataclass(frozen=True)
class Line:
    """What is drawn from, and how: `pool` has a name for each clip, None where it is always or never used."""

    title: str
    pool: np.ndarray  # of shape (clips,), "" where a clip is not drawn
    always: np.ndarray  # bool of shape (clips,)
    one_clip: bool = False  # of each that is drawn


def lines_of(corpus: Corpus) -> dict[str, Line]:
    """The curves, by key."""
    facts = corpus.facts
    human, fake = facts.label == REAL, synthesis(facts)
    generator = np.where(fake, facts.generator, "")
    recent, old = synthesis(facts, RECENT), fake & (facts.year < 2022)
    return {
        "generators": Line("generators", generator, human),
        "one_clip": Line("generators, one clip of each", generator, human, one_clip=True),
        "recent": Line(f"generators since {RECENT}", np.where(recent, facts.generator, ""), human),
        "old": Line("generators before 2022", np.where(old, facts.generator, ""), human),
        "human_pages": Line("pages with human speech", np.where(human, facts.page, ""), fake),
    }


def drawn(line: Line, fold: Fold, count: int | None, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Clips to fit on, bool of shape (clips,), with `count` (None: all) of what the line draws; and how many these are.

    Fewer are drawn where the fold has fewer.
    """
    names = np.where(fold.fitted, line.pool, "")
    known = np.unique(names[names != ""])
    chosen = known if count is None else rng.permutation(known)[:count]
    mine = np.isin(names, chosen) & (names != "")
    if line.one_clip:
        order = rng.permutation(np.flatnonzero(mine))
        _, first = np.unique(names[order], return_index=True)
        mine = np.zeros_like(mine)
        mine[order[first]] = True
    return (fold.fitted & line.always) | mine, len(chosen)


def curve(
    corpus: Corpus, products: Products, folds: Sequence[Fold], ridges: Sequence[float], line: Line, draws: int
) -> list[Point]:
    """1, 2, 4 … of what the line draws, and all."""
    facts = corpus.facts
    fewest = min(len(np.unique(line.pool[fold.fitted & (line.pool != "")])) for fold in folds)
    counts = [*(2**power for power in range(20) if 2**power < fewest), None]
    times = {count: draws if count is not None or line.one_clip else 1 for count in counts}
    values: dict[tuple[int | None, str], list[list[float]]] = {(c, k): [] for c in counts for k in CONDITIONS}
    sizes: dict[int | None, list[tuple[int, int]]] = {count: [] for count in counts}
    last = {condition: np.full(len(facts), np.nan) for condition in CONDITIONS}
    asked = [question(facts, fold.held, synthesis(facts, RECENT)) for fold in folds]
    bar = tqdm(total=len(folds) * sum(times.values()), desc=line.title, unit="fit", file=sys.stderr, disable=None)
    for number, (fold, one, ridge) in enumerate(zip(folds, asked, ridges, strict=True)):
        wanted = np.concatenate([products.rows[condition][one.clips] for condition in CONDITIONS])
        everything = examples_of(products, facts, fold.fitted & (line.always | (line.pool != "")))
        settled = line.always[products.clips_of(everything.rows)]
        rows = np.unique(np.concatenate([everything.rows[~settled], wanted]))
        rest = Conditioned.on(products, everything.only(settled), rows, ridge)
        for count in counts:
            for draw in range(times[count]):
                fitted, taken = drawn(line, fold, count, np.random.default_rng([number, draw, count or 0]))
                examples = examples_of(products, facts, fitted)
                added = examples.only(~line.always[products.clips_of(examples.rows)])
                parts = np.split(rest.scores(added, wanted, ridge), len(CONDITIONS))
                for condition, part in zip(CONDITIONS, parts, strict=True):
                    values[count, condition].append([weighted_auc(part, one.labels, one.weights)])
                    last[condition][one.clips] = part
                sizes[count].append((taken, len(added.rows)))
                bar.update()
    bar.close()
    points = []
    for count in counts:
        found = {
            condition: np.reshape(values[count, condition], (len(folds), times[count])).mean(0)
            for condition in CONDITIONS
        }
        points.append(_point(found, sizes[count], asked, last))
    return points


def _point(
    found: dict[str, np.ndarray], sizes: list[tuple[int, int]], asked: Sequence[Question], last: dict[str, np.ndarray]
) -> Point:
    auc, low, high = {}, {}, {}
    for condition, means in found.items():
        auc[condition] = float(means.mean())
        if len(means) > 1:
            low[condition], high[condition] = map(float, np.quantile(means, [0.025, 0.975]))
        else:
            low[condition], high[condition] = judge(asked, last[condition]).interval
    taken, clips = np.mean(sizes, axis=0)
    return Point(float(taken), float(clips), len(next(iter(found.values()))), auc, low, high)


def markdown(curves: dict[str, list[Point]], titles: dict[str, str]) -> str:
    """A table a curve."""
    lines = []
    for key, points in curves.items():
        lines += [f"| {titles[key]} | clips of them | ROC-AUC, clean | ROC-AUC, by telephone |", "|---|---|---|---|"]
        for point in points:
            label = f"{point.count:.0f}" + (" (all)" if point is points[-1] else "")
            cells = [f"{point.auc[c]:.3f} [{point.low[c]:.3f}, {point.high[c]:.3f}]" for c in CONDITIONS]
            lines.append(f"| {label} | {point.clips:,.0f} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def draw(path: Path, curves: dict[str, list[Point]]) -> None:
    """Two panels: generators, and human pages."""

    def panels(axes: Any) -> None:
        left, right = axes
        _line(left, curves["generators"], CLEAN, FAKE_COLOUR, "-", "all years, clean")
        _line(left, curves["generators"], TELEPHONE, FAKE_COLOUR, "--", "all years, by telephone")
        _line(left, curves["one_clip"], CLEAN, MUTED, "-", "one clip of each, clean")
        _line(left, curves["recent"], CLEAN, INK, "-", f"since {RECENT}, clean")
        _line(left, curves["old"], CLEAN, INK, ":", "before 2022, clean")
        _line(right, curves["human_pages"], CLEAN, REAL_COLOUR, "-", "clean")
        _line(right, curves["human_pages"], TELEPHONE, REAL_COLOUR, "--", "by telephone")
        left.set(
            title="Generators in training", xlabel="generators", ylabel=f"ROC-AUC, unseen generators since {RECENT}"
        )
        right.set(title="Human speech in training", xlabel="pages with human speech")
        for one in axes:
            one.set_xscale("log", base=2)
            one.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            one.legend(loc="lower right")

    save_grid(path, panels, (7.0, 3.1), 2)


def _line(axes: Any, points: Sequence[Point], condition: str, colour: str, style: str, legend: str) -> None:
    counts = [point.count for point in points]
    axes.plot(counts, [point.auc[condition] for point in points], color=colour, ls=style, lw=1.6, label=legend)
    if style == "-":
        axes.fill_between(
            counts,
            [point.low[condition] for point in points],
            [point.high[condition] for point in points],
            color=colour,
            alpha=0.12,
            lw=0,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", help="folder with clips, as said above")
    parser.add_argument("--encoder", default="openai/whisper-base", help="folder or Hub id of Whisper base")
    parser.add_argument("--work", type=Path, help="folder for features; a second run finds them there")
    parser.add_argument("--redraw", type=Path, metavar="JSON", help="print and draw results that were written before")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--plot", type=Path, help="PNG file")
    arguments = parser.parse_args()
    if arguments.redraw:
        results = json.loads(arguments.redraw.read_text(encoding="utf-8"))
    elif arguments.corpus and arguments.work:
        results = measured(arguments.corpus, arguments.encoder, arguments.work, arguments.draws)
    else:
        parser.error("expected --corpus and --work, or --redraw")
    curves = {key: [Point(**point) for point in points] for key, points in results["curves"].items()}
    print(markdown(curves, results["titles"]))
    if arguments.plot:
        draw(arguments.plot, curves)
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def measured(place: str, encoder: str, work: Path, draws: int) -> dict[str, Any]:
    """What is written: the curves, and what they were measured on."""
    corpus = corpus_features(place, encoder, work, conditions=CONDITIONS)
    products = Products.of({name: corpus.features[name] for name in CONDITIONS})
    folds = folds_of(corpus.facts)
    ridges = [chosen_ridge(corpus, products, fold) for fold in folds]
    lines = lines_of(corpus)
    curves = {
        key: [asdict(point) for point in curve(corpus, products, folds, ridges, line, draws)]
        for key, line in lines.items()
    }
    titles = {key: line.title for key, line in lines.items()}
    return {"clips": len(corpus.facts), "ridges": ridges, "draws": draws, "titles": titles, "curves": curves}


if __name__ == "__main__":
    main()
