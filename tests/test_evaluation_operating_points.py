"""Thresholds are optimal on the clips they were chosen on, and keep their promises on fresh ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from deepfake.metrics.bounds import binomial_upper, mean_upper, smallest_supporting_n
from deepfake.metrics.costs import CostModel
from deepfake.metrics.definitions import detection_metrics
from deepfake.metrics.operating_points import OperatingPoint, choose_threshold, standard_operating_points


def tied_sets(count: int, seed: int):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        labels = rng.integers(0, 2, int(rng.integers(2, 60)))
        labels[:2] = (0, 1)
        yield np.round(rng.normal(size=labels.size) + labels * rng.uniform(-1, 4), int(rng.integers(0, 4))), labels


def every_cut(scores: np.ndarray, labels: np.ndarray) -> list[dict]:
    return [detection_metrics(scores, labels, cut) for cut in [*np.unique(scores), scores.max() + 1]]


def test_balanced_accuracy_point_is_the_best_of_all_cuts():
    for scores, labels in tied_sets(100, seed=0):
        point = choose_threshold(scores, labels)
        best = max(cut["balanced_accuracy"] for cut in every_cut(scores, labels))
        got = detection_metrics(scores, labels, point.threshold)
        assert got["balanced_accuracy"] == pytest.approx(best, abs=1e-12)
        assert (got["fpr"], got["fnr"]) == (point.fpr, point.fnr)


def test_eer_point_has_the_smallest_gap_of_all_cuts():
    for scores, labels in tied_sets(100, seed=1):
        point = choose_threshold(scores, labels, "eer")
        best = min(abs(cut["fpr"] - cut["fnr"]) for cut in every_cut(scores, labels))
        assert abs(point.fpr - point.fnr) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("rule", ["balanced_accuracy", "eer"])
def test_separated_classes_get_the_middle_of_the_gap(rule):
    assert choose_threshold([-3.0, 1.0, 2.0, 8.0], [0, 0, 1, 1], rule).threshold == 1.5
    one, next_one = 1.0, float(np.nextafter(1.0, 2))
    assert choose_threshold([one, next_one], [0, 1], rule).threshold == next_one


def test_hopeless_scores_still_give_a_finite_threshold():
    for scores in ([0.0, 1.0, 2.0, 3.0], [5.0] * 4, [1e300, -1e300, 1e308, -1e308]):
        for point in standard_operating_points(scores, [1, 1, 0, 0]):
            assert np.isfinite(point.threshold)


def test_decisions_do_not_depend_on_the_unit_of_the_scores():
    for scores, labels in tied_sets(100, seed=2):
        for rule in ("balanced_accuracy", "eer"):
            plain, moved = choose_threshold(scores, labels, rule), choose_threshold(4 * scores + 8, labels, rule)
            assert (plain.fpr, plain.fnr) == (moved.fpr, moved.fnr)


def test_points_survive_json():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 500)
    for point in standard_operating_points(rng.normal(size=500) + labels, labels, groups=np.arange(500) // 5):
        assert OperatingPoint.from_dict(json.loads(json.dumps(point.to_dict(), allow_nan=False))) == point


def test_needed_clips_are_the_known_ones():
    assert [smallest_supporting_n(rate, 0.95) for rate in (0.05, 0.01, 0.001)] == [59, 299, 2995]


@pytest.mark.parametrize("max_fpr", [0.05, 0.01])
def test_fpr_point_is_supported_from_exactly_the_needed_number_on(max_fpr):
    needed = smallest_supporting_n(max_fpr, 0.95)
    for n, supported in ((needed - 1, False), (needed, True)):
        point = choose_threshold([*np.linspace(0, 1, n), 2.0], [0] * n + [1], "fpr", max_fpr=max_fpr)
        assert point.supported == supported
        assert point.fpr == 0
        assert (point.fpr_upper <= max_fpr) == supported
        assert (point.note is None) == supported
    assert (
        f"not supported by n: {needed - 1} real clips found, at least {needed} needed"
        in choose_threshold(
            [*np.linspace(0, 1, needed - 1), 2.0], [0] * (needed - 1) + [1], "fpr", max_fpr=max_fpr
        ).note
    )


def test_fpr_point_is_the_lowest_that_keeps_the_bound():
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], [2000, 500])
    scores = rng.normal(size=2500) + 2 * labels
    point = choose_threshold(scores, labels, "fpr", max_fpr=0.05)
    false_alarms = round(point.fpr * 2000)
    assert point.fpr_upper == pytest.approx(stats.beta.ppf(0.95, false_alarms + 1, 2000 - false_alarms))
    assert point.fpr_upper <= 0.05 < binomial_upper(false_alarms + 1, 2000, 0.95)


def test_grouped_fpr_bound_is_exact_without_errors_and_one_clip_per_group_equals_clips():
    assert mean_upper(0.0, 59, 0.95) == pytest.approx(binomial_upper(0, 59, 0.95), abs=1e-9)
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], [400, 100])
    scores = rng.normal(size=500) + labels
    plain = choose_threshold(scores, labels, "fpr", max_fpr=0.05)
    assert choose_threshold(scores, labels, "fpr", max_fpr=0.05, groups=np.arange(500)) == plain


def test_repeating_every_clip_does_not_make_a_promise_possible():
    scores, labels = np.r_[np.linspace(0, 1, 20), 2.0], np.r_[np.zeros(20, int), 1]
    ten = np.repeat(np.arange(21), 10)
    careless = choose_threshold(scores[ten], labels[ten], "fpr", max_fpr=0.05)
    grouped = choose_threshold(scores[ten], labels[ten], "fpr", max_fpr=0.05, groups=ten)
    assert careless.supported
    assert not grouped.supported
    assert "20 independent groups" in grouped.note


def test_bayes_point_is_set_by_prior_and_costs_alone():
    costs = CostModel(prior_fake=0.5, cost_miss=1, cost_false_accept=1)
    assert choose_threshold([0.0, 1.0], [0, 1], "bayes", costs=costs).threshold == 0
    strict = CostModel(prior_fake=0.01, cost_miss=1, cost_false_accept=1)
    assert choose_threshold([0.0, 1.0], [0, 1], "bayes", costs=strict).threshold == pytest.approx(np.log(99))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"rule": "fpr"}, "needs max_fpr"),
        ({"rule": "fpr", "max_fpr": 5}, "strictly between 0 and 1"),
        ({"rule": "best"}, "unknown rule 'best'; choose one of"),
    ],
)
def test_bad_rules_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        choose_threshold([0.0, 1.0], [0, 1], **arguments)
    with pytest.raises(ValueError, match="needs both real and fake"):
        choose_threshold([0.0, 1.0], [0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("max_fpr", [0.05, 0.01])
def test_fpr_promise_holds_in_ninety_five_percent_of_deployments(max_fpr):
    """Normal real scores, so the true FPR of a chosen threshold is known. Not wastefully safe either."""
    rng = np.random.default_rng(6)
    labels = np.repeat([0, 1], [1000, 50])
    kept = 0
    for _ in range(1000):
        scores = rng.normal(size=1050) + 3 * labels
        point = choose_threshold(scores, labels, "fpr", max_fpr=max_fpr)
        kept += stats.norm.sf(point.threshold) <= max_fpr
    assert 0.95 - 0.014 <= kept / 1000 <= 0.99, kept  # 0.014: two standard deviations of 1,000 runs


@pytest.mark.slow
def test_grouped_fpr_promise_holds_where_the_clip_count_would_break_it():
    rng = np.random.default_rng(7)
    n_groups, clips = 200, 10
    groups = np.r_[np.repeat(np.arange(n_groups), clips), np.full(20, n_groups)]
    labels = (groups == n_groups).astype(int)
    kept = {"groups": 0, "clips": 0}
    for _ in range(1000):
        scores = np.sqrt(0.8) * rng.normal(size=n_groups + 1)[groups] + np.sqrt(0.2) * rng.normal(size=groups.size)
        scores += 4 * labels
        for unit, given in (("groups", groups), ("clips", None)):
            point = choose_threshold(scores, labels, "fpr", max_fpr=0.05, groups=given)
            kept[unit] += stats.norm.sf(point.threshold) <= 0.05
    assert kept["groups"] >= 950
    assert kept["clips"] < 900
