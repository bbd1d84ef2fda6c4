"""What a leaderboard takes is written so that it reads back as the same detector; what it refuses is not written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from deepfake.metrics.definitions import equal_error_rate
from evaluation.__main__ import main
from evaluation.score_files import read_scores

SYSTEM = {"name": "A detector", "slug": "a-detector", "description": "It listens.", "code": "https://example.org/code",
          "checkpoint": "https://example.org/weights"}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 2
    scores = (rng.normal(size=100) + 2 * labels).tolist()
    names = [f"wav/u{i:03d}.flac" for i in range(100)]
    told = zip(names, scores, strict=True)
    (tmp_path / "S.csv").write_text("path,fake_logit\n" + "".join(f"{n},{s!r}\n" for n, s in told))
    rows = "".join(f"{n},{('real', 'fake')[y]}\n" for n, y in zip(names, labels, strict=True))
    (tmp_path / "L.csv").write_text("path,label\n" + rows)
    return tmp_path / "S.csv", tmp_path / "L.csv"


def submit(files: tuple[Path, Path], output: Path, *more: str, **system: str) -> int:
    told = [word for key, value in (SYSTEM | system).items() for word in (f"--{key}", value)]
    return main(["arena", str(files[0]), "--labels", str(files[1]), "--output", str(output), *told, *more])


def test_the_submission_reads_back_as_the_same_detector(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(files, tmp_path / "out", "--parameters", "7500000") == 0
    said = capsys.readouterr().out
    written, given = (
        read_scores(path, files[1]).splits["test"] for path in (tmp_path / "out" / "scores.txt", files[0])
    )
    np.testing.assert_array_equal(written.scores, given.scores)
    np.testing.assert_array_equal(written.labels, given.labels)
    raw = (tmp_path / "out" / "scores.txt").read_bytes()
    assert raw.splitlines()[0].split()[0] == b"u000"
    assert hashlib.sha256(raw).hexdigest() in said
    assert f"{100 * equal_error_rate(given.scores, given.labels)[0]:.4f} %" in said
    meta = yaml.safe_load((tmp_path / "out" / "meta.yaml").read_text())
    assert meta == {"system": SYSTEM | {"params_millions": 7.5}}
    fakes = np.array([line.split()[1] for line in raw.splitlines()], dtype=float)[given.labels == 1]
    real = np.array([line.split()[1] for line in raw.splitlines()], dtype=float)[given.labels == 0]
    assert real.mean() > fakes.mean()  # higher = more bona fide


@pytest.mark.parametrize(
    ("system", "sentence"),
    [
        ({"slug": "A Detector"}, "small letters, digits and hyphens"),
        ({"code": "my laptop"}, "--code is my laptop; expected a URL"),
        ({"checkpoint": "https://"}, "expected a URL"),
        ({"name": " "}, "--name is empty"),
    ],
)
def test_a_description_that_would_be_refused_is_refused(
    system: dict[str, str], sentence: str, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(files, tmp_path / "out", **system) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def spoil(kind: str, files: tuple[Path, Path]) -> None:
    scores, labels = (path.read_text().splitlines() for path in files)
    if kind == "unscored":
        scores = scores[:-6]
    if kind == "blanks":
        scores[1], labels[1] = scores[1].replace("u000", "u 000"), labels[1].replace("u000", "u 000")
    if kind == "turned":
        scores[1:] = [f"{line.split(',')[0]},{-float(line.split(',')[1])}" for line in scores[1:]]
    if kind == "one class":
        labels[1:] = [line.replace(",real", ",fake") for line in labels[1:]]
    if kind == "twice":
        scores[2], labels[2] = scores[2].replace("wav/u001", "mp3/u000"), labels[2].replace("wav/u001", "mp3/u000")
    for path, lines in zip(files, (scores, labels), strict=True):
        path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("unscored", "6 of 100 trials have no score"),
        ("blanks", "has blanks in its name"),
        ("turned", "give --lower-is-fake"),
        ("one class", "needs both real and fake clips"),
        ("twice", "two clips"),
    ],
)
def test_scores_that_would_be_refused_are_refused(
    kind: str, sentence: str, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(kind, files)
    assert submit(files, tmp_path / "out") == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
