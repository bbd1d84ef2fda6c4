"""The worst cell leads, and what a threshold loses elsewhere is one number that is 0 where it loses nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deepfake.judging.clips import ScoredClips
from deepfake.judging.judge import Judge, measure_set
from deepfake.judging.record import OUT_OF_DOMAIN, TEST, VALIDATION, Threshold
from deepfake.judging.report import REPORT, System, read_report
from deepfake.judging.tables import report_table
from deepfake.judging.transfer import min_cllr, threshold_transfer
from deepfake.judging.worst import MOST_CELLS, false_alarms, matrix
from deepfake.metrics.checks import group_codes
from deepfake.metrics.costs import cllr
from deepfake.metrics.decisions import fit_decisions
from deepfake.metrics.definitions import detection_metrics, equal_error_rate, roc_auc
from evaluation.report import build_report, write_report

RECORDINGS = 480


def clips(seed: int = 0, weak: float = 0.0, shift: float = 0.0, recordings: int = RECORDINGS) -> ScoredClips:
    """Two clips a recording; three families, two pages of human speech, two channels.

    Args:
        weak: by which the fakes of family "new" in channel "phone" lie lower. shift: of all scores.
    """
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(recordings), 2)
    labels = groups % 2
    family = np.array(["vocoder", "flow", "new"])[groups // 2 % 3]
    channel = np.array(["studio", "phone"])[groups // 6 % 2]
    page = np.array(["radio", "books"])[groups // 12 % 2]
    scores = rng.normal(size=groups.size) + 4 * labels - 2 + shift
    scores -= weak * ((labels == 1) & (family == "new") & (channel == "phone"))
    columns = {
        "source": [f"r{g}.wav" for g in groups],
        "family": [f if y else None for f, y in zip(family, labels, strict=True)],
        "generator": [f"{f}-1" if y else "human" for f, y in zip(family, labels, strict=True)],
        "page": [None if y else p for p, y in zip(page, labels, strict=True)],
        "speaker": [f"s{g // 20}" for g in groups],
        "channel": list(channel),
    }
    return ScoredClips.of(scores, labels, columns)


def test_the_weak_cells_lead_and_the_pooled_figure_hides_them() -> None:
    scored = clips(weak=4.0)
    found = matrix(scored, 0.0)
    assert found.columns == ("family", "page", "channel")
    assert (found.ranked, found.unranked) == (12, 0)
    worst = found.cells[:2]
    assert {(cell.family, cell.channel) for cell in worst} == {("new", "phone")}
    assert {cell.human for cell in worst} == {"radio", "books"}
    for cell in worst:
        assert cell.hter.low > found.pooled.high
    errors = [cell.hter.value for cell in found.cells]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < found.pooled.value < found.mean + 1e-9 < errors[0]
    assert found.gap == pytest.approx(errors[0] - found.pooled.value)


def test_a_cell_says_what_its_clips_say() -> None:
    scored = clips(weak=2.0)
    facts = {name: np.array(scored.facts[name], dtype=object) for name in ("family", "page", "channel")}
    for cell in matrix(scored, 0.3).cells:
        here = (facts["channel"] == cell.channel) & ((facts["family"] == cell.family) | (facts["page"] == cell.human))
        expected = detection_metrics(scored.scores[here], scored.labels[here], 0.3)
        assert cell.hter.value == pytest.approx(1 - expected["balanced_accuracy"])
        assert cell.hter.low <= cell.hter.value <= cell.hter.high
        assert cell.roc_auc == roc_auc(scored.scores[here], scored.labels[here])
        assert (cell.real, cell.fake) == (expected["n_real"], expected["n_fake"])


def test_cells_of_a_handful_of_recordings_are_counted_and_not_ranked() -> None:
    scored = clips()
    rare = {name: list(values) for name, values in scored.facts.items()}
    for i in [i for i, y in enumerate(scored.labels) if y == 1][:6]:
        rare["family"][i] = "seen once"
    found = matrix(ScoredClips.of(scored.scores, scored.labels, rare), 0.0)
    assert found.unranked > 0
    assert "seen once" not in {cell.family for cell in found.cells}


def test_channels_that_hold_one_class_only_are_not_an_axis() -> None:
    scored = clips()
    apart = dict(scored.facts) | {"channel": [("a", "b")[y] for y in scored.labels]}
    found = matrix(ScoredClips.of(scored.scores, scored.labels, apart), 0.0)
    assert found.columns == ("family", "page", None)
    assert {cell.channel for cell in found.cells} == {"all"}


def test_a_set_that_tells_nothing_apart_has_no_matrix() -> None:
    scored = clips()
    assert matrix(ScoredClips.of(scored.scores, scored.labels, {}), 0.0) is None
    assert false_alarms(ScoredClips.of(scored.scores, scored.labels, {}), 0.0) == {}


def test_false_alarms_are_those_of_each_human_source() -> None:
    scored = clips()
    found = false_alarms(scored, -1.5)
    assert set(found) == {"page", "speaker"}
    real = scored.labels == 0
    for column, rows in found.items():
        assert sum(row.clips for row in rows) == real.sum()
        assert sum(row.fpr.value * row.clips for row in rows) == pytest.approx((scored.scores[real] >= -1.5).sum())
        for row in rows:
            mine = real & (np.array(scored.facts[column], dtype=object) == row.name)
            assert row.fpr.value == pytest.approx(np.mean(scored.scores[mine] >= -1.5))


def test_false_alarms_are_told_by_sex_and_by_decade_of_age() -> None:
    scored = clips()
    told = {
        "sex": ["f", "m"] * (len(scored) // 2),
        "age": [str(20 + i % 30) if i % 3 else None for i in range(len(scored))],
    }
    found = false_alarms(ScoredClips.of(scored.scores, scored.labels, scored.facts | told), -1.5)
    assert {row.name for row in found["sex"]} == {"f", "m"}
    assert {row.name for row in found["age"]} == {"20–29", "30–39", "40–49"}
    assert sum(row.clips for row in found["age"]) == sum(
        a is not None for a, y in zip(told["age"], scored.labels, strict=True) if y == 0
    )


def test_the_corpus_group_is_the_independent_unit_where_it_is_known() -> None:
    scored = clips()
    voices = dict(scored.facts) | {"group_id": [f"g{i // 8}" if i < 400 else None for i in range(len(scored))]}
    grouped = ScoredClips.of(scored.scores, scored.labels, voices)
    assert int(group_codes(grouped.independent(), len(grouped)).max()) + 1 == 50 + (len(grouped) - 400) // 2
    assert false_alarms(grouped, -1.5)["page"][0].groups < false_alarms(scored, -1.5)["page"][0].groups


def test_a_threshold_loses_nothing_at_its_own_equal_error_rate_and_much_when_scores_move() -> None:
    scored, moved = clips(), clips(shift=2.0)
    eer, threshold = equal_error_rate(scored.scores, scored.labels)
    at_home, away = (
        threshold_transfer(s.scores, s.labels, s.groups(), threshold, resamples=200) for s in (scored, moved)
    )
    assert abs(at_home.excess.value) < 0.005
    assert at_home.excess.low <= 0 <= at_home.excess.high
    assert away.eer == pytest.approx(eer)  # the order is the same
    expected = detection_metrics(moved.scores, moved.labels, threshold)["balanced_accuracy"]
    assert away.hter == pytest.approx(1 - expected)
    assert away.excess.low > 0.1


def test_calibration_drift_is_0_for_the_best_calibration_and_grows_with_a_shift() -> None:
    scored = clips()
    calibration = fit_decisions(scored.scores, scored.labels, scored.groups()).calibration
    drifts = []
    for shift in (0.0, 1.0, 3.0):
        moved = clips(shift=shift)
        llr = calibration.llr(moved.scores)
        found = threshold_transfer(moved.scores, moved.labels, moved.groups(), 0.0, llr, 20)
        assert found.calibration_drift == pytest.approx(cllr(llr, moved.labels) - min_cllr(moved.scores, moved.labels))
        drifts.append(found.calibration_drift)
    assert 0 <= drifts[0] < 0.05 < drifts[1] < drifts[2]


def test_no_rising_calibration_has_less_cost_than_the_least() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 300)
    scores = np.round(rng.normal(size=300) + labels, 1)
    least = min_cllr(scores, labels)
    for slope in (0.3, 1.0, 2.0):
        for bias in (-1.0, 0.0, 0.5):
            assert least <= cllr(slope * scores + bias, labels) + 1e-12
    assert least == pytest.approx(min_cllr(np.exp(scores), labels))
    assert min_cllr(labels * 1.0, labels) == pytest.approx(0.0, abs=1e-12)
    assert min_cllr(np.zeros(300), labels) == pytest.approx(1.0)


def test_the_report_opens_with_the_worst_and_keeps_it(tmp_path: Path) -> None:
    validation = clips(9)
    decisions = fit_decisions(validation.scores, validation.labels, validation.groups())
    judge = Judge(Threshold(0.0, "fake_logit", "made up", VALIDATION), decisions)
    sets = {"test": (TEST, clips(weak=3.0)), "far": (OUT_OF_DOMAIN, clips(2, shift=1.5))}
    report = build_report(System("one"), judge, sets, resamples=20)
    write_report(report, tmp_path)
    kept = read_report(tmp_path / REPORT)
    assert kept.judgement.sets == report.judgement.sets
    assert len(kept.judgement.sets["test"].matrix.cells) <= MOST_CELLS
    raw = json.loads((tmp_path / REPORT).read_text())["sets"]["test"]["matrix"]
    assert raw["gap"] == pytest.approx(report.judgement.sets["test"].matrix.gap)
    page = (tmp_path / "report.html").read_text()
    assert page.index("The worst of test") < page.index("pooled") < page.index("Every metric")
    assert "What the threshold loses elsewhere" in page
    assert (tmp_path / "threshold_transfer.png").is_file()
    lines = report_table(report).splitlines()
    assert lines[0].startswith("worst of 12 cells of test")
    assert any("far: HTER at the threshold minus EER" in line for line in lines)
    assert measure_set(validation, judge, VALIDATION, 20).transfer is None
