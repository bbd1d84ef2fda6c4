"""Leaving a generator out leaves nothing of it in training, and nothing of training in what it is judged on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from datasets import DatasetDict, load_from_disk

from deepfake.dataset import read_splits
from deepfake.errors import UserError
from deepfake.models.checkpoint import default_model
from evaluation.__main__ import main
from evaluation.leave_out import leave_one_generator_out, without


@pytest.fixture(scope="module")
def named(dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded recordings with the generators "a" and "b", the fake recordings of each split in turn."""
    folder = tmp_path_factory.mktemp("named") / "dataset"
    splits = {}
    for split, rows in load_from_disk(dataset_dir).items():
        fakes = sorted({row["source"] for row in rows if row["label"] == 1})
        names = {source: "ab"[i % 2] for i, source in enumerate(fakes)}
        generators = [names.get(source, "human") for source in rows["source"]]
        splits[split] = rows.remove_columns("generator").add_column("generator", generators)
    DatasetDict(splits).save_to_disk(str(folder))
    return folder


@pytest.mark.parametrize("generator", ["a", "b"])
def test_neither_side_knows_the_other(generator: str, named: Path) -> None:
    splits = read_splits(str(named))
    left = without(generator, splits)
    trained = [row for split in ("train", "validation") for row in left[split].remove_columns("audio")]
    judged = list(left["test"].remove_columns("audio"))
    assert {row["generator"] for row in judged} == {"human", generator}
    assert {row["generator"] for row in trained} == {"human", "a", "b"} - {generator}
    assert not {row["source"] for row in trained} & {row["source"] for row in judged}
    everywhere = [g for rows in splits.values() for g in rows["generator"]]
    assert sum(row["generator"] == generator for row in judged) == everywhere.count(generator)


def test_copies_of_training_recordings_are_not_judged_on(named: Path) -> None:
    """A vocoder's copy of a real training recording says what the model remembers, not what it can tell."""
    splits = read_splits(str(named))
    heard = next(row["source"] for row in splits["train"] if row["generator"] == "human")
    test = splits["test"]
    copies = [g == "a" and i % 2 == 0 for i, g in enumerate(test["generator"])]
    assert any(copies)
    sources = [heard if copy else source for copy, source in zip(copies, test["source"], strict=True)]
    splits["test"] = test.remove_columns("source").add_column("source", sources)
    before, after = (without("a", s)["test"]["source"] for s in (read_splits(str(named)), splits))
    assert heard not in after
    assert len(after) == len(before) - sum(copies)


@pytest.mark.slow
def test_every_generator_is_left_out_once(
    named: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without "a" it trains; for "b" a finished training is found, as after a run that was cut off, and kept."""
    finished = tmp_path / "leave_one_out" / "b" / "detector"
    finished.mkdir(parents=True)
    shutil.copy(trained / "results.json", finished)
    command = ["report", "--model", str(trained), "--dataset", str(named), "--resamples", "20"]
    assert main([*command, "--output", str(tmp_path), "--leave-one-generator-out"]) == 0
    rows = json.loads((tmp_path / "report.json").read_text())["leave_one_generator_out"]
    assert [row["name"] for row in rows] == ["a", "b"]
    judged = read_splits(str(tmp_path / "leave_one_out" / "a" / "dataset"))["test"]
    assert judged.num_rows == rows[0]["real"]["clips"] + rows[0]["fake"]["clips"]
    assert 0 <= rows[0]["metrics"]["roc_auc"]["value"] <= 1
    assert (tmp_path / "leave_one_out" / "a" / "detector" / "model.safetensors").is_file()
    assert sorted(path.name for path in finished.iterdir()) == ["results.json"]
    assert "Each generator left out of training" in (tmp_path / "report.html").read_text()
    shown = capsys.readouterr().out
    assert "trained again without one generator" in shown
    assert f"a ({rows[0]['fake']['clips']} fakes)" in shown


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "test"}, "with the split test"),
        (lambda s: {k: v.remove_columns("generator") for k, v in s.items()}, "with the column generator"),
        (
            lambda s: {k: v.select([i for i, g in enumerate(v["generator"]) if g != "b"]) for k, v in s.items()},
            "names 1",
        ),
    ],
)
def test_what_it_needs_is_said(change: object, sentence: str, named: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        leave_one_generator_out(str(trained), change(read_splits(str(named))), tmp_path)
    with pytest.raises(UserError, match="has no recipe.yaml"):
        leave_one_generator_out(str(tmp_path), read_splits(str(named)), tmp_path)


def test_a_recipe_that_holds_generators_out_itself_is_refused_before_anything_is_scored(
    named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(default_model(), tmp_path / "stacked")
    (model / "recipe.yaml").write_text("stacked: {folds: 5}")
    command = ["report", "--model", str(model), "--dataset", str(named), "--output", str(tmp_path / "out")]
    assert main([*command, "--leave-one-generator-out"]) == 2
    shown = capsys.readouterr().err
    assert "recipe with `stacked:`, which holds out pages with every generator on them by itself" in shown
    assert "test:" not in shown  # no bar of scoring
    assert not (tmp_path / "out").exists()
