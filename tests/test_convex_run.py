"""A whole run of a convex recipe on the embedded recordings: every number of it from the scores that scoring gives."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import launch_training
from datasets import Audio, Dataset, DatasetDict, concatenate_datasets, load_from_disk

from data_prep.audio import encode_flac
from judging.limits import gaps
from judging.run import read_run
from model_card.record import Record

RATE = 16_000
RECIPE = """\
architecture: {model_type: compact-speech-detector, layers: 0}
feature_extractor: {feature_extractor_type: Wav2Vec2FeatureExtractor, do_normalize: false, return_attention_mask: true}
convex:
  convolutions: checkpoints/compact
  families: {kokoro: kokoro|hibari, piper: piper}
  campaigns: {asterisk: asterisk, vctk: vctk|ljspeech}
  folds: [[kokoro, asterisk], [piper, vctk]]
  pairs: 0
  real_quantile: 0.9
window_s: 6.0
hop_s: 3.0
precision: fp32
"""


def named(rows: Dataset) -> Dataset:
    """With the generator or the speaker that the file names of the recordings say."""
    stems = [Path(source).stem for source in rows["source"]]
    fake = np.array(rows["label"]) == 1
    values = {
        "generator": [stem if f else "human" for stem, f in zip(stems, fake, strict=True)],
        "speaker": [None if f else stem for stem, f in zip(stems, fake, strict=True)],
    }
    for name, column in values.items():
        rows = rows.remove_columns(name).add_column(name, column)
    return rows


@pytest.mark.slow
def test_clips_longer_than_a_window_and_silent_ones(dataset_dir: Path, speech: np.ndarray, tmp_path: Path) -> None:
    splits = {name: named(rows) for name, rows in load_from_disk(str(dataset_dir)).items()}
    pause = np.concatenate((speech[: 5 * RATE], np.zeros(20 * RATE, np.float32), speech[9 * RATE : 14 * RATE]))
    strange = [pause, np.zeros(8 * RATE, np.float32)]
    added = [
        splits["test"][0] | {"audio": {"bytes": encode_flac(samples), "path": f"strange_{i}.flac"}}
        for i, samples in enumerate(strange)
    ]
    plain = Dataset.from_list(added).cast_column("audio", Audio(RATE, decode=False)).cast(splits["test"].features)
    splits["test"] = concatenate_datasets([splits["test"], plain])
    DatasetDict(splits).save_to_disk(str(tmp_path / "dataset"))
    shutil.copy(dataset_dir / "report.json", tmp_path / "dataset")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    launch_training(tmp_path / "out", "--config", tmp_path / "recipe.yaml", "--dataset", tmp_path / "dataset")
    results = read_run(tmp_path / "out" / "results.json")
    sets, found = results.judgement.sets, results.generalisation
    assert results.judgement.unscored == 1
    assert {name: judged.unscored for name, judged in sets.items()} == {"validation": 0, "test": 1}
    assert sets["test"].n == len(splits["test"]) - 1
    fitted = results.facts.training.fitted
    assert fitted.real + fitted.fake == sum(map(len, splits.values())) - 1
    assert fitted.left_out == 0
    assert results.facts.training.best_value == sets["validation"].value("roc_auc")
    # What held-out generators say is in the record and in the card, digit for digit.
    assert found.held_out.fake == sum(row.fake for row in found.families.rows)
    aucs = [row.channels["codec"]["roc_auc"].value for row in found.families.rows]
    assert found.families.mean["codec"] == pytest.approx(np.mean(aucs))
    assert found.test.channels["clean"]["roc_auc"].value == sets["test"].value("roc_auc")
    assert {row.name for row in found.test_generators} == sets["test"].facts.synthetic
    assert f"{found.held_out.channels['telephone']['recall_real']}" in (tmp_path / "out" / "README.md").read_text()
    headings = {gap.heading for gap in gaps(Record.load(tmp_path / "out").evidence())}
    assert "No out-of-domain set" not in headings  # held-out generators are one
    assert "Clips without a score" in headings
    with (tmp_path / "out" / "scores_test.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["fake_logit"]) for row in rows] == [True] * (len(rows) - 1) + [False]
    assert len(rows) == len(splits["test"])
