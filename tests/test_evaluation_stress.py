"""The stress test judges every condition at one threshold, repeats itself to the byte, and says where it fails."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import run
from PIL import Image

from deepfake.channels.conditions import CONDITIONS
from deepfake.errors import UserError
from deepfake.judging.clips import ScoredClips
from deepfake.judging.judge import Judge
from deepfake.judging.record import Threshold
from evaluation.__main__ import main
from evaluation.stress import CLEAN, Channel, chosen, compare_conditions, first_failures

JUDGE = Judge(Threshold(0.0, "fake_logit", "", "validation"))
SOME = ("telephone", "white_0dB", "lead_1s")


@pytest.fixture(scope="module")
def stressed(trained: Path, dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same run twice, once in a fresh process."""
    folders = [tmp_path_factory.mktemp("stress") for _ in range(2)]
    command = ["stress", "--model", str(trained), "--dataset", str(dataset_dir), "--conditions", *SOME]
    command += ["--max-clips", "16", "--resamples", "20", "--output"]
    assert main([*command, str(folders[0])]) == 0
    run(sys.executable, "-m", "evaluation", *command, folders[1])
    return folders


def test_same_bytes_every_run(stressed: list[Path]) -> None:
    for name in ("stress.json", "stress.csv", "stress.png"):
        assert (stressed[0] / name).read_bytes() == (stressed[1] / name).read_bytes()


def test_table_and_picture_hold_every_condition(stressed: list[Path], trained: Path) -> None:
    result = json.loads((stressed[0] / "stress.json").read_text())
    names = [row["name"] for row in result["conditions"]]
    assert names == ["clean", "g722", "g711_a", "g711_mu", "white_0dB", "lead_1s"]
    assert [row["condition"] for row in csv.DictReader((stressed[0] / "stress.csv").open())] == names
    stored = json.loads((trained / "results.json").read_text())["threshold"]["value"]
    assert result["threshold"]["value"] == pytest.approx(stored)
    assert len({row["audio_sha256"] for row in result["conditions"]}) == len(names)
    assert result["conditions"][0]["change"]["difference"]["value"] == 0
    assert len(np.unique(np.asarray(Image.open(stressed[0] / "stress.png").convert("L")))) > 20


def made_up(spread: dict[str, float], n: int = 400) -> dict[str, ScoredClips]:
    """Scores whose classes lie `spread` apart, per condition."""
    labels = np.arange(n) % 2
    noise = np.random.default_rng(0).normal(size=n)
    sources = {"source": [f"r{i}" for i in range(n)]}
    return {name: ScoredClips.of(noise + d * (labels - 0.5), labels, sources) for name, d in spread.items()}


def test_fails_where_it_clearly_falls_and_nowhere_else() -> None:
    names = ("clean", "white_30dB", "white_20dB", "white_10dB", "white_5dB", "gain_-10dB")
    channels = [Channel(c, 0) for c in CONDITIONS if c.name in names]
    spread = dict(zip(names, (4.0, 3.9, 3.0, 2.0, 1.0, 4.0), strict=True))
    rows = compare_conditions(channels, made_up(spread), JUDGE, 200)
    failing = {row.name: row.fails for row in rows}
    assert not failing["white_30dB"]
    assert failing["white_10dB"]
    assert failing["white_5dB"]
    families = first_failures(rows)
    assert families["clean"] is None
    assert families["gain"] is None
    assert families["white noise"] in ("white_20dB", "white_10dB")


def test_a_detector_that_guesses_fails_before_any_channel() -> None:
    channels = [Channel(CONDITIONS[0], 0)]
    rows = compare_conditions(channels, made_up({CLEAN: 0.0}), JUDGE, 200)
    assert first_failures(rows) == {"clean": "clean"}


def test_calling_everything_fake_fails() -> None:
    """Balanced accuracy is then exactly one half, and no resample moves it."""
    names = ("clean", "white_0dB")
    clips = made_up({"clean": 4.0, "white_0dB": 4.0})
    clips["white_0dB"] = replace(clips["white_0dB"], scores=clips["white_0dB"].scores + 100)
    channels = [Channel(c, 0) for c in CONDITIONS if c.name in names]
    rows = compare_conditions(channels, clips, JUDGE, 200)
    assert [row.fails for row in rows] == [False, True]
    assert rows[1].metrics["roc_auc"].value == rows[0].metrics["roc_auc"].value  # the ranking is what it was


def test_conditions_by_name_and_family() -> None:
    assert [c.name for c in chosen(["Opus", "trimmed"])] == ["clean", "opus_24k", "opus_12k", "opus_6k", "trimmed"]
    assert chosen(None) == list(CONDITIONS)
    with pytest.raises(UserError, match="there is no condition thunder; families are clean, MP3"):
        chosen(["thunder"])
