#!/usr/bin/env python3
"""Fewer layers, other encoders, and several together, on frozen features: each against Whisper base's four layers.

python -m benchmarks.frozen_fusion --corpus FOLDER --encoder openai/whisper-base --work DIR --output RESULTS.json \\
    --other small=encoder_model_quantized.onnx --other ECAPA=embedding_model.ckpt

Every encoder gets a ridge head on statistics of its stages, judged as benchmarks/frozen_tries.py judges, on the same
folds of held-out pages and generators. Fused are the scores of such heads: in units of their mean and deviation on
inner folds, all of them within what a fold's heads are fitted on, and with weights that are equal or chosen there.
Corpus and encoder are as of benchmarks/generators.py.

PATH of --other NAME=PATH is
{kinds}.
Of Whisper, the convolutions and the lowest third of the layers are taken, two at least.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Memory
from tqdm import tqdm

from benchmarks.frozen_encoders import KINDS, Stages, other_encoder, parameters_of, seconds_a_second
from benchmarks.frozen_features import CLEAN, TELEPHONE, Corpus, corpus_features, frozen_encoder
from benchmarks.frozen_head import RIDGES, Fold, Inner, Judged, Products, examples_of, folds_of, out_of_fold
from benchmarks.frozen_tries import Bench, summary
from deepfake.errors import UserError, run_command

LAYERS = 4  # of Whisper base, as the shipped detector has
WEIGHTS = tuple(number / 10 for number in range(11))  # of what is fused with the first
COLUMNS = {
    "since 2023, clean": CLEAN,
    "by telephone": TELEPHONE,
    "all years, clean": "all years",
    "all years, by telephone": "all years, telephone",
}
_WIDTH = 3 * 512  # values of a stage of Whisper base


@dataclass(frozen=True)
class View:
    """What the heads on one encoder say, fold by fold in units of their mean and deviation on its inner folds.

    Attributes:
        scores: by condition, each clip's by the head of the fold that holds it out, shape (clips,).
        inner: of each fold, those of the clips that its inner folds hold out, clean, NaN elsewhere, shape (clips,).
        ridges: of each fold, the one that was best on its inner folds.
    """

    scores: dict[str, np.ndarray]
    inner: list[np.ndarray]
    ridges: list[float]

    @classmethod
    def of(cls, corpus: Corpus, products: Products, folds: Sequence[Fold]) -> View:
        """By heads that are fitted on synthesis, conversion and human clips, copies left out."""
        facts, found, inner, ridges = corpus.facts, {}, [], []
        for fold in folds:
            within = Inner.of(corpus, fold)
            tried = {ridge: within.scores(products, ridge) for ridge in RIDGES}
            ridge = max(tried, key=lambda one: within.auc(tried[one]))
            outer = out_of_fold(
                corpus,
                products,
                [fold],
                lambda one: examples_of(products, facts, one.fitted & ~facts.copy),
                tuple(products.rows),
                ridge,
            )
            mean, deviation = np.nanmean(tried[ridge]), np.nanstd(tried[ridge])
            inner.append((tried[ridge] - mean) / deviation)
            ridges.append(ridge)
            for condition, values in outer.items():
                mine = found.setdefault(condition, np.full(len(facts), np.nan))
                mine[fold.held] = (values[fold.held] - mean) / deviation
        return cls(found, inner, ridges)


def fused(views: Sequence[View], weights: np.ndarray, folds: Sequence[Fold]) -> View:
    """The weighted sum of several; `weights` of shape (folds, views)."""
    scores = {}
    for condition in views[0].scores:
        found = np.full(len(folds[0].held), np.nan)
        for fold, mine in zip(folds, weights, strict=True):
            found[fold.held] = mine @ np.stack([one.scores[condition][fold.held] for one in views])
        scores[condition] = found
    of_folds = zip(*(one.inner for one in views), strict=True)
    inner = [mine @ np.stack(values) for mine, values in zip(weights, of_folds, strict=True)]
    return View(scores, inner, [])


def equal_weights(views: Sequence[View], folds: Sequence[Fold]) -> np.ndarray:
    """Shape (folds, views)."""
    return np.full((len(folds), len(views)), 1 / len(views))


def chosen_weights(corpus: Corpus, views: Sequence[View], folds: Sequence[Fold]) -> np.ndarray:
    """Shape (folds, views): that of the first is chosen on each fold's inner folds, the others share the rest."""
    found = []
    for number, fold in enumerate(folds):
        within = Inner.of(corpus, fold)
        first, others = views[0].inner[number], np.mean([one.inner[number] for one in views[1:]], axis=0)
        best = max(WEIGHTS, key=lambda weight: within.auc((1 - weight) * first + weight * others))
        found.append([1 - best, *[best / (len(views) - 1)] * (len(views) - 1)])
    return np.array(found)


def views_by_layers(corpus: Corpus, folds: Sequence[Fold], width: int = _WIDTH) -> dict[str, View]:
    """Of Whisper base: all stages, then ever fewer layers, two at least.

    Inner products of all up to a layer are sums of those of single stages, which are computed once. `width` is how
    many values a stage has.
    """
    features = {name: corpus.features[name] for name in (CLEAN, TELEPHONE)}
    stacked = np.concatenate(list(features.values()))
    together = np.zeros((len(stacked), len(stacked)), np.float32)
    found = {}
    for layer in range(stacked.shape[1] // width):
        columns = stacked[:, layer * width : (layer + 1) * width]
        together += columns @ columns.T
        if layer > 1:
            found[_layers(layer)] = View.of(corpus, Products.scaled(features, together.copy()), folds)
    return dict(reversed(found.items()))


def _layers(count: int) -> str:
    return f"convolutions and {count} layers"


def view_of(corpus: Corpus, folds: Sequence[Fold]) -> View:
    """Of all stages of an encoder."""
    return View.of(corpus, Products.of(corpus.features), folds)


def fusions(
    corpus: Corpus, folds: Sequence[Fold], first: View, others: dict[str, View]
) -> Iterator[tuple[str, list[str], View, np.ndarray]]:
    """Name, whom it is with, scores and weights of the first with each other, and with all of them."""
    groups = {name: [name] for name in others}
    if len(others) > 1:
        groups["all others"] = list(others)
    for name, members in groups.items():
        views = [first, *(others[member] for member in members)]
        equal, chosen = equal_weights(views, folds), chosen_weights(corpus, views, folds)
        yield f"base and {name}, equal weights", members, fused(views, equal, folds), equal
        yield f"base and {name}, weight chosen", members, fused(views, chosen, folds), chosen


def costs(models: dict[str, Stages]) -> dict[str, dict[str, float]]:
    """Parameters, and seconds of one core for a second of audio, as they are and relative to the first."""
    found = {name: {"parameters": parameters_of(one), "seconds": seconds_a_second(one)} for name, one in models.items()}
    unit = next(iter(found.values()))["seconds"]
    return {name: one | {"relative": one["seconds"] / unit} for name, one in found.items()}


def parsed_others(given: Sequence[str]) -> dict[str, str]:
    """NAME=PATH as a dict.

    Raises:
        UserError: one is not of this form, or a name is there twice.
    """
    pairs = [one.partition("=") for one in given]
    if not all(name and path for name, _, path in pairs) or len({name for name, _, _ in pairs}) < len(pairs):
        raise UserError(f"--other {' '.join(given)}: expected NAME=PATH, every name once")
    return {name: path for name, _, path in pairs}


def main() -> int:
    text = __doc__.format(kinds=textwrap.fill(KINDS, 118))
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="folder with clips, as said above")
    parser.add_argument("--encoder", default="openai/whisper-base", help="folder or Hub id of Whisper base")
    parser.add_argument("--other", nargs="+", action="extend", default=[], metavar="NAME=PATH", help="as said above")
    parser.add_argument("--work", type=Path, required=True, help="folder for features; a second run finds them there")
    parser.add_argument("--output", type=Path, help='JSON file whose "encoders" are written anew, the rest kept')
    arguments = parser.parse_args()
    others = parsed_others(arguments.other)
    models: dict[str, Stages] = {_layers(n): frozen_encoder(arguments.encoder, n) for n in range(LAYERS, 1, -1)}
    models |= {name: other_encoder(path) for name, path in others.items()}
    told = {"costs": costs(models)}

    def features(encoder: str, model: Stages) -> Corpus:
        return corpus_features(
            arguments.corpus, encoder, arguments.work, conditions=(CLEAN, TELEPHONE), load=lambda: model
        )

    corpus = features(arguments.encoder, models[_layers(LAYERS)])
    folds = folds_of(corpus.facts)
    kept = Memory(arguments.work / "views", verbose=0)  # heads of an encoder are fitted once, in minutes
    single = kept.cache(views_by_layers)(corpus, folds)
    other_views = {}
    for name, path in others.items():
        mine = features(path, models[name])
        if len(mine.facts) != len(corpus.facts):
            raise UserError(f"--other {name} has {len(mine.facts)} clips where Whisper base has {len(corpus.facts)}")
        other_views[name] = kept.cache(view_of)(mine, folds)

    first = next(iter(single.values()))
    bench = Bench(corpus, Products({}, np.empty((0, 0))), folds, first.ridges)
    results: dict[str, dict] = {}
    reference: dict[str, Judged] | None = None

    def note(name: str, view: View, cost: float, weights: np.ndarray | None = None) -> None:
        nonlocal reference
        results[name], judged = summary(bench, view.scores, reference)
        results[name] |= {"ridges": view.ridges} if weights is None else {"weights": weights.tolist()}
        results[name]["relative_cost"] = cost
        reference = reference or judged
        if arguments.output:
            write(arguments.output, told | {"clips": len(corpus.facts), "tries": results})

    relative = {name: one["relative"] for name, one in told["costs"].items()}
    for name, view in tqdm((single | other_views).items(), desc="encoders", file=sys.stderr, disable=None):
        note(name, view, relative[name])
    for name, members, view, weights in fusions(corpus, folds, first, other_views):
        note(name, view, 1 + sum(relative[member] for member in members), weights)
    print(table(results))
    return 0


def table(results: dict[str, dict]) -> str:
    """One row a try, as Markdown; the cost is processor time relative to the first."""
    lines = [
        f"| what | {' | difference | '.join(COLUMNS)} | difference | cost |",
        "|---" * (2 * len(COLUMNS) + 2) + "|",
    ]
    for name, told in results.items():
        cells = []
        for key in COLUMNS.values():
            cells.append(f"{told[key]['roc_auc']:.3f}")
            low, high = told[key].get("difference_interval", (0.0, 0.0))
            cells.append(f"{told[key].get('difference', 0.0):+.3f} [{low:+.3f}, {high:+.3f}]" if low < high else "")
        lines.append(f"| {name} | {' | '.join(cells)} | {told['relative_cost']:.2f} |")
    return "\n".join(lines)


def write(path: Path, encoders: dict) -> None:
    """The "encoders" of a JSON file; what else stands in it is kept."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(before | {"encoders": encoders}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_command(main))
