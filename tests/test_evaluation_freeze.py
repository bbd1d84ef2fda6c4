"""What was frozen before a test is judged is what the report holds it against, and it is frozen once."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from deepfake.judging.freeze import hash_of_checkpoint, hash_of_split, read_frozen, registration
from deepfake.judging.record import Threshold
from deepfake.judging.report import REPORT, read_report
from evaluation.__main__ import main

SHIPPED = Path(__file__).parents[1] / "checkpoints" / "compact"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    rows = [(f"u{i}.wav", float(s)) for i, s in enumerate(rng.normal(size=60) + 2 * labels)]
    (tmp_path / "S.csv").write_text("path,fake_logit\n" + "".join(f"{n},{s!r}\n" for n, s in rows))
    told = zip(rows, labels, strict=True)
    (tmp_path / "L.csv").write_text("path,label\n" + "".join(f"{n},{('real', 'fake')[y]}\n" for (n, _), y in told))
    return tmp_path / "S.csv", tmp_path / "L.csv"


def judged(files: tuple[Path, Path], folder: Path, threshold: str = "1.0") -> object:
    arguments = ["--scores", str(files[0]), "--labels", str(files[1]), "--threshold", threshold, "--resamples", "20"]
    assert main(["scores", *arguments, "--frozen", str(folder / "frozen.json"), "--output", str(folder / "out")]) == 0
    return read_report(folder / "out" / REPORT).registration


def test_the_report_says_what_held_and_what_did_not(files: tuple[Path, Path], tmp_path: Path) -> None:
    frozen = tmp_path / "frozen.json"
    assert main(["freeze", str(files[1]), "--threshold", "1.0", "--output", str(frozen)]) == 0
    os.utime(files[0])  # scored after the freeze
    found = judged(files, tmp_path)
    assert found.held
    assert found.checkpoint is None
    assert "before the test was judged" in str(found)
    assert str(found) in (tmp_path / "out" / "report.html").read_text()
    moved = judged(files, tmp_path, "0.9")
    assert (moved.held, moved.threshold) == (False, False)
    assert "the threshold is another" in str(moved)
    os.utime(files[0], (0, 0))
    assert "the scores are older than the freeze" in str(judged(files, tmp_path))
    files[1].write_text(files[1].read_text().replace("u0.wav,real", "u0.wav,fake"))
    assert not judged(files, tmp_path).test


def test_a_report_without_a_freeze_says_so(files: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ["--scores", str(files[0]), "--labels", str(files[1]), "--threshold", "1", "--resamples", "20"]
    assert main(["scores", *arguments, "--output", str(tmp_path)]) == 0
    assert "Nothing was frozen before" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / REPORT).read_text())["registration"] is None


def test_a_freeze_is_never_written_over(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen = tmp_path / "frozen.json"
    arguments = ["freeze", str(files[1]), "--output", str(frozen)]
    assert main([*arguments, "--threshold", "1"]) == 0
    before = frozen.read_bytes()
    assert main([*arguments, "--threshold", "2"]) == 2
    assert "freezing again would undo it" in capsys.readouterr().err
    assert frozen.read_bytes() == before
    assert str(tmp_path) not in before.decode()  # no path of this machine


def test_a_checkpoint_is_the_same_by_its_weights_code_and_config(files: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(SHIPPED, copy)
    (copy / "README.md").write_text("another card")
    assert hash_of_checkpoint(copy) == hash_of_checkpoint(SHIPPED)
    frozen = tmp_path / "frozen.json"
    assert main(["freeze", str(files[1]), "--checkpoint", str(copy), "--output", str(frozen)]) == 0
    kept, threshold = read_frozen(frozen), Threshold(0.0, "fake_logit", "made up", None)
    assert registration(kept, kept.test_sha256, threshold, copy).held
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"changed": True}))
    assert registration(kept, kept.test_sha256, threshold, copy).checkpoint is False


def test_a_split_is_the_same_by_its_audio_and_labels() -> None:
    rows = {"audio": [{"bytes": b"a", "path": "x"}, {"bytes": b"b", "path": "y"}], "label": [0, 1]}
    first = hash_of_split(Dataset.from_dict(rows))
    renamed = [{"bytes": one["bytes"], "path": "elsewhere"} for one in rows["audio"]]
    assert hash_of_split(Dataset.from_dict(rows | {"audio": renamed})) == first
    assert hash_of_split(Dataset.from_dict(rows | {"label": [1, 1]})) != first
    assert hash_of_split(Dataset.from_dict(rows | {"audio": rows["audio"][::-1]})) != first
