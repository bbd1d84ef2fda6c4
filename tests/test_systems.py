"""The comparison of systems: the same numbers as each run recorded, failures in the table, nothing trained twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import RECORDINGS
from datasets import ClassLabel, Dataset, Features, Value
from sklearn.metrics import roc_auc_score

from benchmarks import systems
from benchmarks.systems_rows import HELD_OUT, RARE, SEEN, constant_row, score_column, trained_row
from deepfake.judging.record import Judgement, Threshold
from deepfake.judging.run import DataFacts, ModelFacts, RunFacts, RunRecord, TrainingFacts, read_run

SPEED = {"realtime": 9.0, "epoch_s": 5.0}


def split_of(generators: list[str]) -> Dataset:
    """A test split of one clip a generator; "human" is real."""
    return Dataset.from_dict(
        {
            "label": [int(name != "human") for name in generators],
            "source": [f"recording {i}" for i in range(len(generators))],
            "generator": generators,
        },
        features=Features(
            {"label": ClassLabel(names=["real", "fake"]), "source": Value("string"), "generator": Value("string")}
        ),
    )


def results_of(threshold: float) -> RunRecord:
    facts = RunFacts(
        hub_model_id=None, license="apache-2.0", max_duration_s=13.0, recipe={}, surroundings={},
        model=ModelFacts(None, True, "Wav2Vec2ForSequenceClassification", "wav2vec2", 7, 7),
        data=DataFacts("made up", {}, 0), training=TrainingFacts(epochs=4.0),
    )  # fmt: skip
    return RunRecord(facts, Judgement(Threshold(threshold, "fake_logit", "made up", "validation"), None, {}))


def test_generators_that_training_did_not_hold_are_judged_apart() -> None:
    rng = np.random.default_rng(0)
    generators = ["human"] * 40 + ["known"] * 20 + ["new"] * 15 + ["newer"] * 3
    test = split_of(generators)
    labels, names = np.array(test["label"]), np.array(generators)
    scores = rng.standard_normal(len(test)) + labels * np.where(names == "known", 3.0, 0.5)
    row = trained_row("one", results_of(1.0), scores, SPEED, test, {"human", "known"})
    fakes = {part: found.clips for part, found in row.generators.items()}
    assert fakes == {SEEN: 20, HELD_OUT: 18, "new": 15, RARE: 3}
    parts = {SEEN: names == "known", HELD_OUT: (names == "new") | (names == "newer"), RARE: names == "newer"}
    for part, chosen in parts.items():
        mine = chosen | (labels == 0)
        auc = row.generators[part].roc_auc
        assert auc.value == pytest.approx(roc_auc_score(labels[mine], scores[mine]))
        assert auc.low <= auc.value <= auc.high
    assert row.measured["recall_real"].value == pytest.approx((scores[labels == 0] < 1.0).mean())
    assert (row.parameters, row.epochs, row.realtime) == (7, 4.0, 9.0)


def test_the_constant_classifier_is_the_best_one_and_others_are_measured_against_it() -> None:
    test = split_of(["human"] * 30 + ["tts"] * 10)
    row = constant_row(test, None)
    assert row.name == "always real"
    assert row.measured["accuracy"].value == 0.75
    assert row.measured["roc_auc"].value == 0.5
    assert row.over_constant["accuracy"].value == 0.0
    right = trained_row("right", results_of(0.5), np.array(test["label"], dtype=float), SPEED, test, None)
    assert right.over_constant["accuracy"].value == 0.25
    assert right.over_constant["balanced_accuracy"].value == 0.5


def test_scores_of_another_test_split_are_refused(tmp_path: Path) -> None:
    (tmp_path / "scores_test.csv").write_text("label,fake_logit\nreal,0.5\n")
    assert score_column(tmp_path / "scores_test.csv", 1).tolist() == [0.5]
    with pytest.raises(ValueError, match="1 scores, the test split 2"):
        score_column(tmp_path / "scores_test.csv", 2)


@pytest.mark.slow
def test_a_failing_system_leaves_the_others_and_a_finished_one_is_kept(
    dataset_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(systems, "RECORDINGS", RECORDINGS / "real" / "vctk_p226.wav")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # The second one starts from a checkpoint on the Hub, which tests cannot reach.
    words = ["--dataset", str(dataset_dir), "--output", str(tmp_path), "--max_epochs", "1", "--model", "--systems"]
    assert systems.main([*words, "lstm", "wav2vec2_xlsr"]) == 1
    found = json.loads((tmp_path / "systems.json").read_text())
    constant, lstm, failed = found["rows"]
    test = read_run(tmp_path / "lstm" / "results.json").judgement.sets["test"]
    for name in ("accuracy", "roc_auc", "eer", "f1_fake"):
        assert lstm["measured"][name]["value"] == pytest.approx(test.value(name))
    assert lstm["epochs"] == 1
    assert lstm["realtime"] > 1
    assert lstm["epoch_s"] > 0
    assert "cannot load the checkpoint" in failed["error"]
    assert constant["parameters"] is None
    text = (tmp_path / "systems.md").read_text()
    assert "| lstm |" in text
    assert "wav2vec2_xlsr failed: cannot load" in text
    assert text in capsys.readouterr().out
    assert (tmp_path / "systems.png").stat().st_size > 10_000

    before = (tmp_path / "lstm" / "model.safetensors").stat().st_mtime_ns
    assert systems.main([*words, "lstm"]) == 0
    assert (tmp_path / "lstm" / "model.safetensors").stat().st_mtime_ns == before
    again = json.loads((tmp_path / "systems.json").read_text())["rows"]
    assert again == found["rows"][:2]
    assert systems.main([*words, "lstm", "--seed", "1"]) == 2
    assert "holds a comparison under" in capsys.readouterr().err


def test_an_unknown_system_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert systems.main(["--dataset", str(tmp_path), "--systems", "resnet19"]) == 2
    assert "configs/resnet19.yaml" in capsys.readouterr().err
