#!/usr/bin/env python3
"""What was tried for the detector, on frozen features: each against one reference, on held-out pages and generators.

python -m benchmarks.frozen_tries --corpus FOLDER --encoder openai/whisper-base --work DIR --output RESULTS.json

Every try changes one thing about a ridge head on statistics of Whisper base's low layers: which clips it is fitted on,
what they weigh, what they are taken for, or how the head is fitted. It is judged by folds of held-out pages, without
any generator on them, on text-to-speech and voice conversion since 2023 against human clips. Differences to the
reference are told with 95 % intervals over pages. Corpus and encoder are as of benchmarks/generators.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from benchmarks.frozen_features import CLEAN, COMPRESSED, DENOISED, TELEPHONE, Corpus, corpus_features
from benchmarks.frozen_head import (
    FOLDS,
    RECENT,
    Examples,
    Fold,
    Judged,
    Products,
    Question,
    chosen_ridge,
    examples_of,
    folds_of,
    judge,
    out_of_fold,
    question,
    synthesis,
)
from deepfake.training.stacked.options import StackedOptions
from deepfake.training.stacked.sampling import FAKE, REAL, ClipFacts

FALSE_ALARMS = 0.08  # of clean human clips, where shares of others are told
_UNSTATED = ("", "none stated", "---")
_SAM_RADIUS, _STEPS, _BATCH = 0.05, 400, 512


@dataclass(frozen=True)
class Bench:
    """The corpus with what all tries share: products, folds, the ridge of each fold, and the held-out questions."""

    corpus: Corpus
    products: Products
    folds: list[Fold]
    ridges: list[float]

    @property
    def facts(self) -> ClipFacts:
        return self.corpus.facts

    def questions(self, fakes: np.ndarray) -> list[Question]:
        return [question(self.facts, fold.held, fakes) for fold in self.folds]

    def scores(self, examples: Callable[[Fold], Examples], products: Products | None = None) -> dict[str, np.ndarray]:
        """Out-of-fold scores by condition, each of shape (clips,)."""
        products = products or self.products
        found = {condition: np.full(len(self.facts), np.nan) for condition in products.rows}
        for fold, ridge in zip(self.folds, self.ridges, strict=True):
            one = out_of_fold(self.corpus, products, [fold], examples, tuple(products.rows), ridge)
            for condition, values in one.items():
                found[condition][fold.held] = values[fold.held]
        return found

    def plain(self, fold: Fold, options: StackedOptions | None = None, condition: str = CLEAN) -> Examples:
        """The reference: synthesis and conversion against human clips, copies left out."""
        return examples_of(self.products, self.facts, fold.fitted & ~self.facts.copy, condition, options)


def stated(licence: np.ndarray) -> np.ndarray:
    """Which clips come from a page that states a licence; bool of shape (clips,)."""
    known = np.char.strip(licence.astype(str))
    return ~np.isin(known, _UNSTATED) & ~np.char.startswith(known, "none stated") & ~np.char.startswith(known, "#")


def tries(bench: Bench) -> dict[str, Callable[[], dict[str, np.ndarray]]]:
    """By name, what gives scores by condition."""
    facts, plain = bench.facts, bench.plain
    usual = StackedOptions()
    flat = replace(usual, page_power=1.0, generator_power=1.0, old_share=1.0, conversion_share=1.0)

    def without(fakes: np.ndarray) -> Callable[[Fold], Examples]:
        return lambda fold: plain(replace(fold, fitted=fold.fitted & ~fakes))

    def with_copies(share: float) -> Callable[[Fold], Examples]:
        options = replace(usual, copies_share=share)
        return lambda fold: examples_of(bench.products, facts, fold.fitted, CLEAN, options)

    def with_changed(*conditions: str) -> Callable[[Fold], Examples]:
        def examples(fold: Fold) -> Examples:
            found = plain(fold)
            people = fold.fitted & (facts.label == REAL)
            for condition in conditions:
                chosen = np.flatnonzero(people & (bench.products.rows[condition] >= 0))
                weights = dict(zip(found.rows.tolist(), found.weights.tolist(), strict=True))
                mine = np.array([weights[row] for row in bench.products.rows[CLEAN][chosen].tolist()])
                found += Examples(bench.products.rows[condition][chosen], np.full(len(chosen), -1.0), mine)
            return found

        return examples

    of_fold: dict[int, tuple[Examples, Harm]] = {}

    def harmful(fold: Fold) -> tuple[Examples, Harm]:
        number = next(number for number, one in enumerate(bench.folds) if one is fold)
        if number not in of_fold:
            of_fold[number] = harms(bench, fold, bench.ridges[number])
        return of_fold[number]

    both = lambda fold: plain(fold) + plain(fold, condition=TELEPHONE)  # noqa: E731
    old = synthesis(facts)
    found: dict[str, Callable[[], dict[str, np.ndarray]]] = {
        "reference": lambda: bench.scores(plain),
        "every clip weighs the same": lambda: bench.scores(lambda fold: plain(fold, flat)),
        "generators of all years weigh the same": lambda: bench.scores(
            lambda fold: plain(fold, replace(usual, old_share=1.0))
        ),
        "without generators before 2020": lambda: bench.scores(without(old & (facts.year < 2020))),
        "without generators before 2022": lambda: bench.scores(without(old & (facts.year < 2022))),
        f"without generators before {RECENT}": lambda: bench.scores(without(old & (facts.year < RECENT))),
        "without voice conversion": lambda: bench.scores(without(facts.kind == "vc")),
        "copies as fakes, 0.3 as often": lambda: bench.scores(with_copies(0.3)),
        "copies as fakes, as often as synthesis": lambda: bench.scores(with_copies(1.0)),
        "copies as a class of their own": lambda: own_class(bench),
        "clips by telephone added": lambda: bench.scores(both),
        "without the tenth of generators and pages that harm most": lambda: selected(bench, harmful, 0.1),
        "without the quarter that harms most": lambda: selected(bench, harmful, 0.25),
        "that quarter at a quarter of its weight": lambda: selected(bench, harmful, 0.25, 0.25),
        "clips with a stated licence only": lambda: bench.scores(without(~stated(bench.corpus.licence))),
        "as many clips of pages drawn at random": lambda: random_pages(bench),
        "logistic head": lambda: logistic(bench, 0.0),
        "logistic head, sharpness-aware": lambda: logistic(bench, _SAM_RADIUS),
    }
    if DENOISED in bench.products.rows:
        found |= {
            "denoised human clips added as human": lambda: bench.scores(with_changed(DENOISED)),
            "loudness-levelled human clips added as human": lambda: bench.scores(with_changed(COMPRESSED)),
        }
    return found


def own_class(bench: Bench) -> dict[str, np.ndarray]:
    """Three classes by one-against-the-rest heads; the score is fake minus human, which copies have no part in."""
    options = replace(StackedOptions(), copies_share=1.0)

    def towards(wanted: np.ndarray) -> Callable[[Fold], Examples]:
        def examples(fold: Fold) -> Examples:
            found = examples_of(bench.products, bench.facts, fold.fitted, CLEAN, options)
            mine = wanted[bench.products.clips_of(found.rows)]
            return replace(found, targets=np.where(mine, 1.0, -1.0))

        return examples

    fake = bench.scores(towards(synthesis(bench.facts)))
    human = bench.scores(towards(bench.facts.label == REAL))
    return {condition: fake[condition] - human[condition] for condition in fake}


def random_pages(bench: Bench) -> dict[str, np.ndarray]:
    """Pages drawn until there are as many clips as those with a stated licence are."""
    wanted, rng = int(stated(bench.corpus.licence).sum()), np.random.default_rng(0)
    pages, counts = np.unique(bench.facts.page, return_counts=True)
    order = rng.permutation(len(pages))
    taken = pages[order[np.cumsum(counts[order]) <= wanted]]
    mine = np.isin(bench.facts.page, taken)
    return bench.scores(lambda fold: bench.plain(replace(fold, fitted=fold.fitted & mine)))


def selected(
    bench: Bench, harmful: Callable[[Fold], tuple[Examples, Harm]], share: float, left: float = 0.0
) -> dict[str, np.ndarray]:
    """Without (or with `left` of the weight of) the share of generators and human pages that harm most.

    Args:
        harmful: `harms` of a fold.
    """

    def examples(fold: Fold) -> Examples:
        found, harm = harmful(fold)
        names = np.unique(harm.names)
        totals = np.array([harm.values[harm.names == name].sum() for name in names])
        worst = names[np.argsort(totals)[: round(share * len(names))]]
        weights = np.where(np.isin(harm.names, worst), max(left, 1e-6), 1.0)
        return replace(found, weights=found.weights * weights)

    return bench.scores(examples)


@dataclass(frozen=True)
class Harm:
    """Of each example of a fit, the generator or human page it belongs to, and what it does to held-out clips."""

    names: np.ndarray
    values: np.ndarray  # below 0: the separation of held-out clips would grow without it


def harms(bench: Bench, fold: Fold, ridge: float) -> tuple[Examples, Harm]:
    """The effect of each example on pages and generators that are held out within what the fold is fitted on.

    To first order in its weight (Koh and Liang, "Understanding black-box predictions via influence functions", 2017):
    of the ridge head with A = K + ridge / W, a = A^-1 y, the scores K_v a of held-out clips change with the weight of
    example i by K_v A^-1 e_i · ridge · a_i / w_i^2. The separation is the mean score of recent fakes minus that of
    people, in units of their pooled deviation.
    """
    facts, products = bench.facts, bench.products
    everything = bench.plain(fold)
    clips = products.clips_of(everything.rows)
    effect, seen = np.zeros(len(facts)), np.zeros(len(facts))
    for inner in folds_of(facts, FOLDS - 1, fold.fitted & ~facts.copy):
        asked = question(facts, inner.held, synthesis(facts, RECENT))
        examples = bench.plain(inner)
        matrix = products.values[np.ix_(examples.rows, examples.rows)].astype(np.float64)
        matrix[np.diag_indices_from(matrix)] += ridge / examples.weights
        across = products.values[np.ix_(products.rows[CLEAN][asked.clips], examples.rows)].astype(np.float64)
        fake = asked.labels == FAKE
        towards = np.where(fake, asked.weights / asked.weights[fake].sum(), -asked.weights / asked.weights[~fake].sum())
        solved = np.linalg.solve(matrix, np.stack([examples.targets, across.T @ towards], axis=1))
        spread = (across @ solved[:, 0])[~fake].std() + 1e-9
        mine = products.clips_of(examples.rows)
        effect[mine] += solved[:, 1] * ridge * solved[:, 0] / examples.weights / spread  # times its weight: all of it
        seen[mine] += 1
    names = np.where(facts.label == FAKE, facts.generator, facts.page)
    values = effect[clips] / np.maximum(seen[clips], 1)
    return everything, Harm(np.char.add(np.where(facts.label[clips] == FAKE, "f ", "h "), names[clips]), values)


def logistic(bench: Bench, radius: float) -> dict[str, np.ndarray]:
    """A logistic head by AdamW on the same features; with a radius, sharpness-aware.

    Foret, Kleiner, Mobahi and Neyshabur, "Sharpness-aware minimization" (2021): each step follows the gradient at the
    worst point within the radius.
    """
    features = {name: bench.corpus.features[name] for name in (CLEAN, TELEPHONE)}
    scale = 1 / np.sqrt((features[CLEAN] ** 2).sum(1).mean())
    tensors = {name: torch.from_numpy(values * scale) for name, values in features.items()}
    found = {name: np.full(len(bench.facts), np.nan) for name in tensors}
    for number, fold in enumerate(bench.folds):
        examples = bench.plain(fold)
        clips = bench.products.clips_of(examples.rows)
        weight = _descended(tensors[CLEAN], clips, examples, radius, number)
        for name, values in tensors.items():
            found[name][fold.held] = (values[fold.held] @ weight[:-1]).numpy()
    return found


def _descended(values: torch.Tensor, clips: np.ndarray, examples: Examples, radius: float, seed: int) -> torch.Tensor:
    """The head's weights, and its constant last."""
    rng = np.random.default_rng(seed)
    weight = torch.zeros(values.shape[1] + 1, requires_grad=True)
    optimiser = torch.optim.AdamW([weight], lr=3e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS)
    share = examples.weights / examples.weights.sum()

    def gradient(at: torch.Tensor, batch: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        at = at.detach().requires_grad_(True)
        loss = functional.binary_cross_entropy_with_logits(batch @ at[:-1] * 10 + at[-1], labels)
        return torch.autograd.grad(loss, at)[0]

    for _ in range(_STEPS):
        drawn = rng.choice(len(clips), _BATCH, p=share)
        batch, labels = values[clips[drawn]], torch.tensor(examples.targets[drawn] > 0).float()
        found = gradient(weight, batch, labels)
        if radius:
            found = gradient(weight + radius * found / (found.norm() + 1e-12), batch, labels)
        weight.grad = found
        optimiser.step()
        schedule.step()
    return weight.detach()


def summary(bench: Bench, scores: dict[str, np.ndarray], reference: dict[str, Judged] | None) -> tuple[dict, dict]:
    """What is written of a try, and its judged values."""
    facts = bench.facts
    asked = {
        CLEAN: (CLEAN, synthesis(facts, RECENT)),
        TELEPHONE: (TELEPHONE, synthesis(facts, RECENT)),
        "all years": (CLEAN, synthesis(facts)),
        "all years, telephone": (TELEPHONE, synthesis(facts)),
        "copies": (CLEAN, facts.copy),
    }
    judged = {name: judge(bench.questions(fakes), scores[condition]) for name, (condition, fakes) in asked.items()}
    told = {}
    for name, one in judged.items():
        told[name] = {"roc_auc": one.value, "interval": one.interval}
        if reference is not None:
            difference = one.minus(reference[name])
            told[name] |= {"difference": difference.value, "difference_interval": difference.interval}
    told["false_alarms"] = false_alarms(bench, scores)
    return told, judged


def false_alarms(bench: Bench, scores: dict[str, np.ndarray]) -> dict[str, float]:
    """Share of human clips above the threshold that `FALSE_ALARMS` of the fold's clean ones pass, by condition."""
    found: dict[str, list[float]] = {}
    for fold in bench.folds:
        people = fold.held & (bench.facts.label == REAL)
        threshold = np.quantile(scores[CLEAN][people], 1 - FALSE_ALARMS)
        for condition, values in scores.items():
            found.setdefault(condition, []).append(float((values[people] > threshold).mean()))
    return {condition: float(np.mean(values)) for condition, values in found.items()}


def markdown(results: dict[str, dict]) -> str:
    """One row a try."""
    lines = [
        f"| what | since {RECENT}, clean | difference | by telephone | difference | all years | copies |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, told in results.items():
        cells = []
        for key in (CLEAN, TELEPHONE):
            cells.append(f"{told[key]['roc_auc']:.3f}")
            low, high = told[key].get("difference_interval", (0.0, 0.0))
            cells.append(
                f"{told[key]['difference']:+.3f} [{low:+.3f}, {high:+.3f}]" if "difference" in told[key] else ""
            )
        cells += [f"{told[key]['roc_auc']:.3f}" for key in ("all years", "copies")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="folder with clips, as said above")
    parser.add_argument("--encoder", default="openai/whisper-base", help="folder or Hub id of Whisper base")
    parser.add_argument("--work", type=Path, required=True, help="folder for features; a second run finds them there")
    parser.add_argument("--conditions", nargs="+", default=[CLEAN, TELEPHONE, DENOISED, COMPRESSED])
    parser.add_argument("--output", type=Path, help="JSON file, written anew after every try")
    arguments = parser.parse_args()
    corpus = corpus_features(arguments.corpus, arguments.encoder, arguments.work, conditions=arguments.conditions)
    products = Products.of(corpus.features)
    folds = folds_of(corpus.facts)
    bench = Bench(corpus, products, folds, [chosen_ridge(corpus, products, fold) for fold in folds])
    results: dict[str, dict] = {}
    kept = {}
    if arguments.output and arguments.output.is_file():  # of benchmarks/frozen_fusion.py
        before = json.loads(arguments.output.read_text(encoding="utf-8"))
        kept = {name: before[name] for name in ("encoders",) if name in before}
    reference: dict[str, Judged] | None = None

    def note(name: str, scores: dict[str, np.ndarray]) -> None:
        nonlocal reference
        results[name], judged = summary(bench, scores, reference)
        reference = reference or judged
        if arguments.output:
            facts = {"clips": len(corpus.facts), "stated_licence": int(stated(corpus.licence).sum())}
            facts |= {"ridges": bench.ridges, "false_alarms_at": FALSE_ALARMS}
            arguments.output.write_text(
                json.dumps(facts | {"tries": results} | kept, indent=1) + "\n", encoding="utf-8"
            )

    for name, attempt in tqdm(tries(bench).items(), desc="tries", file=sys.stderr, disable=None):
        note(name, attempt())
    print(markdown(results))


if __name__ == "__main__":
    main()
