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
from deepfake.judging.report import System, read_report, read_stress
from deepfake.judging.stability import moved, stability
from evaluation.__main__ import main
from evaluation.commands import _stress_of
from evaluation.report import build_report, write_report
from evaluation.stress import CLEAN, Channel, chosen, compare_conditions, first_failures
from model_card.build import render_card
from model_card.record import Record

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


def rows_of(clips: ScoredClips, chosen: np.ndarray) -> ScoredClips:
    """Of a set, the clips that are chosen, knowing which rows of it they are."""
    return replace(clips, rows=np.arange(len(clips))).take(chosen)


def test_flips_and_shifts_are_those_of_each_clip_against_itself() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 2
    facts = {"source": [f"r{i // 4}" for i in range(600)]}
    logits = rng.normal(size=600) + 3 * labels - 1.5
    everything = np.ones(600, dtype=bool)
    clean = rows_of(ScoredClips.of(logits, labels, facts), everything)
    kept = rng.random(600) < 0.9  # a condition leaves some clips without a score
    noise = rng.normal(scale=0.5, size=600)
    louder = rows_of(ScoredClips.of(logits + 1.0 + noise, labels, facts), kept)
    human, fakes = (moved(clean, louder, 0.0, label) for label in (0, 1))
    real = kept & (labels == 0)
    was, now = logits[real] >= 0, (logits + 1.0 + noise)[real] >= 0
    assert human.clips == real.sum()
    assert human.flips.value == pytest.approx(np.mean(was != now))
    assert human.wronged.value == pytest.approx(np.mean(~was & now))
    assert human.flips.low < human.flips.value < human.flips.high
    change = (1.0 + noise)[real]
    assert human.shift.value == pytest.approx(change.mean())
    half = 1.97 * change.std(ddof=1) / np.sqrt(change.size)  # two clips a recording, which here are independent
    assert (human.shift.high - human.shift.low) / 2 == pytest.approx(half, rel=0.15)
    assert human.deviation == pytest.approx(0.5, abs=0.08)
    assert fakes.wronged.value < human.wronged.value  # what speaks for fake loses no fakes but where noise wins
    found = stability(clean, {"louder": louder, "same": clean, "silent": None}, 0.0)
    assert (found.conditions, found.clips) == (3, 300)
    assert found.flipped.value == pytest.approx(np.sum(was != now) / 300)
    assert found.accused.value == pytest.approx(np.sum(~was & now) / 300)
    assert found.deviation <= found.deviation_90
    still = stability(clean, {"same": clean}, 0.0)
    assert (still.flipped.value, still.deviation_90) == (0.0, 0.0)
    assert still.flipped.high > 0  # nothing seen in 150 recordings bounds the share, and does not make it 0
    assert stability(clean, {}, 0.0) is None


def test_benign_and_laundered_are_groups_of_conditions(stressed: list[Path]) -> None:
    names = {c.name for c in chosen(["benign"])}
    assert {"clean", "denoise_12dB", "loudness_-16", "again_opus_mp3", "g711_a", "rate_8000", "speed_1.02"} <= names
    assert not names & {"white_0dB", "replayed", "lead_1s", "opus_6k"}
    assert [c.name for c in chosen(["laundered"])] == ["clean", "replayed", "cleaned", "stretched"]
    found = read_stress(stressed[0] / "stress.json")
    assert found.stability.conditions == 3  # the calls; noise and silence are not benign
    rows = {row.name: row for row in found.conditions}
    assert rows["clean"].human is None
    told = {row["condition"]: row for row in csv.DictReader((stressed[0] / "stress.csv").open())}
    for name in ("g722", "lead_1s"):
        assert float(told[name]["human_flipped"]) == pytest.approx(rows[name].human.flips.value)
    assert found.stability.flipped.value >= max(rows[n].human.flips.value for n in ("g722", "g711_a", "g711_mu"))


def test_report_and_card_tell_the_stress_test_of_their_own_detector(stressed: list[Path], trained: Path) -> None:
    stress = read_stress(stressed[0] / "stress.json")
    record = replace(Record.load(trained), stress=stress)
    card = render_card(record, "x")
    assert "### What everyday processing does" in card
    assert str(stress.stability.flipped) in card
    assert f"| telephone: G.722 wideband call | {stress.conditions[1].human.flips} |" in card
    clips = made_up({CLEAN: 2.0})[CLEAN]
    found = replace(build_report(System("detector"), JUDGE, {"test": ("test", clips)}, resamples=20), stress=stress)
    write_report(found, stressed[0] / "report")
    assert read_report(stressed[0] / "report" / "report.json").stress == stress
    assert "What everyday processing does" in (stressed[0] / "report" / "report.html").read_text()
    with pytest.raises(UserError, match="is the stress test of detector; expected one of another"):
        _stress_of(stressed[0] / "stress.json", "another")


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
