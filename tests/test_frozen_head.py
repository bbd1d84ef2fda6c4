"""The ridge head of the benchmarks on frozen features: its scores, and what is held out while it is judged."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from benchmarks.frozen_features import CLEAN, TELEPHONE, Corpus
from benchmarks.frozen_head import (
    Conditioned,
    Products,
    examples_of,
    folds_of,
    judge,
    question,
    ridge_scores,
    synthesis,
    weighted_auc,
)
from benchmarks.frozen_tries import Bench, harms, stated
from benchmarks.generators import curve, drawn, lines_of
from deepfake.training.stacked.sampling import FAKE, ClipFacts

CLIPS, PAGES = 480, 24


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Every page with human clips and fakes of two generators, one of them found on the next page as well."""
    rng = np.random.default_rng(0)
    page = np.arange(CLIPS) % PAGES
    label = (np.arange(CLIPS) // PAGES) % 2
    own = np.arange(CLIPS) // (2 * PAGES) % 2
    generator = np.where(label, np.char.mod("g%d", np.where(own, page, (page + 1) % PAGES // 2 + 100)), "human")
    kind, year = np.where(label, "tts", "human"), 2018 + np.char.count(generator, "1") * 6
    facts = ClipFacts(label, np.char.mod("page %02d", page), kind, generator, np.full(CLIPS, ""), year)
    clean = rng.normal(size=(CLIPS, 40)) + 0.4 * label[:, None]
    features = {CLEAN: clean.astype(np.float32), TELEPHONE: (clean + rng.normal(size=clean.shape)).astype(np.float32)}
    return Corpus(facts, np.where(page < 6, "MIT License", "none stated"), features)


@pytest.fixture(scope="module")
def products(corpus: Corpus) -> Products:
    return Products.of(corpus.features)


def test_scores_are_those_of_a_weighted_ridge_regression(corpus: Corpus, products: Products) -> None:
    fold = folds_of(corpus.facts)[0]
    examples, asked = examples_of(products, corpus.facts, fold.fitted), np.flatnonzero(fold.held)
    values = np.concatenate(list(corpus.features.values()))
    values = np.hstack([values / np.sqrt((values**2).sum(1).mean()), np.ones((len(values), 1))])
    plain = Ridge(alpha=0.3, fit_intercept=False).fit(
        values[examples.rows], examples.targets, sample_weight=examples.weights
    )
    assert ridge_scores(products, examples, asked, 0.3) == pytest.approx(plain.predict(values[asked]), abs=1e-3)


def test_what_is_always_fitted_on_is_eliminated_exactly(corpus: Corpus, products: Products) -> None:
    fold = folds_of(corpus.facts)[0]
    examples, asked = examples_of(products, corpus.facts, fold.fitted), np.flatnonzero(fold.held)
    human = examples.targets < 0
    rest = Conditioned.on(products, examples.only(human), np.union1d(examples.rows[~human], asked), 0.3)
    found = rest.scores(examples.only(~human), asked, 0.3)
    assert found == pytest.approx(ridge_scores(products, examples, asked, 0.3), abs=1e-3)


def test_neither_pages_nor_generators_of_a_fold_are_fitted_on(corpus: Corpus) -> None:
    facts = corpus.facts
    for fold in folds_of(facts):
        assert not set(facts.page[fold.fitted]) & set(facts.page[fold.held])
        met = set(facts.generator[fold.held & (facts.label == FAKE)])
        assert not met & set(facts.generator[fold.fitted])


def test_the_weighted_auc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels, scores, weights = rng.integers(0, 2, 200), rng.normal(size=200).round(1), rng.uniform(0.1, 2, 200)
    assert weighted_auc(scores, labels, weights) == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))


def test_the_interval_holds_the_value_and_widens_with_fewer_pages(corpus: Corpus) -> None:
    facts, scores = corpus.facts, np.random.default_rng(2).normal(size=CLIPS) + corpus.facts.label
    asked = [question(facts, fold.held, synthesis(facts)) for fold in folds_of(facts)]
    whole, part = judge(asked, scores, 200), judge(asked[:1], scores, 200)
    assert whole.interval[0] < whole.value < whole.interval[1]
    assert np.ptp(part.interval) > np.ptp(whole.interval)


def test_a_draw_takes_as_many_generators_as_asked_and_all_human_clips(corpus: Corpus) -> None:
    fold, line = folds_of(corpus.facts)[1], lines_of(corpus)["generators"]
    fitted, taken = drawn(line, fold, 3, np.random.default_rng(0))
    fakes = fitted & (corpus.facts.label == FAKE)
    assert taken == len(set(corpus.facts.generator[fakes])) == 3
    assert (fitted & line.always).sum() == (fold.fitted & line.always).sum()
    assert not (fitted & fold.held).any()


def test_a_curve_ends_with_all_generators_and_rises_on_separable_clips(corpus: Corpus, products: Products) -> None:
    folds = folds_of(corpus.facts)
    points = curve(corpus, products, folds, [0.3] * len(folds), lines_of(corpus)["generators"], draws=4)
    assert [point.count for point in points[:3]] == [1, 2, 4]
    assert points[-1].draws == 1
    assert points[-1].count > points[-2].count
    assert points[-1].auc[CLEAN] > points[0].auc[CLEAN]
    assert all(point.low[CLEAN] <= point.auc[CLEAN] <= point.high[CLEAN] for point in points[:-1])


def test_the_estimated_effect_of_an_example_is_that_of_leaving_it_less_weight(corpus: Corpus) -> None:
    """Mislabelled clips of one page are found to harm."""
    facts = corpus.facts
    wrong = np.flatnonzero((facts.page == "page 05") & (facts.label == 0))
    features = {name: values.copy() for name, values in corpus.features.items()}
    for values in features.values():
        values[wrong] += 1.5  # human clips that look faker than fakes
    spoilt = Corpus(facts, corpus.licence, features)
    folds = folds_of(facts)
    fold = next(fold for fold in folds if fold.fitted[wrong[0]])
    bench = Bench(spoilt, Products.of(features), folds, [0.3] * len(folds))
    _, harm = harms(bench, fold, 0.3)
    human = np.char.startswith(harm.names, "h ")
    totals = {name: harm.values[harm.names == name].sum() for name in np.unique(harm.names[human])}
    assert min(totals, key=totals.get) == "h page 05"


def test_a_licence_counts_as_stated_only_where_one_is_named() -> None:
    said = np.array(["MIT License", "none stated", "none stated (README: CC BY)", "", "---", "Apache License"])
    assert stated(said).tolist() == [True, False, False, False, False, True]
