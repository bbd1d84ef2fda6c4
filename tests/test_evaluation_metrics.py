"""Metrics equal their published definitions and the reference implementations, ties and one class included."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from deepfake.metrics import definitions as metrics
from deepfake.metrics.curves import roc_counts


def random_sets(count: int, seed: int, most: int = 200):
    """Score sets from continuous to heavily tied, of every class balance, some with all scores equal."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        n = int(rng.integers(2, most))
        labels = (rng.random(n) < rng.uniform(0.05, 0.95)).astype(int)
        labels[:2] = (0, 1)
        scores = rng.normal(size=n) * 3 + labels * rng.uniform(-1, 6)
        decimals = int(rng.integers(-1, 4))
        yield (scores if i % 3 == 0 else np.round(scores, decimals)), labels


def asvspoof_eer(bona_fide: np.ndarray, spoof: np.ndarray) -> tuple[float, float]:
    """The published formula, higher = bona fide: a plain loop over the stably sorted scores, bona fide listed first."""
    merged = sorted([(score, 1) for score in bona_fide] + [(score, 0) for score in spoof], key=lambda pair: pair[0])
    rejected = accepted_spoof = 0
    accepted_spoof = len(spoof)
    frr, far, thresholds = [0.0], [1.0], [merged[0][0] - 0.001]
    for score, is_bona_fide in merged:
        rejected += is_bona_fide
        accepted_spoof -= 1 - is_bona_fide
        frr.append(rejected / len(bona_fide))
        far.append(accepted_spoof / len(spoof))
        thresholds.append(score)
    gaps = [abs(a - b) for a, b in zip(frr, far, strict=True)]
    k = gaps.index(min(gaps))
    return (frr[k] + far[k]) / 2, thresholds[k]


def test_eer_is_bit_equal_to_the_official_algorithm_on_random_and_tied_sets():
    for scores, labels in random_sets(1000, seed=1):
        eer, threshold = asvspoof_eer(-scores[labels == 0], -scores[labels == 1])
        assert metrics.equal_error_rate(scores, labels) == (eer, -threshold)


def test_eer_threshold_calls_fake_what_the_walk_called_fake():
    for scores, labels in random_sets(200, seed=2):
        scores = scores + np.linspace(0, 1e-6, scores.size)  # no ties: the walk and the decision agree
        eer, threshold = metrics.equal_error_rate(scores, labels)
        rates = metrics.detection_metrics(scores, labels, threshold)
        assert eer == (rates["fpr"] + rates["fnr"]) / 2


def test_equal_scores_give_the_official_worst_and_the_interpolated_coin_toss():
    assert metrics.equal_error_rate([7.0] * 6, [0, 1, 0, 1, 0, 1]) == (1.0, 7.0)
    assert metrics.interpolated_eer([7.0] * 6, [0, 1, 0, 1, 0, 1]) == 0.5


def test_interpolated_eer_is_where_the_roc_meets_the_diagonal():
    for scores, labels in random_sets(300, seed=3):
        fpr, tpr, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
        rate = metrics.interpolated_eer(scores, labels)
        # bisect the piecewise-linear ROC itself: parametrise by fpr + tpr, which is strictly increasing along it
        along = np.interp(0.0, fpr + tpr - 1, fpr)
        assert rate == pytest.approx(along, abs=1e-12)


def test_areas_equal_scikit_learn():
    for scores, labels in random_sets(120, seed=5):
        assert metrics.roc_auc(scores, labels) == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-13)
        expected = reference.average_precision_score(labels, scores)
        assert metrics.pr_auc(scores, labels) == pytest.approx(expected, abs=1e-13)


def test_threshold_metrics_equal_scikit_learn():
    for scores, labels in random_sets(60, seed=6):
        got = metrics.detection_metrics(scores, labels, 0.5)
        said = (scores >= 0.5).astype(int)
        assert (got["tn"], got["fp"], got["fn"], got["tp"]) == tuple(reference.confusion_matrix(labels, said).ravel())
        assert got["accuracy"] == pytest.approx(reference.accuracy_score(labels, said))
        assert got["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(labels, said))
        for kind, number in (("real", 0), ("fake", 1)):
            for name in ("precision", "recall", "f1"):
                expected = getattr(reference, f"{name}_score")(labels, said, pos_label=number, zero_division=math.nan)
                value = math.nan if got[f"{name}_{kind}"] is None else got[f"{name}_{kind}"]
                assert value == pytest.approx(expected, nan_ok=True)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 1)), min_size=1, max_size=60))
def test_ranking_metrics_survive_any_increasing_transform(pairs):
    scores, labels = np.array([*pairs, (0, 0), (3, 1)], dtype=float).T
    moved = np.exp(scores / 10) * 7 - 3
    assert metrics.roc_auc(scores, labels) == metrics.roc_auc(moved, labels)
    assert metrics.equal_error_rate(scores, labels)[0] == metrics.equal_error_rate(moved, labels)[0]
    assert metrics.interpolated_eer(scores, labels) == metrics.interpolated_eer(moved, labels)
    assert metrics.min_dcf(scores, labels) == metrics.min_dcf(moved, labels)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 1)), min_size=1, max_size=60))
def test_swapping_the_classes_and_the_sign_mirrors_the_curve(pairs):
    scores, labels = np.array([*pairs, (0, 0), (3, 1)], dtype=float).T
    assert metrics.roc_auc(-scores, 1 - labels) == pytest.approx(metrics.roc_auc(scores, labels), abs=1e-12)
    assert metrics.roc_auc(-scores, labels) == pytest.approx(1 - metrics.roc_auc(scores, labels), abs=1e-12)
    mirrored = metrics.interpolated_eer(-scores, 1 - labels)
    assert mirrored == pytest.approx(metrics.interpolated_eer(scores, labels), abs=1e-12)


def test_min_dcf_is_the_cheapest_of_all_decisions():
    costs = metrics.CostModel()
    assert costs.normaliser == 0.5
    assert costs.bayes_threshold == pytest.approx(0.642, abs=5e-4)
    for scores, labels in random_sets(100, seed=7, most=60):
        candidates = []
        for threshold in [*np.unique(scores), np.inf]:
            miss, accept = (scores[labels == 0] >= threshold).mean(), (scores[labels == 1] < threshold).mean()
            candidates.append((1 * 0.95 * miss + 10 * 0.05 * accept) / 0.5)
        assert metrics.min_dcf(scores, labels) == pytest.approx(min(candidates), abs=1e-12)


def test_act_dcf_never_beats_min_dcf_and_meets_it_for_true_ratios():
    rng = np.random.default_rng(8)
    labels = (rng.random(200_000) < 0.5).astype(int)
    ratios = rng.normal(size=labels.size) * 2 + np.where(labels == 1, 2.0, -2.0)  # N(+-2, 4): the score is its own LLR
    assert metrics.act_dcf(ratios, labels) == pytest.approx(metrics.min_dcf(ratios, labels), rel=0.02)
    for scores, some in random_sets(200, seed=9):
        assert metrics.act_dcf(scores, some) >= metrics.min_dcf(scores, some) - 1e-12


def test_act_dcf_accepts_a_ratio_exactly_at_the_threshold_as_the_official_tool_does():
    at = metrics.ASVSPOOF5.bayes_threshold
    assert metrics.act_dcf([at, at + 1], [0, 1]) == 0.0
    assert metrics.act_dcf([math.nextafter(at, 9), at + 1], [0, 1]) == pytest.approx(0.95 / 0.5)


def test_cllr_is_one_for_silence_and_follows_the_published_sum():
    assert metrics.cllr([0.0, 0.0, 0.0], [0, 1, 1]) == pytest.approx(1.0)
    assert metrics.cllr([-900.0, 900.0], [0, 1]) == 0.0
    for scores, labels in random_sets(50, seed=10):
        fake, real = scores[labels == 1], scores[labels == 0]
        expected = 0.5 * np.mean(np.log2(1 + np.exp(-fake))) + 0.5 * np.mean(np.log2(1 + np.exp(real)))
        assert metrics.cllr(scores, labels) == pytest.approx(expected)


def test_brier_and_ece():
    rng = np.random.default_rng(11)
    probabilities = rng.random(300_000)
    labels = (rng.random(probabilities.size) < probabilities).astype(int)
    assert metrics.brier_score(probabilities, labels) == pytest.approx(1 / 6, abs=2e-3)
    assert metrics.expected_calibration_error(probabilities, labels) < 0.006
    overconfident = np.where(probabilities > 0.5, 1.0, 0.0)
    assert metrics.expected_calibration_error(overconfident, labels) == pytest.approx(0.25, abs=5e-3)
    assert metrics.expected_calibration_error([1.0, 0.0], [1, 0]) == 0.0


def test_probabilities_add_their_metrics_and_nothing_else():
    plain = metrics.detection_metrics([0.0, 1.0], [0, 1], 0.5)
    more = metrics.detection_metrics([0.0, 1.0], [0, 1], 0.5, probabilities=[0.2, 0.9])
    assert set(more) - set(plain) == {"brier", "ece"}
    assert {name: more[name] for name in plain} == plain


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_none_where_undefined_and_numbers_elsewhere(label):
    got = metrics.detection_metrics([0.1, 0.9, 0.8], [label] * 3, 0.5)
    undefined = {"roc_auc", "eer", "eer_threshold", "pr_auc", "balanced_accuracy"}
    undefined |= {"tpr", "fnr", "recall_fake"} if label == 0 else {"tnr", "fpr", "recall_real"}
    assert {name for name, value in got.items() if value is None} == undefined
    assert got["accuracy"] == pytest.approx(2 / 3 if label else 1 / 3)


def test_a_ratio_without_a_denominator_is_none():
    got = metrics.detection_metrics([0.1, 0.2], [0, 1], 0.5)
    assert got["precision_fake"] is None
    assert got["f1_fake"] == 0.0
    assert metrics.detection_metrics([0.1], [0], 0.5)["f1_fake"] is None


@pytest.mark.parametrize(
    ("scores", "labels", "says"),
    [
        ([0.1, math.nan], [0, 1], "NaN or infinite, the first at position 1"),
        ([math.inf, 0.2], [0, 1], "NaN or infinite, the first at position 0"),
        ([0.1, 0.2], [0], "found 2 scores"),
        ([], [], "empty"),
        ([0.1, 0.2], [0, 2], "must be 0 .real. or 1 .fake.; found 2"),
        ([0.1, 0.2], ["real", "fake"], "must be 0"),
        ([[0.1, 0.2]], [0, 1], "shape"),
        (["a", "b"], [0, 1], "must be numbers"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(scores, labels, says):
    with pytest.raises(ValueError, match=says):
        metrics.detection_metrics(scores, labels, 0.5)


def test_ranking_metrics_refuse_one_class():
    for measure in (metrics.roc_auc, metrics.equal_error_rate, metrics.min_dcf, metrics.cllr, metrics.act_dcf):
        with pytest.raises(ValueError, match="all 2 clips found are real"):
            measure([0.1, 0.2], [0, 0])


def test_counts_stay_exact_at_a_million_clips():
    labels = np.tile([0, 1], 500_000)
    scores = np.arange(1_000_000, dtype=float)
    fp, tp, _ = roc_counts(scores, labels)
    assert (fp[-1], tp[-1]) == (500_000, 500_000)
    assert metrics.roc_auc(scores, labels) == (500_000 * 500_001 / 2) / 500_000**2
