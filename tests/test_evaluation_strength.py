"""Likelihood ratios are stated as far as validation supports them, and in the words of a published scale."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import RECORDINGS, ROOT

from deepfake.audio.files import AudioFile
from deepfake.judging.clips import ScoredClips
from deepfake.judging.codec import from_json, to_json
from deepfake.judging.judge import Judge, drawn, measure_set
from deepfake.judging.record import OUT_OF_DOMAIN, TEST, JudgedSet, Threshold
from deepfake.judging.report import REPORT, System, read_report
from deepfake.judging.statements import statements
from deepfake.metrics.decisions import Decisions, fit_decisions
from deepfake.metrics.strength import NO_SUPPORT, OF_POINTS, SCALE, Limits, fit_limits, in_words, limits_of_points
from deepfake.scoring.analysis import analyse
from deepfake.scoring.verdict import stated_strength, verdict
from evaluation.report import build_report, write_report
from infer import Detector

COMPACT = ROOT / "checkpoints" / "compact"


def ratios(n: int, seed: int = 0, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Perfectly calibrated ratios in nats: normal scores of deviation 1, `apart` from each other."""
    labels = np.arange(n) % 2
    scores = np.random.default_rng(seed).normal(size=n) + apart * labels
    return apart * (scores - apart / 2), labels


def cost(llr: np.ndarray, labels: np.ndarray, t: float) -> float:
    """Of deciding by the ratio t, one misleading clip of either class added: the rule, clip by clip."""
    fakes, real = llr[labels == 1], llr[labels == 0]
    missed = (sum(x < math.log(t) for x in fakes) + 1) / (len(fakes) + 1)
    alarms = (sum(x >= math.log(t) for x in real) + 1) / (len(real) + 1)
    return (missed + t * alarms) / min(1.0, t)


@pytest.mark.parametrize("n", [40, 400])
def test_the_bounds_are_where_the_prior_alone_would_do_as_well(n: int) -> None:
    llr, labels = ratios(n)
    found = fit_limits(llr, labels)
    for t in np.exp(np.linspace(0.01, found.highest - 1e-6, 60)):
        assert cost(llr, labels, t) < 1
    assert cost(llr, labels, math.exp(found.highest + 1e-6)) >= 1
    for t in np.exp(np.linspace(found.lowest + 1e-6, -0.01, 60)):
        assert cost(llr, labels, t) < 1
    assert cost(llr, labels, math.exp(found.lowest - 1e-6)) >= 1


def test_more_clips_support_more_and_a_clip_more_of_one_recording_does_not() -> None:
    few, many = (fit_limits(*ratios(n, apart=4.0)) for n in (100, 10_000))
    assert many.highest > few.highest + 2
    assert many.lowest < few.lowest - 2
    llr, labels = ratios(200, apart=4.0)
    alone = fit_limits(llr, labels)
    copied = fit_limits(np.tile(llr, 20), np.tile(labels, 20), np.tile(np.arange(200), 20).tolist())
    assert (copied.lowest, copied.highest) == pytest.approx((alone.lowest, alone.highest))
    assert fit_limits(np.tile(llr, 20), np.tile(labels, 20)).highest > alone.highest
    separated = fit_limits(np.array([-9.0] * 30 + [9.0] * 30), np.repeat([0, 1], 30))
    assert math.exp(separated.highest) == pytest.approx(30, rel=0.05)  # not e^9: thirty clips of a class carry thirty


def test_ratios_that_mislead_support_nothing() -> None:
    llr, labels = ratios(400)
    found = fit_limits(-llr, labels)
    assert found.highest < 0.2
    assert found.lowest > -0.2


def test_words_change_where_the_scale_says_and_are_the_same_on_either_side() -> None:
    for start, word in SCALE:
        assert in_words(math.log(start)) == in_words(-math.log(start)) == word
        assert in_words(math.log(start * 0.999)) != word
    assert in_words(0.0) == in_words(math.log(1.99)) == NO_SUPPORT
    assert in_words(5000.0) == "extremely strong"


@pytest.mark.parametrize(("value", "written"), [(2.152, 8.6), (0.0, 1.0), (7.0, 1000.0), (7.5, 1800.0)])
def test_a_rounded_ratio_never_claims_more(value: float, written: float) -> None:
    limits = Limits(-value, value, 10, 10)
    assert limits.highest_lr == pytest.approx(written)
    assert limits.highest_lr <= math.exp(value) * (1 + 1e-9)
    assert limits.lowest_lr >= math.exp(-value) * (1 - 1e-9)
    assert Limits.from_dict(limits.to_dict()) == limits


def test_a_checkpoint_carries_its_limits_and_an_older_one_gets_those_of_its_points() -> None:
    llr, labels = ratios(2000)
    decisions = fit_decisions(llr, labels, None)
    assert decisions.limits.method == "ELUB"
    stored = json.loads(json.dumps(decisions.to_config()))
    assert Decisions.from_config(stored) == decisions
    del stored["evidence"]
    older = Decisions.from_config(stored).limits
    assert older.method == OF_POINTS
    assert decisions.limits.lowest <= older.lowest <= 0 <= older.highest <= decisions.limits.highest
    assert limits_of_points(decisions.calibration, []) is None


def test_what_is_said_of_a_set_counts_its_clips_and_those_it_would_mislead(tmp_path: Path) -> None:
    llr, labels = ratios(3000)
    decisions = fit_decisions(llr[:2000], labels[:2000], None)
    facts = {"source": [f"r{i // 2}" for i in range(1000)]}
    fresh = ScoredClips.of(llr[2000:], labels[2000:], facts)
    found = statements(fresh, decisions.scale)
    assert (sum(b.real for b in found.bands), sum(b.fake for b in found.bands)) == (500, 500)
    stated = [decisions.scale.statement(score) for score in fresh.scores]
    for band in found.bands:
        mine = [(s.favours, s.strength) == (band.favours, band.strength) for s in stated]
        assert (band.real, band.fake) == (
            sum(np.array(mine) & (labels[2000:] == 0)),
            sum(np.array(mine) & (labels[2000:] == 1)),
        )
    misled = np.mean([s.favours == "fake" for s, y in zip(stated, labels[2000:], strict=True) if y == 0])
    assert found.misleading_real.value == pytest.approx(misled)
    # Calibrated ratios of t or more favour the wrong side in at most 1 / t of the cases.
    strong = sum(b.real for b in found.bands if b.favours == "fake" and b.strength != "weak")
    assert strong / 500 <= 1 / 10
    judge = Judge(Threshold(0.0, "fake_logit", "", "validation"), decisions)
    tippett = drawn(fresh, judge).tippett
    assert tippett.real[0] == tippett.fake[0] == 1.0
    assert all(a <= b for a, b in zip(tippett.real, tippett.fake, strict=True) if b > 0.05)
    assert 10**tippett.high == pytest.approx(math.exp(found.limits.highest))
    judged = measure_set(fresh, judge, TEST, 20)
    assert from_json(JudgedSet, json.loads(json.dumps(to_json(judged)))) == judged
    for name in ("cllr", "brier_calibrated", "ece_calibrated"):
        assert judged.metrics[name].low <= judged.metrics[name].value <= judged.metrics[name].high
    report = build_report(System("x"), judge, {"test": (TEST, fresh), "far": (OUT_OF_DOMAIN, fresh)}, resamples=20)
    write_report(report, tmp_path)
    assert (tmp_path / "likelihood_ratios.png").stat().st_size > 5000
    assert read_report(tmp_path / REPORT).judgement.sets["test"].statements == found
    page = (tmp_path / "report.html").read_text()
    assert f"from {found.limits.lowest_lr:,g} to {found.limits.highest_lr:,g}" in page


def test_the_shipped_detector_says_no_more_than_its_validation_supports() -> None:
    detector = Detector.from_pretrained()
    limits = detector.decision.scale.limits
    assert limits.method == OF_POINTS
    assert 1 < limits.highest_lr < 10
    path = RECORDINGS / "fake" / "kokoro_am_michael.wav"
    ((_, result),) = analyse(detector, [AudioFile(path, path.name)])
    told = " ".join(verdict(detector.row(result), detector.decision, result).split())
    assert "no support for either" in told  # of a fake that it misses
    scale = detector.decision.scale
    told = stated_strength(scale.statement(5.0))
    assert f"{limits.highest_lr:g} times or more as probable from synthesis as from a human speaker" in told
    assert "weak support for synthesis (validation supports no larger ratio)" in told
    assert scale.statement(-30.0).favours is None  # its lower limit is above one half
