"""Files of several channels: each can be scored by itself, and what mixing them hides is told."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import run

from deepfake.audio.decode import AudioError, encode_flac
from deepfake.scoring.result import Score
from deepfake.scoring.sharding import Shard, join, part_path
from deepfake.scoring.writers import ScoreWriter, scored_keys
from evaluation.score_files import read_scores
from infer import Detector, main

RATE = 16_000


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory, speech: np.ndarray) -> Path:
    """A call of two speakers, one whose channels cancel, a mono recording, and junk."""
    folder = tmp_path_factory.mktemp("calls") / "calls"
    folder.mkdir()
    left, right = speech[: 6 * RATE], speech[8 * RATE : 14 * RATE]
    soundfile.write(folder / "call.flac", np.stack((left, right), axis=1), RATE)
    soundfile.write(folder / "turned.flac", np.stack((left, -left), axis=1), RATE)
    soundfile.write(folder / "mono.flac", right, RATE)
    (folder / "junk.wav").write_bytes(b"junk")
    return folder


def rows_of(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {(Path(row["path"]).name, row["channel"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_each_channel_is_scored_as_if_alone(
    calls: Path, tiny_checkpoint: Path, speech: np.ndarray, tmp_path: Path
) -> None:
    output = tmp_path / "scores.csv"
    run(
        sys.executable, "infer.py", calls, "--model", tiny_checkpoint, "--channels", "each", "--output", output, check=1
    )
    rows = rows_of(output)
    assert set(rows) == {
        ("call.flac", "0"), ("call.flac", "1"), ("turned.flac", "0"), ("turned.flac", "1"), ("mono.flac", ""),
        ("junk.wav", ""),
    }  # fmt: skip
    detector = Detector.from_pretrained(tiny_checkpoint)
    alone = [
        detector.score(encode_flac(part)).fake_probability
        for part in (speech[: 6 * RATE], speech[8 * RATE : 14 * RATE])
    ]
    told = [float(rows["call.flac", channel]["fake_probability"]) for channel in "01"]
    assert told == pytest.approx(alone, abs=1e-5)
    assert abs(told[0] - told[1]) > 1e-3
    assert [detector.score(calls / "call.flac", channel=i).fake_probability for i in (0, 1)] == pytest.approx(
        told, abs=1e-5
    )
    each = Detector.from_pretrained(tiny_checkpoint, channels="each")
    scores = list(each.score_files([calls / "call.flac", calls / "mono.flac"]))
    assert [score.channel for score in scores] == [0, 1, None]
    mixed = {Path(s.path).name: s for s in detector.score_files([calls / "call.flac", calls / "mono.flac"])}
    assert mixed["call.flac"].channel is None
    assert any(warning.startswith("channels differ: ") for warning in mixed["call.flac"].warnings)
    assert mixed["mono.flac"].warnings == ()
    labels = tmp_path / "labels.csv"
    labels.write_text("path,channel,label\ncall.flac,0,real\ncall.flac,1,fake\nmono.flac,,real\nturned.flac#1,,fake\n")
    joined = read_scores(output, labels)
    assert joined.unscored == 0
    assert joined.unlabelled == 1
    assert len(joined.splits["test"]) == 4


def test_channels_that_cancel_are_named(calls: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(
        AudioError, match=r"no_speech: .* mixed, the channels cancel each other, so score each by itself"
    ):
        Detector.from_pretrained(tiny_checkpoint).score(calls / "turned.flac")


def test_going_on_knows_which_channels_are_done(
    calls: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("csv", "jsonl"):
        output = tmp_path / f"scores.{kind}"
        command = [
            "infer.py",
            str(calls),
            "--model",
            str(tiny_checkpoint),
            "--channels",
            "each",
            "--output",
            str(output),
        ]
        monkeypatch.setattr(sys, "argv", command)
        assert main() == 1
        whole = scored_keys(output)
        lines = output.read_bytes().splitlines(keepends=True)
        (first,) = [line for line in lines if b"call.flac" in line and (b",0\r" in line or b'"channel": 0' in line)]
        output.write_bytes(b"".join(lines[: kind == "csv"]) + first)
        monkeypatch.setattr(sys, "argv", [*command, "--resume"])
        assert main() == 1
        assert scored_keys(output) == whole
        assert output.read_bytes().count(first) == 1
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert sorted((Path(row["path"]).name, -1 if row["channel"] is None else row["channel"]) for row in rows) == [
        ("call.flac", 0), ("call.flac", 1), ("junk.wav", -1), ("mono.flac", -1), ("turned.flac", 0), ("turned.flac", 1),
    ]  # fmt: skip


def test_channels_of_a_file_that_failed_as_a_whole_take_its_row(tmp_path: Path) -> None:
    output = tmp_path / "scores.jsonl"
    failed = Score("a.wav", None, None, 0.5, None, 0, None, "cannot be read")
    channels = [Score("a.wav", 0.5, "fake", 0.5, 1.0, 1, 0.5, channel=i) for i in (0, 1)]
    with ScoreWriter(output) as writer:
        writer.write(failed)
    with ScoreWriter(output, resume=True) as writer:
        for score in channels:
            writer.write(score)
    assert scored_keys(output) == {"a.wav\0000", "a.wav\0001"}
    assert len(output.read_text().splitlines()) == 2
    for shard, scores in {Shard(0, 2): [failed], Shard(0, 1): channels}.items():
        with ScoreWriter(part_path(tmp_path / "joined.jsonl", shard)) as writer:
            for score in scores:
                writer.write(score)
    join(tmp_path / "joined.jsonl", ["a.wav"])
    assert (tmp_path / "joined.jsonl").read_text() == output.read_text()


def test_each_channel_has_its_timeline(calls: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    run(
        sys.executable, "infer.py", calls / "call.flac", "--model", tiny_checkpoint, "--channels", "each",
        "--timeline", tmp_path / "t", "--no-pictures",
    )  # fmt: skip
    found = {path.name: json.loads(path.read_text())["channel"] for path in (tmp_path / "t").rglob("*.json")}
    assert found == {"call.flac.channel0.json": 0, "call.flac.channel1.json": 1}
