"""One judge and one record: what is measured once is written once, reads back the same, and old records still read."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from deepfake.errors import UserError
from deepfake.judging.clips import ScoredClips
from deepfake.judging.codec import from_json, to_json
from deepfake.judging.judge import OF_PROBABILITY, Judge, compare, drawn, facts, measure_set
from deepfake.judging.limits import Evidence, gaps
from deepfake.judging.record import Audit, Base, Judgement, Threshold
from deepfake.judging.report import REPORT, History, Report, System, read_report, write_report_json
from deepfake.judging.run import (
    RESULTS,
    DataFacts,
    Fitted,
    ModelFacts,
    Module,
    RunFacts,
    RunRecord,
    TrainingFacts,
    read_run,
    write_run,
)
from deepfake.metrics.decisions import fit_decisions
from deepfake.metrics.definitions import detection_metrics
from deepfake.metrics.intervals import Estimate
from deepfake.text import bracket, fake_probability, markdown_table, replacing, with_interval, write_json

ROOT = Path(__file__).parents[1]
SHIPPED, SYSTEM_E = ROOT / "checkpoints" / "compact", ROOT / "tests" / "data" / "system_e"
FORMAT_1 = ROOT / "tests" / "data" / "format_1"  # of a detector that was shipped once, with intervals and points


def clips(seed: int, recordings: int = 60, distance: float = 2.0) -> ScoredClips:
    """Fake logits: three clips a recording, two generators, speakers that every other recording knows."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(recordings), 3)
    labels = groups % 2
    columns = {
        "source": [f"r{g}.mp3" for g in groups],
        "speaker": [f"s{g // 10}" if g % 4 < 2 else None for g in groups],
        "generator": [("one", "two")[g % 4 // 2] if g % 2 else None for g in groups],
        "duration_s": list(2 + 12 * rng.random(groups.size)),
    }
    return ScoredClips.of(rng.normal(size=groups.size) + distance * labels - 1, labels, columns)


@pytest.fixture(scope="module")
def judge() -> Judge:
    validation = clips(0)
    decisions = fit_decisions(validation.scores, validation.labels, validation.groups())
    return Judge(Threshold(0.1, "fake_logit", "made up", "validation", "eer"), decisions)


@pytest.fixture(scope="module")
def judgement(judge: Judge) -> Judgement:
    default = Judge.by_default()
    found = {"test": measure_set(clips(1), judge, "test", 20), "far": measure_set(clips(2), judge, "out_of_domain", 20)}
    found["test"] = replace(found["test"], series=drawn(clips(1), judge))
    before = {"test": measure_set(clips(1, distance=0.5), default, "test", 20)}
    differences = {"test": compare(clips(1), judge, clips(1, distance=0.5), default, 20)}
    base = Base(None, default.threshold, before, differences)
    return Judgement(judge.threshold, judge.decisions, found, base, 20, 3, ("mind the gap",))


def test_every_record_reads_back_as_it_was_written(judgement: Judgement, tmp_path: Path) -> None:
    known = facts(clips(1).labels, clips(1).facts)
    model = ModelFacts(None, True, "Wav2Vec2Model", "wav2vec2", 7, 3, (Module("encoder", 7, True),))
    data, training = (
        DataFacts("made up", {"train": known}, 0),
        TrainingFacts(steps=2, history=({"loss": 0.5},), fitted=Fitted(3, 4, 1, 2, 2, 6, 5)),
    )
    elsewhere = {"card": 0.5, "handler": "argmax"}
    made_by = RunFacts(None, "apache-2.0", 13.0, {"seed": 1}, model, data, training, {"python": "3"})
    run = RunRecord(replace(made_by, thresholds_elsewhere=elsewhere), judgement)
    write_run(tmp_path / RESULTS, run)
    assert read_run(tmp_path / RESULTS) == run
    report = Report(
        System("one", "two"), judgement, Audit(0, None, {"train": (3, 4)}, ("one",)),
        judgement.sets["test"].breakdowns["generator"], History(({"loss": 0.5},), None), 2,
        tuple(gaps(Evidence(judgement.sets, Audit()))),
    )  # fmt: skip
    write_report_json(tmp_path / REPORT, report)
    assert read_report(tmp_path / REPORT) == report
    written = [json.loads((tmp_path / name).read_text()) for name in (RESULTS, REPORT)]
    assert written[0]["sets"] == written[1]["sets"]  # one shape of one fact


def test_a_set_says_what_the_metrics_say(judge: Judge) -> None:
    found, scored = measure_set(clips(1), judge, "test", 20), clips(1)
    expected = detection_metrics(scored.scores, scored.labels, 0.1, expit(scored.scores))
    for name, estimate in found.metrics.items():
        if name in expected:
            assert estimate.value == pytest.approx(expected[name], abs=1e-12), name
        assert estimate.low is None or estimate.low <= estimate.value <= estimate.high, name
    assert {name for name in OF_PROBABILITY if found.metrics[name].low is None} == set()
    assert (found.n, found.facts.real.clips, found.facts.fake.recordings) == (180, 90, 30)
    assert set(found.breakdowns) == {"generator", "container", "duration"}
    assert set(found.regrouped) == {"speakers", "generators"}
    assert found.regrouped["speakers"]["roc_auc"].value == found.metrics["roc_auc"].value
    assert found.regrouped["speakers"]["roc_auc"].n_groups < found.metrics["roc_auc"].n_groups


def test_what_was_fitted_on_validation_is_not_applied_to_it(judge: Judge) -> None:
    assert measure_set(clips(1), judge, "validation", 20).operating_points == ()
    names = [point.name for point in measure_set(clips(1), judge, "test", 20).operating_points]
    assert names == [*judge.decisions.points, "abstain"]


def test_scores_of_no_unit_have_no_calibration_of_their_own() -> None:
    found = measure_set(clips(1), Judge(Threshold(0.1, "score", "given", None)), "test", 20)
    assert {found.value(name) for name in OF_PROBABILITY} == {None}
    assert found.value("roc_auc") is not None
    assert Threshold(0.1, "score", "given", None).fake_probability is None


def test_a_checkpoints_judge_decides_as_the_checkpoint_does(judge: Judge) -> None:
    stored = {"threshold": 0.4, "threshold_split": "validation", "threshold_rule": "eer", **judge.decisions.to_config()}
    found = Judge.of_checkpoint(stored)
    assert found.threshold.fake_probability == pytest.approx(0.4, abs=1e-12)
    assert (found.threshold.split, found.threshold.rule) == ("validation", "eer")
    assert found.decisions == judge.decisions
    assert Judge.of_checkpoint({}) is None


def numbers(value: object) -> set[float]:
    """Every number that is not whole, to twelve digits: probabilities that follow from logits are computed anew."""
    if isinstance(value, dict):
        return set().union(*map(numbers, value.values()))
    if isinstance(value, list):
        return set().union(*map(numbers, value))
    return {float(f"{value:.12g}")} if isinstance(value, float) and not value.is_integer() else set()


@pytest.mark.parametrize("folder", [SYSTEM_E, FORMAT_1], ids=lambda folder: folder.name)
def test_records_of_an_earlier_format_lose_no_number(folder: Path) -> None:
    raw = json.loads((folder / RESULTS).read_text())
    record = read_run(folder / RESULTS)
    kept = numbers(to_json(record))
    for name in ("validation", "test", "decisions", "data", "recipe", "training"):
        assert numbers(raw.get(name, {})) <= kept, name
    assert record.judgement.threshold.fake_probability == pytest.approx(raw["threshold"]["fake_probability"], abs=1e-12)
    for name, found in record.judgement.sets.items():
        assert {k: e.value for k, e in found.metrics.items()}.items() <= raw[name]["metrics"].items()
        assert found.n == raw[name]["metrics"]["n"]
    assert from_json(Judgement, to_json(record.judgement)) == record.judgement


def test_a_report_of_an_earlier_format_reads_as_one_of_this(tmp_path: Path) -> None:
    interval = {"low": 0.7, "high": 0.9, "method": "group bootstrap, t on logit", "n_groups": 20, "warning": None}
    metrics = {"roc_auc": 0.8, "cllr": None, "tp": 3, "tn": 4, "fp": 1, "fn": 2, "n": 10, "n_real": 5, "n_fake": 5}
    of_class = {"clips": 5, "recordings": 5, "speakers": None, "minutes": None}
    old_set = {
        "role": "test",
        "facts": {"real": of_class, "fake": of_class, "generators": {"one": 5}, "languages": {}, "containers": {}},
        "metrics": metrics,
        "intervals": {"recordings": {"roc_auc": interval}, "speakers": {"roc_auc": interval | {"n_groups": 12}}},
        "operating_points": [
            {"name": "fpr_0.05", "threshold": 1.5, "max_fpr": 0.05, "supported": True, "note": None,
             "fpr": {"value": 0.0, **interval}, "fnr": {"value": 0.4, **interval}},
            {"name": "abstain", "fake_from": None, "real_below": -1.0, "max_error": 0.05, "supported": False,
             "note": "not supported by n", "decided": 0.5, "fpr": {"value": 0.0, **interval},
             "fnr": {"value": 0.1, **interval}},
        ],
        "breakdowns": {"generator": [{"name": "one", "n_real": 5, "n_fake": 5, "recordings": {"real": 5, "fake": 5},
                                      "roc_auc": {"value": 0.8, **interval}}]},
        "series": {"roc": {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]},
                   "precision_recall": {"recall": [1.0], "precision": [0.5]},
                   "histogram": {"edges": [0.0, 1.0], "real": [5], "fake": [5]},
                   "reliability": {"calibrated": True,
                                   "bins": [{"p": 0.5, "fake": 0.4, "n": 5, "low": 0.1, "high": 0.8}]}},
    }  # fmt: skip
    threshold = {"value": 0.2, "unit": "fake_logit", "origin": "made up", "split": "validation"}
    report = {
        "format": 1, "system": {"name": "old", "dataset": "d"}, "threshold": threshold, "decisions": None,
        "resamples": 9, "audit": {"shared_recordings": 0, "shared_speakers": None, "splits": {"train": [1, 2]},
                                  "training_generators": None},
        "sets": {"test": old_set},
        "base": {"system": {"name": "b"}, "threshold": {k: threshold[k] for k in ("value", "unit", "origin")},
                 "sets": {"test": {k: v for k, v in old_set.items() if k != "role"}},
                 "differences": {"test": {"roc_auc": {"a": 0.8, "b": 0.7, "difference": 0.1, "interval": interval}}}},
        "leave_one_generator_out": old_set["breakdowns"]["generator"], "training": {"history": [], "best_step": 3},
        "unscored": 2, "gaps": [{"heading": "h", "text": "t", "disqualifies": False}],
        "gates": [{"gate": "eer<=0.5", "value": 0.1, "passed": True}],
    }  # fmt: skip
    (tmp_path / REPORT).write_text(json.dumps(report))
    found = read_report(tmp_path / REPORT)
    judged = found.judgement.sets["test"]
    assert judged.metrics["roc_auc"] == Estimate(0.8, 0.7, 0.9, 20, "group bootstrap, t on logit")
    assert judged.metrics["cllr"].value is None
    assert judged.regrouped["speakers"]["roc_auc"].n_groups == 12
    assert [point.band is None for point in judged.operating_points] == [True, False]
    assert judged.breakdowns["generator"][0] == found.leave_one_generator_out[0]
    assert judged.series.reliability.bins[0].fake.high == 0.8
    assert str(found.judgement.base.differences["test"]["roc_auc"].difference) == "0.100 [0.700, 0.900]"
    assert (found.judgement.unscored, found.training.best_step, found.audit.splits) == (2, 3, {"train": (1, 2)})
    assert (found.gates[0].passed, found.gaps[0].heading, found.judgement.base.name) == (True, "h", "b")


def spoilt(change: object) -> str:
    values = json.loads((SYSTEM_E / RESULTS).read_text())
    change(values)
    return json.dumps(values)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"format": 3}', "is of format 3, which this version cannot read; it reads up to 2"),
        ('{"format": "new"}', "is of format new"),
        ("[]", "is not what a training run left"),
        ("{cut", "not readable as JSON"),
        (spoilt(lambda v: v.pop("model")), "'model' is missing"),
        (spoilt(lambda v: v["validation"]["metrics"].pop("n")), "'n' is missing"),
        (spoilt(lambda v: v["model"].update(parameters="many")), "model.parameters is str, expected int"),
        (json.dumps({"format": 2, "license": "x"}), "hub_model_id is missing"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / RESULTS).write_text(text)
    with pytest.raises(UserError, match="results.json") as error:
        read_run(tmp_path / RESULTS)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_an_interval_is_written_in_one_way() -> None:
    assert str(Estimate(0.91249, 0.85, 0.96)) == with_interval(0.91249, 0.85, 0.96) == "0.912 [0.850, 0.960]"
    assert str(Estimate(0.5)) == "0.500"
    assert str(Estimate(None, 0.1, 0.2)) == "undefined"
    assert (bracket(None, 0.5), bracket(0.25, 0.5, 1)) == ("", "[0.2, 0.5]")
    assert markdown_table(["a", "b"], [[1, Estimate(0.5)]]) == "| a | b |\n|---|---|\n| 1 | 0.500 |"


def test_probability_of_a_logit_never_overflows_and_knows_arrays() -> None:
    logits = np.array([-1e4, -800.0, -3.0, 0.0, 3.0, 1e4, np.nan])
    found = fake_probability(logits)
    np.testing.assert_allclose(found, expit(logits), rtol=1e-12, atol=1e-300)
    assert [fake_probability(float(x)) for x in logits[:-1]] == found[:-1].tolist()
    assert isinstance(fake_probability(0.0), float)
    assert math.isnan(fake_probability(math.nan))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": math.inf})

    def killed() -> None:
        with replacing(path) as draft:
            assert draft.suffix == ".json"
            draft.write_text("half of")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
