"""A ridge head on frozen features: fitted from products of clips, judged on folds of held-out pages and generators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

from benchmarks.frozen_features import CLEAN, TELEPHONE, Corpus
from deepfake.training.stacked.options import StackedOptions
from deepfake.training.stacked.sampling import FAKE, REAL, ClipFacts, deal_pages, drawing_weights, fold_masks

FOLDS = 5
RECENT = 2023
RIDGE = 0.1  # of the mean square of a clip's features; see `Products`
RIDGES = 0.03, 0.1, 0.3, 1.0
_MASS = 1000.0  # what the clips of a class weigh together, however many they are
_RESAMPLES = 500


@dataclass(frozen=True)
class Products:
    """Inner products of feature vectors, from which a linear head needs nothing more.

    Attributes:
        rows: by condition, the rows of `values` that are its clips, int of shape (clips,), -1 where a clip has none.
        values: float32 of shape (rows, rows), in units of the mean square; 1 is added to each, which gives the head
            its constant.
    """

    rows: dict[str, np.ndarray]
    values: np.ndarray

    def clips_of(self, rows: np.ndarray) -> np.ndarray:
        """The clip that each row is of."""
        clips = np.full(len(self.values), -1)
        for mine in self.rows.values():
            clips[mine[mine >= 0]] = np.flatnonzero(mine >= 0)
        return clips[rows]

    @classmethod
    def of(cls, features: dict[str, np.ndarray], columns: slice = slice(None)) -> Products:
        """Of the given columns of the features."""
        stacked = np.concatenate([values[np.isfinite(values).all(1)][:, columns] for values in features.values()])
        return cls.scaled(features, stacked @ stacked.T)

    @classmethod
    def scaled(cls, features: dict[str, np.ndarray], sums: np.ndarray) -> Products:
        """Of what the features' finite rows, condition after condition, give as plain inner products; overwrites it."""
        rows, begun = {}, 0
        for condition, values in features.items():
            known = np.isfinite(values).all(1)
            rows[condition] = np.where(known, begun + np.cumsum(known) - 1, -1)
            begun += int(known.sum())
        sums /= np.diagonal(sums).mean()
        sums += 1.0
        return cls(rows, sums)


@dataclass(frozen=True)
class Examples:
    """What a head is fitted on: rows of `Products`, what each should give (1 fake, -1 real), and how much it weighs."""

    rows: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def __add__(self, other: Examples) -> Examples:
        return Examples(
            *(np.concatenate(pair) for pair in zip(self._parts(), other._parts(), strict=True))
        )  # fmt: skip

    def only(self, chosen: np.ndarray) -> Examples:
        """Those that are chosen, bool of shape (examples,)."""
        return Examples(*(part[chosen] for part in self._parts()))

    def _parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.rows, self.targets, self.weights


def examples_of(
    products: Products,
    facts: ClipFacts,
    fitted: np.ndarray,
    condition: str = CLEAN,
    options: StackedOptions | None = None,
) -> Examples:
    """The fitted clips (bool of shape (clips,)), weighing as often as the detector's fit would draw them."""
    human, fake = drawing_weights(facts, fitted, options or StackedOptions())
    weights = (human + fake) * _MASS
    chosen = np.flatnonzero((weights > 0) & (products.rows[condition] >= 0))
    targets = np.where(facts.label[chosen] == FAKE, 1.0, -1.0)
    return Examples(products.rows[condition][chosen], targets, weights[chosen])


def ridge_scores(products: Products, examples: Examples, asked: np.ndarray, ridge: float = RIDGE) -> np.ndarray:
    """Scores (higher: fake) of the rows `asked`, by the head with the least weighted squares on `examples`.

    The dual form: (K + ridge / weights) a = targets, and a score is the sum of a over products with the examples.
    """
    matrix = products.values[np.ix_(examples.rows, examples.rows)].astype(np.float64)
    matrix[np.diag_indices_from(matrix)] += ridge / examples.weights
    duals = cho_solve(cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False), examples.targets)
    return products.values[np.ix_(asked, examples.rows)] @ duals


@dataclass(frozen=True)
class Conditioned:
    """What is left to fit once some examples are fitted on in any case: block elimination, done once for many fits.

    Attributes:
        place: of every row of the products its place here, -1 where it has none.
        base: scores of these rows by a head that is fitted on those examples alone.
        values: products less what those examples explain.
    """

    place: np.ndarray
    base: np.ndarray
    values: np.ndarray

    @classmethod
    def on(cls, products: Products, always: Examples, rows: np.ndarray, ridge: float) -> Conditioned:
        """For scores of, and fits on, the given rows."""
        matrix = products.values[np.ix_(always.rows, always.rows)].astype(np.float64)
        matrix[np.diag_indices_from(matrix)] += ridge / always.weights
        factor = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        across = solve_triangular(factor, products.values[np.ix_(always.rows, rows)], lower=True, check_finite=False)
        place = np.full(len(products.values), -1)
        place[rows] = np.arange(len(rows))
        across32 = across.astype(np.float32)
        return cls(
            place,
            across.T @ solve_triangular(factor, always.targets, lower=True),
            products.values[np.ix_(rows, rows)] - across32.T @ across32,
        )

    def scores(self, examples: Examples, asked: np.ndarray, ridge: float) -> np.ndarray:
        """What `ridge_scores` gives for the examples and those fitted on in any case together."""
        mine, wanted = self.place[examples.rows], self.place[asked]
        matrix = self.values[np.ix_(mine, mine)].astype(np.float64)
        matrix[np.diag_indices_from(matrix)] += ridge / examples.weights
        duals = cho_solve(
            cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False), examples.targets - self.base[mine]
        )
        return self.base[wanted] + self.values[np.ix_(wanted, mine)] @ duals


@dataclass(frozen=True)
class Fold:
    """Which clips may be fitted on, and which are held out; bool of shape (clips,)."""

    fitted: np.ndarray
    held: np.ndarray


def folds_of(facts: ClipFacts, folds: int = FOLDS, among: np.ndarray | None = None) -> list[Fold]:
    """Pages dealt to folds, each held out with every generator on it; `among` some of the clips only."""
    among = np.ones(len(facts), dtype=bool) if among is None else among
    number = np.full(len(facts), -1)
    number[among] = deal_pages(facts[among], folds)
    return [Fold(fitted & among, held) for fitted, held in (fold_masks(facts, number, one) for one in range(folds))]


@dataclass(frozen=True)
class Question:
    """Held-out clips with the weight of each: fakes by the square root of their generator's, humans of their page's."""

    clips: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    pages: np.ndarray


def question(facts: ClipFacts, held: np.ndarray, fakes: np.ndarray) -> Question:
    """The chosen fakes of a fold against all its human clips."""
    chosen = np.flatnonzero(held & ((facts.label == REAL) | fakes))
    labels = facts.label[chosen]
    names = np.where(labels == FAKE, facts.generator[chosen], facts.page[chosen])
    keys = np.array([f"{label} {name}" for label, name in zip(labels, names, strict=True)])
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return Question(chosen, labels, counts[inverse] ** -0.5, facts.page[chosen])


def weighted_auc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """The weighted share of pairs of a fake and a human in which the fake scores higher; ties count half."""
    values, place = np.unique(scores, return_inverse=True)
    fake = np.bincount(place, weights * (labels == FAKE), len(values))
    real = np.bincount(place, weights * (labels == REAL), len(values))
    below = np.cumsum(real) - real
    total = fake.sum() * real.sum()
    return float((fake * (below + real / 2)).sum() / total) if total else float("nan")


@dataclass(frozen=True)
class Judged:
    """A value as the mean over folds, and its values over resampled pages, shape (resamples,)."""

    value: float
    resampled: np.ndarray

    @property
    def interval(self) -> tuple[float, float]:
        low, high = np.nanquantile(self.resampled, [0.025, 0.975])
        return float(low), float(high)

    def minus(self, other: Judged) -> Judged:
        """The difference, resample by resample: both were judged on the same pages."""
        return Judged(self.value - other.value, self.resampled - other.resampled)


def judge(questions: Sequence[Question], scores: np.ndarray, resamples: int = _RESAMPLES) -> Judged:
    """Mean ROC-AUC over folds, and over resampled pages within each. `scores` of shape (clips,)."""
    rng = np.random.default_rng(0)
    values, drawn = [], []
    for one in questions:
        mine = scores[one.clips]
        values.append(weighted_auc(mine, one.labels, one.weights))
        _, page = np.unique(one.pages, return_inverse=True)
        count = page.max() + 1
        draws = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        drawn.append([weighted_auc(mine, one.labels, one.weights * times[page]) for times in draws])
    return Judged(float(np.mean(values)), np.nanmean(drawn, axis=0))


def synthesis(facts: ClipFacts, since: int = 0) -> np.ndarray:
    """Text-to-speech and voice conversion of generators since a year; bool of shape (clips,)."""
    return (facts.label == FAKE) & ~facts.copy & (facts.year >= since)


def out_of_fold(
    corpus: Corpus,
    products: Products,
    folds: Sequence[Fold],
    examples: Callable[[Fold], Examples],
    conditions: Sequence[str] = (CLEAN, TELEPHONE),
    ridge: float = RIDGE,
) -> dict[str, np.ndarray]:
    """By condition, scores of shape (clips,) of the clips held out, each by the head of its fold."""
    found = {condition: np.full(len(corpus.facts), np.nan) for condition in conditions}
    for fold in folds:
        asked = {name: np.flatnonzero(fold.held & (products.rows[name] >= 0)) for name in conditions}
        rows = np.concatenate([products.rows[name][clips] for name, clips in asked.items()])
        scores = ridge_scores(products, examples(fold), rows, ridge)
        for name, clips in asked.items():
            found[name][clips], scores = scores[: len(clips)], scores[len(clips) :]
    return found


def chosen_ridge(
    corpus: Corpus, products: Products, fold: Fold, among: Sequence[float] = (0.03, 0.1, 0.3, 1.0)
) -> float:
    """The ridge that is best on recent synthesis of inner folds, all of them within what `fold` may be fitted on."""
    inner = Inner.of(corpus, fold)
    return among[int(np.argmax([inner.auc(inner.scores(products, ridge)) for ridge in among]))]


@dataclass(frozen=True)
class Inner:
    """Folds within what a fold may be fitted on: where a choice is made for it without a look at what it holds out."""

    corpus: Corpus
    folds: list[Fold]
    asked: list[Question]

    @classmethod
    def of(cls, corpus: Corpus, fold: Fold) -> Inner:
        folds = folds_of(corpus.facts, FOLDS - 1, fold.fitted & ~corpus.facts.copy)
        return cls(corpus, folds, [question(corpus.facts, one.held, synthesis(corpus.facts, RECENT)) for one in folds])

    def scores(self, products: Products, ridge: float) -> np.ndarray:
        """Of every clip that an inner fold holds out, clean, by the head of that fold; NaN elsewhere."""

        def examples(one: Fold) -> Examples:
            return examples_of(products, self.corpus.facts, one.fitted)

        return out_of_fold(self.corpus, products, self.folds, examples, (CLEAN,), ridge)[CLEAN]

    def auc(self, scores: np.ndarray) -> float:
        """Mean over the inner folds, on recent synthesis against human clips."""
        return float(np.mean([weighted_auc(scores[one.clips], one.labels, one.weights) for one in self.asked]))
