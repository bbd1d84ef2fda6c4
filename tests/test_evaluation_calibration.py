"""Calibration recovers known likelihood ratios and takes the prior off; the abstention band keeps its promise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from deepfake.metrics.abstention import AbstentionBand, fit_abstention_band
from deepfake.metrics.calibration import Calibration, fit_platt
from deepfake.metrics.definitions import cllr, expected_calibration_error, roc_auc


def true_ratios(rng, n: int, prior_fake: float, strength: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores N(+-v/2, v): each score is its own log-likelihood ratio."""
    labels = (rng.random(n) < prior_fake).astype(int)
    labels[:2] = (0, 1)
    return np.sqrt(strength) * rng.normal(size=n) + strength * (labels - 0.5), labels


@pytest.mark.parametrize("prior_fake", [0.1, 0.5, 0.9])
def test_platt_recovers_the_ratio_whatever_the_validation_mix(prior_fake):
    ratios, labels = true_ratios(np.random.default_rng(0), 40_000, prior_fake)
    fitted = fit_platt(3 * ratios + 7, labels)
    assert fitted.slope == pytest.approx(1 / 3, rel=0.05)
    assert fitted.llr([7.0])[0] == pytest.approx(0, abs=0.06)


def test_calibration_keeps_the_order_and_never_raises_cllr():
    rng = np.random.default_rng(2)
    for _ in range(30):
        ratios, labels = true_ratios(rng, 400, 0.4, strength=float(rng.uniform(0.5, 9)))
        scores = ratios * rng.uniform(0.2, 5)
        llr = fit_platt(scores, labels).llr(scores)
        assert roc_auc(llr, labels) == roc_auc(scores, labels)
        assert cllr(llr, labels) <= cllr(scores, labels) + 1e-3  # the softened targets cost a little


@pytest.mark.parametrize(
    ("scores", "labels"),
    [([-9.0, -8.0, 8.0, 9.0], [0, 0, 1, 1]), ([-1.0, -2.0, 3.0, 4.0], [1, 1, 0, 0]), ([2.0, 2.0, 2.0], [0, 1, 1])],
)
def test_separated_reversed_and_constant_scores_stay_finite(scores, labels):
    fitted = fit_platt(scores, labels)
    assert 0 < fitted.slope < 100
    assert np.abs(fitted.llr(scores)).max() < 20


def test_a_separated_set_of_four_is_worth_little_evidence():
    few = fit_platt([-9.0, -8.0, 8.0, 9.0], [0, 0, 1, 1]).llr([9.0])[0]
    many = fit_platt([-9.0, -8.0, 8.0, 9.0] * 100, [0, 0, 1, 1] * 100).llr([9.0])[0]
    assert 0.5 < few < 2 < many < 8


@pytest.mark.parametrize("deployed_prior", [0.05, 0.5])
def test_probabilities_are_right_at_the_stated_prior(deployed_prior):
    rng = np.random.default_rng(3)
    ratios, labels = true_ratios(rng, 40_000, 0.5)
    fitted = fit_platt(4 * ratios - 1, labels)
    fresh, truth = true_ratios(rng, 100_000, deployed_prior)
    probability = fitted.probability(4 * fresh - 1, prior_fake=deployed_prior)
    assert expected_calibration_error(probability, truth) < 0.01


def test_score_threshold_is_where_the_ratio_reaches_it():
    fitted = Calibration(0.25, -1.5, "platt", 10, 10)
    assert fitted.llr([fitted.score_threshold(0.642)])[0] == pytest.approx(0.642)


def test_calibration_and_band_survive_json():
    ratios, labels = true_ratios(np.random.default_rng(4), 500, 0.5)
    for fitted in (
        fit_platt(ratios, labels),
        fit_abstention_band(ratios, labels, 0.1),
    ):
        assert type(fitted).from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False))) == fitted


def test_bad_calibrations_are_refused():
    with pytest.raises(ValueError, match="positive slope"):
        Calibration(-1.0, 0.0, "platt", 1, 1)
    with pytest.raises(ValueError, match="calibration needs both real and fake"):
        fit_platt([1.0, 2.0], [1, 1])


def test_band_abstains_between_its_ends_only():
    band = AbstentionBand(fake_from=1.0, real_below=-1.0, max_error=0.1, confidence=None, n_real=1, n_fake=1)
    assert band.decide([-2.0, -1.0, 0.0, 1.0, 2.0]).tolist() == [0, -1, -1, 1, 1]


def test_separable_classes_need_no_abstention():
    scores = np.r_[np.linspace(-2, -1, 200), np.linspace(1, 2, 200)]
    labels = np.repeat([0, 1], 200)
    for confidence in (None, 0.95):
        band = fit_abstention_band(scores, labels, 0.05, confidence)
        assert (band.decide(scores) == labels).mean() > 0.94
        assert -1 not in band.decide(np.linspace(-3, 3, 101))


@pytest.mark.parametrize(("confidence", "needed"), [(None, 19), (0.95, 72)])
def test_a_small_class_is_never_decided_against(confidence, needed):
    for n, possible in ((needed - 1, False), (needed, True)):
        scores, labels = np.r_[np.linspace(0, 1, n), np.linspace(0.5, 1.5, 500)], np.repeat([0, 1], [n, 500])
        band = fit_abstention_band(scores, labels, 0.05, confidence)
        assert (band.fake_from is not None) == possible
        assert band.real_below is not None
        assert possible or f"never calls a clip fake; at least {needed}" in band.note
        assert possible == (1 in band.decide([99.0]))


def test_average_case_band_is_the_conformal_p_value_rule():
    rng = np.random.default_rng(5)
    for _ in range(50):
        ratios, labels = true_ratios(rng, int(rng.integers(60, 200)), 0.5, strength=1.0)
        ratios = np.round(ratios, 1)
        band = fit_abstention_band(ratios, labels, 0.1, confidence=None)
        fresh = np.round(rng.normal(size=200) * 2, 1)
        real, fake = ratios[labels == 0], ratios[labels == 1]
        not_real = (1 + (real >= fresh[:, None]).sum(axis=1)) / (real.size + 1) <= 0.1
        not_fake = (1 + (fake <= fresh[:, None]).sum(axis=1)) / (fake.size + 1) <= 0.1
        assert (band.decide(fresh) == np.where(not_real, 1, np.where(not_fake, 0, -1))).all()


def _true_errors(band: AbstentionBand, mean: float) -> tuple[float, float]:
    """(real called fake, fake called real) for unit-variance normal scores at -mean and +mean."""
    return float(stats.norm.sf(band.fake_from + mean)), float(stats.norm.cdf(band.real_below - mean))


@pytest.mark.slow
@pytest.mark.parametrize("mean", [0.5, 1.5])
def test_band_keeps_both_error_rates_in_ninety_five_percent_of_deployments(mean):
    rng = np.random.default_rng(6)
    labels = np.repeat([0, 1], [400, 300])
    kept = 0
    for _ in range(1000):
        band = fit_abstention_band(rng.normal(size=700) + mean * (2 * labels - 1), labels, 0.1, confidence=0.95)
        kept += max(_true_errors(band, mean)) <= 0.1
    assert kept >= 950, kept


@pytest.mark.slow
def test_average_case_band_keeps_both_error_rates_on_average_and_not_by_far():
    rng = np.random.default_rng(7)
    labels = np.repeat([0, 1], [150, 99])
    errors = []
    for _ in range(2000):
        band = fit_abstention_band(rng.normal(size=249) + 0.5 * (2 * labels - 1), labels, 0.1, confidence=None)
        errors.append(_true_errors(band, 0.5))
    means = np.mean(errors, axis=0)
    assert (means <= 0.1 + 0.002).all()  # 0.002: three standard deviations of the mean over 2,000 runs
    assert (means >= 0.09).all()


@pytest.mark.slow
def test_band_over_groups_keeps_its_promise_where_clips_are_alike():
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(400), 8)
    labels = (groups >= 200).astype(int)
    kept = 0
    for _ in range(1000):
        scores = np.sqrt(0.8) * rng.normal(size=400)[groups] + np.sqrt(0.2) * rng.normal(size=groups.size)
        band = fit_abstention_band(scores + labels - 0.5, labels, 0.1, confidence=0.95, groups=groups)
        kept += max(_true_errors(band, 0.5)) <= 0.1
    assert kept >= 950, kept
