"""Whole runs of the recipes with `stacked:`, small, on the embedded recordings: what they leave and what it says."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, launch_training
from datasets import load_from_disk
from safetensors.torch import load_file
from transformers import WhisperConfig, WhisperModel, set_seed

from deepfake.judging.limits import gaps
from deepfake.judging.run import read_run
from deepfake.training.arguments import parse_recipe
from deepfake.training.stacked.options import STATE, StackedOptions
from infer import Detector
from model_card.record import Record

WIDTH = {"channels": 32, "layers": 2, "attention_heads": 4, "inner_width": 64}
CONFIGS = ROOT / "configs"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What makes a recipe small: a narrow encoder of random weights in Whisper's place, few short steps."""
    set_seed(1)
    config = WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=64, max_source_positions=64,
        decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=64, vocab_size=64,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("whisper") / "tiny"
    WhisperModel(config).save_pretrained(folder)
    values = {f"architecture.{key}": value for key, value in WIDTH.items()}
    values |= {"stacked.encoder": folder, "stacked.steps": 6, "stacked.batch_size": 4, "stacked.crop_s": 1.5}
    return [f"--set={key}={value}" for key, value in values.items()]


@pytest.fixture(scope="module")
def with_folds(settings: list[str], few_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stacked") / "with_folds"
    few = ("--set=stacked.seeds=2", "--set=stacked.folds=2")
    launch_training(folder, "--config", CONFIGS / "compact.yaml", "--dataset", few_clips, *settings, *few)
    return folder


@pytest.fixture(scope="module")
def without_folds(settings: list[str], few_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stacked") / "without_folds"
    launch_training(folder, "--config", CONFIGS / "compact_cpu.yaml", "--dataset", few_clips, *settings)
    return folder


def scores_in(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_clip_is_scored_by_the_model_that_has_not_met_it(with_folds: Path, few_clips: Path) -> None:
    clean, by_telephone = (scores_in(with_folds / f"scores_heldout{end}.csv") for end in ("", "_telephone"))
    sources = [source for rows in load_from_disk(str(few_clips)).values() for source in rows["source"]]
    assert {row["source"] for row in clean} == set(sources)
    assert {row["fold"] for row in clean} == {"1", "2"}
    for page in {row["page"] for row in clean}:
        assert len({row["fold"] for row in clean if row["page"] == page}) == 1
    assert [row["source"] for row in clean] == [row["source"] for row in by_telephone]
    assert [row["fake_logit"] for row in clean] != [row["fake_logit"] for row in by_telephone]


@pytest.mark.slow
def test_thresholds_come_from_held_out_pages(with_folds: Path) -> None:
    run = read_run(with_folds / "results.json")
    judgement = run.judgement
    assert set(judgement.sets) == {"validation", "validation by telephone"}
    stored = json.loads((with_folds / "config.json").read_text())["detector"]
    assert stored["threshold"] == stored["operating_points"]["default"]["fake_probability"]
    rows = scores_in(with_folds / "scores_heldout.csv")
    real_pages = {row["page"] for row in rows if row["label"] == "real"}
    point = judgement.decisions.points["fpr_0.05"]
    assert point.n_real_groups == len(real_pages)
    assert point.n_real == sum(row["label"] == "real" and row["fake_logit"] != "" for row in rows) * 2
    fitted = run.facts.training.fitted
    assert (fitted.models, fitted.folds, fitted.pages) == (2, 2, len({row["page"] for row in rows}))
    headings = {gap.heading for gap in gaps(Record.load(with_folds).evidence())}
    assert not headings & {"No unseen generator", "Unseen generators unknown", "No out-of-domain set"}
    card = (with_folds / "README.md").read_text()
    assert "(2 folds of pages)" in card
    assert "the mean of 2 models" in card
    assert "that resample pages" in card
    assert "### What was held out, part by part" in card
    assert str(ROOT) not in card


@pytest.mark.slow
def test_what_is_left_is_an_ordinary_detector_in_halves(with_folds: Path) -> None:
    weights = load_file(with_folds / "model.safetensors")
    assert {t.dtype for name, t in weights.items() if name != "mel_filters"} == {torch.float16}
    assert not any(name.startswith("kinds") for name in weights)
    assert not (with_folds / STATE).exists()
    assert (with_folds / "modeling_compact.py").is_file()
    assert [entry["step"] for entry in json.loads((with_folds / "training_history.json").read_text())] == [6]
    recorded = json.loads((with_folds / "results.json").read_text())["recipe"]["stacked"]
    assert recorded["encoder"] == "tiny"  # no path of this machine


@pytest.mark.slow
def test_without_folds_validation_and_test_are_judged_as_of_other_recipes(without_folds: Path, few_clips: Path) -> None:
    run = read_run(without_folds / "results.json")
    assert set(run.judgement.sets) == {"validation", "test"}
    assert run.judgement.threshold.rule == "balanced_accuracy"
    rows = scores_in(without_folds / "scores_validation.csv")
    split = load_from_disk(str(few_clips))["validation"]
    detector = Detector.from_pretrained(without_folds)
    found = [detector.analyse(audio["bytes"], with_timeline=False).logit for audio in split["audio"]]
    assert [float(row["fake_logit"]) for row in rows] == pytest.approx(found, abs=1e-5)
    assert np.ptp(found) > 0


def test_the_recipe_for_two_cores_is_the_other_one_but_for_what_it_says() -> None:
    whole, small = (
        parse_recipe(["--config", str(CONFIGS / name), "--plan"]) for name in ("compact.yaml", "compact_cpu.yaml")
    )
    assert small.architecture == whole.architecture
    assert small.arguments.window_s == whole.arguments.window_s
    options = StackedOptions.of(small.stacked)
    assert (options.seeds, options.folds, options.steps, options.batch_size) == (1, 0, 2000, 16)
    assert options.leave_out == StackedOptions.of(whole.stacked).leave_out != ()


@pytest.mark.slow
def test_a_narrow_detector_keeps_the_decisions_and_says_what_it_is(
    with_folds: Path, settings: list[str], few_clips: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "calls"
    load_from_disk(str(few_clips)).save_to_disk(str(outside))
    folder = tmp_path / "narrow"
    asked = [one for one in settings if "inner_width" not in one]
    asked += ["--set=architecture.inner_width=[8, 16]", f"--set=narrow.teacher={with_folds}", "--set=narrow.steps=3"]
    given = ("--dataset", few_clips, "--ood_dataset", outside, *asked, "--set=narrow.batch_size=2")
    launch_training(folder, "--config", CONFIGS / "compact_narrow.yaml", *given)
    wide, narrow = (read_run(place / "results.json") for place in (with_folds, folder))
    assert narrow.judgement.threshold == wide.judgement.threshold
    assert narrow.judgement.sets["validation"] == wide.judgement.sets["validation"]
    assert set(narrow.judgement.base.differences) == {"calls"}
    narrowed = narrow.facts.training.narrowed
    assert narrowed.widths_before == (64, 64)
    assert narrowed.parameters_before == wide.facts.model.parameters > narrow.facts.model.parameters
    assert narrow.facts.recipe["narrow"]["teacher"] == with_folds.name  # no path of this machine
    stored = json.loads((folder / "config.json").read_text())
    assert stored["inner_width"] == [8, 16]
    assert stored["detector"] == json.loads((with_folds / "config.json").read_text())["detector"]
    detector = Detector.from_pretrained(folder)
    rows = scores_in(folder / "scores_calls.csv")
    split = load_from_disk(str(outside))["test"]
    found = [detector.analyse(audio["bytes"], with_timeline=False).logit for audio in split["audio"]]
    assert [float(row["fake_logit"]) for row in rows] == pytest.approx(found, abs=1e-5)
    card = (folder / "README.md").read_text()
    assert "It was then made narrower" in card
    assert "before narrowing" in card
    assert str(tmp_path) not in card
