"""Intervals resample groups, cover what they claim to cover, and say so when they cannot."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from scipy import stats

from evaluation import metrics
from evaluation.intervals import DEFAULT_METRICS, binomial_interval, bootstrap_intervals, paired_difference
from evaluation.resampling import GroupDesign, RankedScores, weighted_counts, weighted_metrics

RANKED = ("roc_auc", "eer", "pr_auc", "min_dcf")


def grouped_clips(rng, n_real, n_fake, clips=5, distance=2.0, between=0.5):
    """Clips of n_real + n_fake recordings; `between` is the share of the variance that a recording's clips share."""
    sizes = rng.poisson(clips - 1, n_real + n_fake) + 1
    groups = np.repeat(np.arange(n_real + n_fake), sizes)
    labels = (groups >= n_real).astype(int)
    shared = np.sqrt(between) * rng.normal(size=n_real + n_fake)[groups]
    return distance * labels + shared + np.sqrt(1 - between) * rng.normal(size=groups.size), labels, groups


def test_weighted_metrics_are_bit_equal_to_repeating_the_clips():
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(4, 60))
        labels = rng.integers(0, 2, n)
        labels[:2] = (0, 1)
        scores = np.round(rng.normal(size=n) + labels, int(rng.integers(0, 4)))
        groups = np.unique(rng.integers(0, n, n), return_inverse=True)[1]
        weights = rng.integers(0, 4, groups.max() + 1)
        weights[groups[:2]] = 1
        totals = RankedScores(scores, labels, groups, 0.5).totals(weights)
        repeated, truth = np.repeat(scores, weights[groups]), np.repeat(labels, weights[groups])
        auc, eer, pr_auc, min_dcf = weighted_metrics(totals, RANKED)
        assert eer == metrics.equal_error_rate(repeated, truth)[0]
        assert auc == pytest.approx(metrics.roc_auc(repeated, truth), abs=1e-12)
        assert pr_auc == pytest.approx(metrics.pr_auc(repeated, truth), abs=1e-12)
        assert min_dcf == pytest.approx(metrics.min_dcf(repeated, truth), abs=1e-12)
        rates = metrics.detection_metrics(repeated, truth, 0.5)
        assert weighted_counts(totals) == tuple(rates[name] for name in ("tp", "tn", "fp", "fn"))


def test_every_resample_keeps_the_number_of_groups_and_both_classes():
    labels = np.array([0, 0, 1, 1, 0, 1, 0, 1, 0, 1])
    for groups in (np.array([0, 0, 1, 1, 2, 3, 4, 4, 5, 5]), np.array([0, 0, 1, 1, 2, 3, 4, 4, 2, 3])):
        design = GroupDesign.of(labels, groups)
        for weights in design.draw(np.random.default_rng(1), 300):
            assert weights.sum() == design.n_groups
            assert weights[design.in_real].any()
            assert weights[design.in_fake].any()


def test_same_seed_same_interval_and_the_point_lies_inside():
    scores, labels, groups = grouped_clips(np.random.default_rng(2), 30, 30)
    names = (*DEFAULT_METRICS, "f1_fake", "precision_real", "pr_auc", "min_dcf")
    first = bootstrap_intervals(scores, labels, groups, 1.0, metrics=names, resamples=300)
    assert first == bootstrap_intervals(scores, labels, groups, 1.0, metrics=names, resamples=300)
    assert first != bootstrap_intervals(scores, labels, groups, 1.0, metrics=names, resamples=300, seed=1)
    point = metrics.detection_metrics(scores, labels, 1.0) | {"min_dcf": metrics.min_dcf(scores, labels)}
    for name in names:
        assert 0 <= first[name].low < point[name] < first[name].high <= 1
    json.dumps({name: interval.to_dict() for name, interval in first.items()}, allow_nan=False)


def test_copies_of_clips_do_not_narrow_the_interval_when_grouped():
    scores, labels, _ = grouped_clips(np.random.default_rng(3), 40, 40, clips=1)
    groups = np.arange(scores.size)
    ten = np.repeat(groups, 10)
    alone = bootstrap_intervals(scores, labels, groups, 1.0)
    copied = bootstrap_intervals(scores[ten], labels[ten], ten, 1.0)
    careless = bootstrap_intervals(scores[ten], labels[ten], None, 1.0)
    for name in ("roc_auc", "accuracy", "balanced_accuracy"):
        width = alone[name].high - alone[name].low
        assert copied[name].high - copied[name].low == pytest.approx(width, rel=0.1)
        assert careless[name].high - careless[name].low < 0.5 * width


def test_group_names_of_any_kind_and_order_give_the_same_interval():
    scores, labels, groups = grouped_clips(np.random.default_rng(4), 12, 12)
    named = [f"speaker {code}" for code in groups]
    numbered = bootstrap_intervals(scores, labels, groups, 1.0, resamples=200)
    assert bootstrap_intervals(scores, labels, named, 1.0, resamples=200) == numbered


def test_unknown_groups_are_not_taken_for_one_recording():
    scores, labels, _ = grouped_clips(np.random.default_rng(5), 20, 20, clips=1)
    unknown = bootstrap_intervals(scores, labels, [None] * scores.size, 1.0, resamples=200)
    assert unknown == bootstrap_intervals(scores, labels, None, 1.0, resamples=200)


def test_few_groups_warn_and_one_group_gives_no_interval():
    scores, labels, groups = grouped_clips(np.random.default_rng(6), 9, 30)
    few = bootstrap_intervals(scores, labels, groups, 1.0, resamples=200)
    assert "only 9 independent groups" in few["roc_auc"].warning
    assert few["fnr"].warning is None
    one = bootstrap_intervals(scores, labels, np.where(labels == 0, -1, groups), 1.0, resamples=200)
    for name in ("roc_auc", "eer", "accuracy", "fpr"):
        assert (one[name].low, one[name].high) == (None, None)
        assert "1 independent group of real clips" in one[name].warning
    assert one["fnr"].low is not None


def test_one_class_gives_intervals_for_what_it_defines_only():
    scores, labels, groups = grouped_clips(np.random.default_rng(7), 20, 20)
    real = labels == 0
    got = bootstrap_intervals(scores[real], labels[real], groups[real], 1.0, resamples=200)
    assert {name for name, interval in got.items() if interval.low is None} == {
        "roc_auc", "eer", "balanced_accuracy", "fnr",
    }  # fmt: skip
    assert got["accuracy"].low == pytest.approx(1 - got["fpr"].high, abs=1e-9)


def test_a_perfect_score_is_not_a_certain_one():
    labels = np.repeat([0, 1], 20)
    names = (*DEFAULT_METRICS, "tpr", "f1_fake", "precision_fake", "pr_auc", "min_dcf")
    got = bootstrap_intervals(labels.astype(float), labels, None, 0.5, metrics=names, resamples=50)
    exact = binomial_interval(0, 20)
    assert got["fpr"].low == 0
    assert got["fpr"].high == pytest.approx(exact.high)
    assert got["tpr"].low == pytest.approx(1 - exact.high)
    for name in ("roc_auc", "accuracy", "balanced_accuracy", "f1_fake", "precision_fake", "pr_auc"):
        assert 0 < got[name].low < got["tpr"].low, name
        assert got[name].high == 1, name
    assert exact.high < got["eer"].high < 0.3
    wrong = bootstrap_intervals(-labels.astype(float), labels, None, -0.5, metrics=names, resamples=50)
    assert wrong["roc_auc"].low == 0 < wrong["roc_auc"].high < 1
    assert wrong["accuracy"].low == 0 < wrong["accuracy"].high < 0.5


def test_a_metric_no_resample_moves_gets_no_interval():
    labels = np.tile([0, 1], 20)
    got = bootstrap_intervals(np.zeros(40), labels, None, 1.0, metrics=("roc_auc",), resamples=50)["roc_auc"]
    assert got.low is None
    assert "no resample moves roc_auc" in got.warning


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 187), (183, 187), (187, 187), (3, 40)])
def test_binomial_interval_equals_scipys_exact_one(successes, n):
    got = binomial_interval(successes, n)
    expected = stats.binomtest(successes, n).proportion_ci(0.95, "exact")
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (got.warning is None) == (n >= 10)


def test_paired_difference_is_zero_for_identical_and_sharper_than_unpaired():
    rng = np.random.default_rng(8)
    scores, labels, groups = grouped_clips(rng, 40, 40)
    same = paired_difference(scores, scores, labels, groups, 1.0, 1.0, resamples=100)
    assert all((d.difference, d.interval.low, d.interval.high) == (0, 0, 0) for d in same.values())
    close = scores + 0.2 * rng.normal(size=scores.size)
    paired = paired_difference(scores, close, labels, groups, 1.0, 1.0, resamples=500)
    alone = bootstrap_intervals(scores, labels, groups, 1.0, resamples=500)
    for name in ("roc_auc", "accuracy"):
        gap = paired[name].interval
        assert gap.low <= paired[name].difference <= gap.high
        assert gap.high - gap.low < 0.6 * (alone[name].high - alone[name].low)
    assert paired["roc_auc"].difference == metrics.roc_auc(scores, labels) - metrics.roc_auc(close, labels)


def test_paired_difference_flips_its_sign_with_the_systems():
    rng = np.random.default_rng(9)
    scores, labels, groups = grouped_clips(rng, 20, 20)
    other = scores + rng.normal(size=scores.size)
    ab = paired_difference(scores, other, labels, groups, 1.0, 0.8, resamples=100)["eer"]
    ba = paired_difference(other, scores, labels, groups, 0.8, 1.0, resamples=100)["eer"]
    assert ab.difference == -ba.difference
    assert (ab.interval.low, ab.interval.high) == pytest.approx((-ba.interval.high, -ba.interval.low))


def test_two_perfect_systems_are_not_proven_equal():
    labels = np.repeat([0, 1], 20)
    got = paired_difference(labels * 1.0, labels * 2.0, labels, None, 0.5, 0.5, metrics=("fpr",), resamples=50)["fpr"]
    assert got.interval.high == pytest.approx(binomial_interval(0, 20).high)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metrics": ("accuracyy",)}, "no interval for accuracyy"),
        ({"resamples": 1}, "resamples must be at least 2"),
        ({"confidence": 95}, "strictly between 0 and 1"),
        ({"groups": [1]}, "groups must have one entry per score"),
    ],
)
def test_bad_requests_are_refused(change, says):
    request = {"groups": None, "threshold": 0.5} | change
    with pytest.raises(ValueError, match=says):
        bootstrap_intervals([0.1, 0.9], [0, 1], **request)


@pytest.mark.slow
@pytest.mark.parametrize("clips_per_group", [1, 20])
def test_two_thousand_resamples_of_a_hundred_thousand_scores_take_five_seconds_at_most(clips_per_group):
    rng = np.random.default_rng(10)
    labels = rng.integers(0, 2, 100_000)
    scores = np.round(rng.normal(size=labels.size) + 2 * labels, 3)
    began = time.process_time()
    bootstrap_intervals(scores, labels, np.arange(labels.size) // clips_per_group, 1.0)
    assert time.process_time() - began <= 5


@pytest.mark.slow
@pytest.mark.parametrize("n_groups", [20, 60])
def test_ninety_five_percent_intervals_cover_ninety_three_to_ninety_seven(n_groups):
    """Normal scores with recording effects, where AUC, EER and the rates are known in closed form."""
    rng = np.random.default_rng(11)
    distance, runs = 2.0, 1000
    error = float(stats.norm.cdf(-distance / 2))
    truth = dict.fromkeys(DEFAULT_METRICS, error) | {"accuracy": 1 - error, "balanced_accuracy": 1 - error}
    truth["roc_auc"] = float(stats.norm.cdf(distance / np.sqrt(2)))
    hits = dict.fromkeys(DEFAULT_METRICS, 0)
    for run in range(runs):
        scores, labels, groups = grouped_clips(rng, n_groups, n_groups, distance=distance)
        got = bootstrap_intervals(scores, labels, groups, distance / 2, resamples=250, seed=run)
        for name, interval in got.items():
            hits[name] += interval.low <= truth[name] <= interval.high
    # Simulation noise alone is 0.7 points (one standard deviation at 1,000 runs).
    assert all(0.93 <= hit / runs <= 0.97 for hit in hits.values()), hits


@pytest.mark.slow
def test_paired_intervals_cover_too():
    rng = np.random.default_rng(12)
    truth = float(stats.norm.cdf(2 / np.sqrt(2)) - stats.norm.cdf(2 / np.sqrt(2.5)))
    hits = 0
    for run in range(600):
        scores, labels, groups = grouped_clips(rng, 25, 25)
        noisy = scores + 0.5 * rng.normal(size=scores.size)  # variance 1.25 instead of 1 per class
        got = paired_difference(scores, noisy, labels, groups, 1.0, 1.0, metrics=("roc_auc",), resamples=250, seed=run)[
            "roc_auc"
        ]
        hits += got.interval.low <= truth <= got.interval.high
    assert 0.93 <= hits / 600 <= 0.975, hits
