"""What validation decided is stored, applied by name, and carried to other clips without a second look at them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import RECORDINGS, ROOT, save_tiny

import infer
from deepfake.errors import UserError
from deepfake.judging.clips import ScoredClips
from deepfake.judging.judge import applied
from deepfake.metrics.decisions import Decisions, bayes_threshold, fit_decisions
from deepfake.scoring.decision import decide_by
from deepfake.text import fake_probability
from infer import Detector


def clips(seed: int, recordings: int = 400, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels and recordings: three clips a recording, alike within it."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(recordings), 3)
    labels = groups % 2
    return rng.normal(size=recordings)[groups] + rng.normal(size=groups.size) + 4 * labels - 2 + shift, labels, groups


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    return fit_decisions(*clips(0))


def test_config_holds_everything(decisions: Decisions) -> None:
    stored = json.loads(json.dumps(decisions.to_config(), allow_nan=False))
    assert Decisions.from_config(stored) == decisions
    assert Decisions.from_config({"threshold": 0.5}) is None
    for values in stored["operating_points"].values():
        assert values["fake_probability"] == pytest.approx(1 / (1 + np.exp(-values["threshold"])))


def test_a_checkpoint_that_is_read_and_saved_again_keeps_its_default() -> None:
    stored = json.loads((ROOT / "checkpoints/compact/config.json").read_text())["detector"]
    read = Decisions.from_config(stored)
    assert list(read.points)[0] == "default"
    kept = read.to_config()
    for key in ("operating_points", "calibration", "abstention"):
        assert kept[key] == stored[key]
    measured = stored["operating_points"]["default"] | {"set": "calls", "real_below": -1.0, "rule": "by hand"}
    stored["operating_points"]["default"] = measured
    assert Decisions.from_config(stored).to_config()["operating_points"]["default"] == measured
    assert decide_by(stored | kept, operating_point="default").threshold == pytest.approx(stored["threshold"])


def test_bayes_point_follows_from_the_calibration(decisions: Decisions) -> None:
    assert bayes_threshold(decisions.calibration, "bayes:0.05,1,10") == pytest.approx(
        decisions.points["bayes"].threshold
    )
    prior = 0.2  # at equal costs the decision changes where the posterior reaches one half
    threshold = bayes_threshold(decisions.calibration, f"bayes:{prior}")
    assert decisions.calibration.probability([threshold], prior)[0] == pytest.approx(0.5)


def table(scores: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> ScoredClips:
    return ScoredClips.of(scores, labels, {"source": [f"r{group}" for group in groups]})


def test_applying_never_refits(decisions: Decisions) -> None:
    """Other clips move the rates and leave the thresholds; at the same thresholds a shift can only raise the FPR."""
    here, shifted = (applied(decisions, table(*clips(1, shift=shift)), 50) for shift in (0.0, 2.0))
    for row, moved in zip(here[:-1], shifted[:-1], strict=True):
        assert row.threshold == moved.threshold == decisions.points[row.name].threshold
        scores, labels, _ = clips(1)
        assert row.fpr.value == np.mean(scores[labels == 0] >= row.threshold)
        assert moved.fpr.value >= row.fpr.value
    last = here[-1]
    scores, labels, _ = clips(1)
    decided = decisions.abstention.decide(scores)
    assert last.band.decided == np.mean(decided >= 0)
    assert last.fpr.value == np.mean(decided[labels == 0] == 1)
    assert last.fnr.value == np.mean(decided[labels == 1] == 0)


def test_band_without_ends_answers_uncertain() -> None:
    scores, labels, groups = clips(2, recordings=8)
    stored = fit_decisions(scores, labels, groups).to_config()
    decision = decide_by(stored, operating_point="abstain")
    assert {decision.prediction(p) for p in (0.0, 0.5, 1.0)} == {"uncertain"}
    assert "not supported by n" in decision.note
    assert "not supported by n" in decide_by(stored, operating_point="fpr_0.001").note


@pytest.fixture(scope="module")
def detector_folder(decisions: Decisions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    detector = {"threshold": 0.4, "window_s": 13.0, "hop_s": 6.5, **decisions.to_config()}
    return save_tiny(tmp_path_factory.mktemp("decided") / "model", detector=detector)


def test_detector_applies_the_point_asked_for(detector_folder: Path, decisions: Decisions, speech: np.ndarray) -> None:
    assert Detector.from_pretrained(detector_folder).threshold == 0.4
    for name, point in decisions.points.items():
        detector = Detector.from_pretrained(detector_folder, operating_point=name)
        assert detector.threshold == pytest.approx(fake_probability(point.threshold))
        score = detector.score(speech[: 16_000 * 4], 16_000)
        assert (score.prediction == "fake") == (score.fake_probability >= score.threshold)
    band = decisions.abstention
    decision = Detector.from_pretrained(detector_folder, operating_point="abstain").decision
    for logit in np.linspace(-6, 6, 49):
        expected = {1: "fake", 0: "real", -1: "uncertain"}[int(band.decide([logit])[0])]
        assert decision.prediction(fake_probability(logit)) == expected


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"operating_point": "fpr_0.02"}, "there is no operating point fpr_0.02; stored are balanced_accuracy"),
        ({"operating_point": "bayes:0.1,2"}, "has 2 numbers"),
        ({"operating_point": "bayes:often"}, "not a number"),
        ({"operating_point": "bayes:1.5"}, "prior_fake must lie strictly between 0 and 1"),
        ({"operating_point": "eer", "threshold": 0.5}, "give one of the two"),
    ],
)
def test_mistakes_are_one_sentence(options: dict, sentence: str, decisions: Decisions) -> None:
    with pytest.raises(UserError, match=sentence):
        decide_by(decisions.to_config(), **options)


def test_checkpoint_without_points_says_so(tiny_checkpoint: Path) -> None:
    with pytest.raises(UserError, match="stores no operating points"):
        Detector.from_pretrained(tiny_checkpoint, operating_point="eer")


def test_training_stores_and_transfers_them(trained: Path) -> None:
    stored = Decisions.from_config(json.loads((trained / "config.json").read_text())["detector"])
    results = json.loads((trained / "results.json").read_text())
    assert stored == Decisions.from_config(results["decisions"])
    names = {*stored.points, "abstain"}
    assert {row["name"] for row in results["sets"]["test"]["operating_points"]} == names
    assert names == {"balanced_accuracy", "eer", "fpr_0.05", "fpr_0.01", "fpr_0.001", "bayes", "abstain"}
    assert not stored.points["fpr_0.01"].supported  # a handful of recordings cannot promise one in a hundred
    assert results["sets"]["validation"]["operating_points"] == []  # they were fitted there: nothing to transfer


def test_infer_takes_the_name(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = str(RECORDINGS / "real" / "vctk_p226.wav")
    monkeypatch.setattr("sys.argv", ["infer.py", audio, "--model", str(trained), "--operating-point", "abstain"])
    assert infer.main() == 0
    out, err = capsys.readouterr()
    assert ",uncertain," in out  # so few recordings promise no answer
    assert "0 fake, 0 real" in err
    assert "1 uncertain" in err
    assert "warning: abstain: not supported by n" in err
