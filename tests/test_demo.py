"""The demonstration: the shipped detector fine-tuned on the embedded recordings, before shown beside after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT, launch_training
from safetensors.torch import load_file

from deepfake.judging.limits import gaps
from deepfake.judging.run import read_run
from deepfake.training.summary import format_results
from model_card.record import Record

SHIPPED = ROOT / "checkpoints" / "compact"


@pytest.fixture(scope="module")
def fine_tuned(few_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "detector"
    few = ("--max_steps", "4", "--max_duration_s", "3")
    launch_training(folder, "--config", "configs/demo.yaml", "--dataset", few_clips, *few)
    return folder


def test_only_the_heads_have_changed(fine_tuned: Path) -> None:
    before, after = load_file(SHIPPED / "model.safetensors"), load_file(fine_tuned / "model.safetensors")
    changed = {name for name in before if not before[name].float().equal(after[name].float())}
    assert changed
    assert {name.split(".")[0] for name in changed} == {"pooling", "head"}


def test_before_and_after_are_judged_on_the_same_test(fine_tuned: Path) -> None:
    results = read_run(fine_tuned / "results.json")
    after, base = results.judgement.sets["test"], results.judgement.base
    assert base.sets["test"].n == after.n
    stored = json.loads((SHIPPED / "config.json").read_text())["detector"]["threshold"]
    assert base.threshold.fake_probability == pytest.approx(stored, abs=1e-12)
    assert base.sets["test"].metrics != after.metrics
    assert "test, before fine-tuning" in format_results(results, fine_tuned)
    card = (fine_tuned / "README.md").read_text()
    assert "start checkpoint, unchanged" in card
    headings = [gap.heading for gap in gaps(Record.load(fine_tuned).evidence())]
    assert "No base control on test" not in headings


def test_a_start_checkpoint_that_decides_nothing_is_not_judged(trained: Path) -> None:
    assert json.loads((trained / "results.json").read_text())["base"] is None
