"""Intervals resample groups, cover what they claim to cover, and say so when they cannot."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from deepfake.metrics import definitions as metrics
from deepfake.metrics.intervals import DEFAULT_METRICS, binomial_interval, bootstrap_intervals
from deepfake.metrics.losses import ClipLosses, act_dcf_losses, brier_losses, cllr_losses, ece_losses
from deepfake.metrics.paired import paired_difference
from deepfake.metrics.resampling import GroupDesign, RankedScores, TalliedGroups, weighted_metrics

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
        assert totals.counts == tuple(rates[name] for name in ("tp", "tn", "fp", "fn"))
        tallied = TalliedGroups(scores >= 0.5, labels, groups).totals(weights)
        assert tallied.counts == totals.counts
        assert weighted_metrics(tallied, ("fpr", "accuracy")) == weighted_metrics(totals, ("fpr", "accuracy"))


def test_rates_alone_have_the_intervals_that_they_have_beside_a_ranking():
    scores, labels, groups = grouped_clips(np.random.default_rng(5), 30, 40)
    alone = bootstrap_intervals(scores, labels, groups, 1.0, ("fpr", "balanced_accuracy"), 100)
    beside = bootstrap_intervals(scores, labels, groups, 1.0, ("fpr", "balanced_accuracy", "roc_auc"), 100)
    assert alone == {name: beside[name] for name in alone}


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
    assert all(estimate.value == pytest.approx(point[name], abs=1e-12) for name, estimate in first.items())


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


def of_probability(scores, labels) -> dict[str, ClipLosses]:
    """Metrics of scores that are taken for log-likelihood ratios."""
    p = expit(scores)
    return {
        "brier": brier_losses(p, labels), "ece": ece_losses(p, labels), "cllr": cllr_losses(scores, labels),
        "act_dcf": act_dcf_losses(scores, labels),
    }  # fmt: skip


def test_means_of_losses_under_weights_are_the_metrics_of_repeated_clips():
    rng = np.random.default_rng(14)
    scores, labels, groups = grouped_clips(rng, 20, 20)
    weights = rng.integers(0, 4, 40)
    losses = of_probability(scores, labels)
    totals = RankedScores(scores, labels, groups, 0.0, losses).totals(weights)
    s, y = (np.repeat(values, weights[groups]) for values in (scores, labels))
    expected = (
        metrics.brier_score(expit(s), y), metrics.expected_calibration_error(expit(s), y), metrics.cllr(s, y),
        metrics.act_dcf(s, y),
    )  # fmt: skip
    assert weighted_metrics(totals, tuple(losses)) == pytest.approx(expected, abs=1e-12)


def test_losses_of_perfect_and_of_one_class_get_the_interval_they_can_have():
    labels = np.repeat([0, 1], 20)
    ratios = np.where(labels == 1, 50.0, -50.0)
    got = bootstrap_intervals(ratios, labels, None, 0.0, ("act_dcf", "cllr"), 50, losses=of_probability(ratios, labels))
    rate = 1 - 0.0125 ** (1 / 20)  # 95 % over two classes of twenty groups without an error
    assert (got["act_dcf"].value, got["act_dcf"].low) == (0, 0)
    assert got["act_dcf"].high == pytest.approx(rate * 2.9)  # calling everything wrong costs (0.95 + 0.5) / 0.5
    assert got["cllr"].low is None
    alone = {name: found for name, found in of_probability(ratios[:20], labels[:20]).items()}
    one = bootstrap_intervals(ratios[:20], labels[:20], None, 0.0, tuple(alone), 50, losses=alone)
    assert one["brier"].value == pytest.approx(0)
    assert (one["cllr"].value, one["act_dcf"].value) == (None, None)


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
    assert all((d.difference.value, d.difference.low, d.difference.high) == (0, 0, 0) for d in same.values())
    close = scores + 0.2 * rng.normal(size=scores.size)
    paired = paired_difference(scores, close, labels, groups, 1.0, 1.0, resamples=500)
    alone = bootstrap_intervals(scores, labels, groups, 1.0, resamples=500)
    for name in ("roc_auc", "accuracy"):
        gap = paired[name].difference
        assert gap.low <= gap.value <= gap.high
        assert gap.high - gap.low < 0.6 * (alone[name].high - alone[name].low)
    assert paired["roc_auc"].difference.value == metrics.roc_auc(scores, labels) - metrics.roc_auc(close, labels)


def test_paired_difference_flips_its_sign_with_the_systems():
    rng = np.random.default_rng(9)
    scores, labels, groups = grouped_clips(rng, 20, 20)
    other = scores + rng.normal(size=scores.size)
    ab = paired_difference(scores, other, labels, groups, 1.0, 0.8, resamples=100)["eer"]
    ba = paired_difference(other, scores, labels, groups, 0.8, 1.0, resamples=100)["eer"]
    assert ab.difference.value == -ba.difference.value
    assert (ab.difference.low, ab.difference.high) == pytest.approx((-ba.difference.high, -ba.difference.low))


def test_two_perfect_systems_are_not_proven_equal():
    labels = np.repeat([0, 1], 20)
    got = paired_difference(labels * 1.0, labels * 2.0, labels, None, 0.5, 0.5, metrics=("fpr",), resamples=50)["fpr"]
    assert got.difference.high == pytest.approx(binomial_interval(0, 20).high)


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
def test_two_thousand_resamples_of_a_hundred_thousand_scores_take_eight_seconds_at_most(clips_per_group):
    rng = np.random.default_rng(10)
    labels = rng.integers(0, 2, 100_000)
    scores = np.round(rng.normal(size=labels.size) + 2 * labels, 3)
    began = time.process_time()
    bootstrap_intervals(scores, labels, np.arange(labels.size) // clips_per_group, 1.0)
    assert time.process_time() - began <= 8  # up to 3 s on a quiet machine; 5.4 s on a slow one beside other programs


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
@pytest.mark.parametrize("n_groups", [20, 60])
def test_intervals_of_losses_cover_and_those_of_bins_never_too_little(n_groups):
    """Scores that overstate their evidence, and the truth from very many of them."""
    rng = np.random.default_rng(13)

    def drawn(n):
        scores, labels, groups = grouped_clips(rng, n, n)
        return 2.5 * (scores - 1), labels, groups

    scores, labels, _ = drawn(200_000)
    counts = (int((labels == 0).sum()), int(labels.sum()))
    truth = {n: found.mean(np.ones(labels.size), *counts) for n, found in of_probability(scores, labels).items()}
    hits = dict.fromkeys(truth, 0)
    for run in range(400):
        scores, labels, groups = drawn(n_groups)
        losses = of_probability(scores, labels)
        got = bootstrap_intervals(scores, labels, groups, 0.0, tuple(losses), 250, seed=run, losses=losses)
        for name, estimate in got.items():
            hits[name] += estimate.low <= truth[name] <= estimate.high
    assert hits.pop("ece") / 400 >= 0.95
    assert all(0.91 <= hit / 400 <= 0.98 for hit in hits.values()), hits


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
        hits += got.difference.low <= truth <= got.difference.high
    assert 0.93 <= hits / 600 <= 0.975, hits
