"""Two files of one set of clips: names mean one clip or none, and the decisions in a file are taken as they stand."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest
from conftest import run

from deepfake.errors import UserError
from evaluation.__main__ import main
from evaluation.score_files import JoinedScores, read_scores

SHIPPED = Path(__file__).resolve().parents[1] / "examples" / "recordings"


def table(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def joined(folder: Path, scores: list[str], labels: list[str]) -> JoinedScores:
    return read_scores(
        table(folder / "S.csv", "path,fake_logit", *scores), table(folder / "L.csv", "file_name,label", *labels)
    )


def judged(folder: Path, *more: str) -> int:
    files = ["--scores", str(folder / "S.csv"), "--labels", str(folder / "L.csv"), "--output", str(folder / "out")]
    return main(["scores", *files, "--resamples", "20", *more])


def test_another_file_of_the_same_name_lends_no_score(tmp_path: Path) -> None:
    found = joined(tmp_path, ["/a/x.wav,1", "/a/y.wav,2"], ["/b/x.wav,real", "/a/x.wav,fake", "/b/y.wav,real"])
    assert found.splits["test"].scores.tolist() == [1.0]
    assert (found.unscored, found.unlabelled, found.by_end) == (2, 1, ())


@pytest.mark.parametrize(
    ("score", "label"),
    [("/a/real/x.wav", "real/x.wav"), ("x.wav", "/a/real/x.wav"), ("./real/x.wav", "real/x.wav"),
     ("C:\\a\\x.wav", "C:/a/x.wav"), ("ünï codé/x 1.wav", "x 1.wav")],
)  # fmt: skip
def test_a_relative_name_means_the_one_path_that_ends_in_it(score: str, label: str, tmp_path: Path) -> None:
    found = joined(tmp_path, [f"{score},1", "/other/z.wav,0"], [f"{label},fake"])
    assert found.splits["test"].scores.tolist() == [1.0]
    assert found.unlabelled == 1


def test_matches_by_the_end_of_a_path_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    joined(tmp_path, ["/a/x.wav,1", "/a/y.wav,-1"], ["x.wav,fake", "y.wav,real"])
    assert judged(tmp_path) == 0
    assert "2 clips are matched by the end of the path: x.wav is taken for /a/x.wav" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (["/a/x.wav,1", "/b/x.wav,2"], ["x.wav,real"]),  # two files of one name
        (["x.wav,1"], ["/a/x.wav,real", "/b/x.wav,fake"]),
        (["/a/x.wav,1", "/b/x.wav,2"], ["/a/x.wav,real", "x.wav,fake"]),  # one of them is taken: still a guess
    ],
)
def test_a_name_that_fits_several_clips_is_refused(scores: list[str], labels: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 clips of .* may be meant .*; write the whole path in both files"):
        joined(tmp_path, scores, labels)


def test_one_score_is_never_given_to_two_clips(tmp_path: Path) -> None:
    found = joined(tmp_path, ["/a/x.wav,1"], ["/a/x.wav,real", "x.wav,fake"])
    assert (len(found.splits["test"]), found.unscored) == (1, 1)
    with pytest.raises(UserError, match="names a/x.wav twice; expected one label a clip"):
        joined(tmp_path, ["a/x.wav,1"], ["a/x.wav,real", "./a/x.wav,fake"])


def test_scores_without_a_label_are_reported_like_labels_without_a_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = [f"c{i}.wav,{i % 2 - 0.5}" for i in range(12)]
    joined(tmp_path, [*scores, "failed.wav,"], [f"c{i}.wav,{('real', 'fake')[i % 2]}" for i in range(2, 13)])
    assert judged(tmp_path) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["unscored"], report["unlabelled"]) == (1, 2)
    shown = capsys.readouterr().out
    assert "1 labelled clips have no score" in shown
    assert "2 scores have no label" in shown


DECIDED = "path,fake_probability,prediction,threshold"


def decided(folder: Path, rows: list[tuple[float, str, float]]) -> None:
    lines = [f"c{i}.wav,{p},{word},{threshold}" for i, (p, word, threshold) in enumerate(rows)]
    table(folder / "S.csv", DECIDED, *lines)
    table(folder / "L.csv", "path,label", *(f"c{i}.wav,{('real', 'fake')[i % 2]}" for i in range(len(rows))))


def test_decisions_that_stand_in_the_file_are_the_ones_judged(tmp_path: Path) -> None:
    rows = [(0.3, "real", 0.65), (0.6, "real", 0.65), (0.4, "real", 0.65), (0.9, "fake", 0.65)]
    decided(tmp_path, rows)
    assert judged(tmp_path) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["threshold"]["value"], report["threshold"]["origin"]) == (0.65, "stands in the scores file")
    assert report["sets"]["test"]["metrics"]["fnr"]["value"] == 0.5  # at 0.5 it would be 0
    assert judged(tmp_path, "--threshold", "0.5") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["threshold"]["value"], report["sets"]["test"]["metrics"]["fnr"]["value"]) == (0.5, 0.0)


@pytest.mark.parametrize(
    ("second", "sentence"),
    [((0.8, "fake", 0.7), "decided at 2 thresholds (0.6500, 0.7000)"), ((0.8, "real", 0.65), "contradict each other")],
)
def test_decisions_of_two_minds_are_refused(
    second: tuple[float, str, float], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decided(tmp_path, [(0.3, "real", 0.65), second])
    assert judged(tmp_path) == 2
    assert sentence in capsys.readouterr().err
    assert judged(tmp_path, "--threshold", "0.65") == 0


def test_uncertain_clips_are_said_to_count_as_called_real(tmp_path: Path) -> None:
    decided(tmp_path, [(0.3, "real", 0.65), (0.6, "uncertain", 0.65)])
    assert judged(tmp_path) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "its 1 uncertain clips are counted as called real" in report["threshold"]["origin"]
    assert report["sets"]["test"]["metrics"]["fnr"]["value"] == 1.0


def test_what_infer_decided_is_what_the_report_counts(tmp_path: Path) -> None:
    """The rows of the real command, judged without an option, give the command's own decisions."""
    recordings = sorted(SHIPPED.rglob("*.*"))
    chosen = [p for p in recordings if p.suffix in (".mp3", ".wav", ".flac", ".ogg", ".m4a", ".opus")][:4]
    for path in chosen:
        shutil.copy(path, tmp_path / path.name)
    run(sys.executable, "infer.py", *(tmp_path / p.name for p in chosen), "--output", tmp_path / "S.csv")
    rows = list(csv.DictReader((tmp_path / "S.csv").open()))
    assert len(rows) == len(chosen)
    table(tmp_path / "L.csv", "path,label", *(f"{r['path']},{('real', 'fake')[i % 2]}" for i, r in enumerate(rows)))
    assert judged(tmp_path) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["threshold"]["value"] == float(rows[0]["threshold"])
    counts = report["sets"]["test"]["confusion"]
    assert counts["tp"] + counts["fp"] == sum(row["prediction"] == "fake" for row in rows)
