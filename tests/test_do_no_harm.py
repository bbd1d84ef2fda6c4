"""A detector is measured before and after fine-tuning, here and elsewhere, and harm is said aloud."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, launch_training, save_tiny
from datasets import DatasetDict, load_from_disk

from deepfake.errors import UserError
from deepfake.judging.run import read_run
from deepfake.metrics.intervals import Difference, Estimate
from deepfake.training.arguments import parse_recipe
from deepfake.training.outside import load_outside, warnings_of

SHIPPED = ROOT / "checkpoints" / "compact"


def turned(dataset: Path, folder: Path) -> Path:
    """The same clips with their labels exchanged."""
    splits = load_from_disk(str(dataset))
    changed = {
        name: rows.remove_columns("label").add_column(
            "label", [1 - v for v in rows["label"]], feature=rows.features["label"]
        )
        for name, rows in splits.items()
    }
    DatasetDict(changed).save_to_disk(str(folder))
    return folder


@pytest.mark.slow
def test_harm_done_elsewhere_is_measured_and_warned_of(few_clips: Path, tmp_path: Path) -> None:
    """Trained on exchanged labels, the shipped detector unlearns the recordings it was right about."""
    lies = turned(few_clips, tmp_path / "lies")
    load_from_disk(str(few_clips))["test"].save_to_disk(str(tmp_path / "elsewhere"))
    output = tmp_path / "out"
    done = launch_training(
        output, "--config", "configs/demo.yaml", "--dataset", lies, "--max_duration_s", "3",
        "--learning_rate", "2e-2", "--max_steps", "6", "--eval_strategy", "steps", "--eval_steps", "6",
        "--save_strategy", "steps", "--save_steps", "6", "--ood_dataset", tmp_path / "elsewhere", few_clips,
    )  # fmt: skip
    judgement = read_run(output / "results.json").judgement
    after, before = (sets["elsewhere"].value("roc_auc") for sets in (judgement.sets, judgement.base.sets))
    found = judgement.base.differences["elsewhere"]["roc_auc"]
    assert (found.a, found.b, found.difference.value) == pytest.approx((after, before, after - before))
    assert after < before
    assert judgement.base.differences["test"]["roc_auc"].difference.value > 0  # better on the lies it was trained on
    assert len(judgement.warnings) == 2
    assert judgement.warnings[0].startswith(f"fine-tuning made it worse on elsewhere: ROC-AUC {after:.3f} after")
    # The whole of a set without a test split, the test split of one that has it: the same clips here.
    assert judgement.sets["few_clips"].metrics == judgement.sets["elsewhere"].metrics
    card = (output / "README.md").read_text()
    for place in (done.stderr, done.stdout, card):
        assert judgement.warnings[0] in place
    assert "Worse than its base model on elsewhere" in card
    assert "No out-of-domain set" not in card
    assert (output / "scores_elsewhere.csv").is_file()
    assert str(tmp_path) not in (output / "results.json").read_text() + card


@pytest.mark.parametrize(
    ("difference", "low", "high", "said"),
    [
        (-0.2, -0.3, -0.1, "[-0.300, -0.100], which excludes 0"),
        (-0.02, -0.1, 0.06, "which holds 0, so that it may be chance"),
        (-0.2, None, None, "too few recordings for an interval"),
        (0.1, 0.0, 0.2, None),
        (None, None, None, None),
    ],
)
def test_the_warning_says_how_sure_it_is(
    difference: float | None, low: float | None, high: float | None, said: str | None
) -> None:
    found = Difference(0.6, 0.8, Estimate(difference, low, high))
    sentences = warnings_of({"far": {"roc_auc": found}}, ["far"])
    assert (said in sentences[0]) if said else (sentences == [])


def test_sets_that_cannot_be_judged_are_one_sentence(dataset_dir: Path, tmp_path: Path) -> None:
    def load(*names: object) -> dict:
        config = ["--config", str(ROOT / "configs/tiny.yaml"), "--dataset", "D", "--output_dir", "O"]
        return load_outside(parse_recipe([*config, "--ood_dataset", *map(str, names)]))

    assert list(load(dataset_dir)) == [dataset_dir.name]
    assert len(load(dataset_dir)[dataset_dir.name]) == len(load_from_disk(str(dataset_dir))["test"])
    with pytest.raises(UserError, match="name of another set"):
        load(dataset_dir, dataset_dir)
    test = load_from_disk(str(dataset_dir))["test"]
    test.select(np.flatnonzero(np.array(test["label"]) == 0)).save_to_disk(str(tmp_path / "real_only"))
    with pytest.raises(UserError, match="holds real clips only"):
        load(tmp_path / "real_only")
    with pytest.raises(UserError, match="not a prepared dataset"):
        load(tmp_path)


@pytest.mark.slow
def test_a_detector_without_a_stored_threshold_is_measured_before_too(few_clips: Path, tmp_path: Path) -> None:
    start = save_tiny(tmp_path / "start")
    output = tmp_path / "out"
    launch_training(
        output, "--model_name_or_path", start, "--dataset", few_clips, "--max_steps", "1", "--precision", "fp32",
        "--max_duration_s", "2.5",
    )  # fmt: skip
    base = json.loads((output / "results.json").read_text())["base"]
    assert base["threshold"]["fake_probability"] == 0.5
    assert {"validation", "test"} <= base["sets"].keys()
