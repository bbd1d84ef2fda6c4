"""The report says what the scores say: for a model through its Detector, and for anybody's scores in a file."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from conftest import run
from datasets import load_from_disk
from matplotlib.figure import Figure
from PIL import Image
from scipy.special import expit

from deepfake.audio.decode import load_audio
from deepfake.dataset import read_splits
from deepfake.errors import UserError
from deepfake.judging import figures
from deepfake.judging.clips import ScoredClips
from deepfake.judging.judge import SHOWN, Judge, drawn, measure_set
from deepfake.judging.record import ClassFacts, Part, Threshold
from deepfake.judging.report import System, read_report
from deepfake.judging.run import read_run
from deepfake.judging.tables import report_table
from deepfake.metrics.definitions import (
    act_dcf,
    brier_score,
    cllr,
    detection_metrics,
    expected_calibration_error,
    roc_auc,
)
from deepfake.metrics.intervals import Estimate
from evaluation.__main__ import main
from evaluation.gates import Gate
from evaluation.report import build_report
from evaluation.score_dataset import score_rows
from evaluation.score_files import read_scores
from infer import Detector

PICTURES = ("roc", "det", "precision_recall", "confusion_matrix", "score_histogram", "reliability")
QUICK = ("--resamples", "50")
JUDGE = Judge(Threshold(0.0, "fake_logit", "", None))


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def score_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """600 clips of 200 recordings by two generators, a third of them validation; the scores of a fair detector."""
    folder, rng = tmp_path_factory.mktemp("scores"), np.random.default_rng(0)
    scores, labels = [], []
    for i in range(600):
        recording = i // 3
        fake = recording % 2
        scores.append([f"clips/c{i}.wav", 1.3 * rng.normal() + 3 * fake - 1.5])
        labels.append([
            f"clips/c{i}.wav", ("bonafide", "spoof")[fake], ("test", "validation")[recording % 3 == 0],
            f"r{recording}.mp3",
            ("", ("one", "two")[recording % 4 // 2])[fake], ("en", "de")[recording % 5 == 0], 2 + 12 * rng.random(),
        ])  # fmt: skip
    header = ["path", "label", "split", "source", "generator", "language", "duration_s"]
    return (
        write_csv(folder / "S.csv", ["path", "fake_logit"], scores),
        write_csv(folder / "L.csv", header, labels),
    )


@pytest.fixture(scope="module")
def scored(score_files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    arguments = ["scores", "--scores", str(score_files[0]), "--labels", str(score_files[1]), "--output", str(folder)]
    assert main([*arguments, *QUICK, "--gate", "accuracy>=0.6"]) == 0
    return folder


def test_numbers_are_those_of_the_scores(scored: Path, score_files: tuple[Path, Path]) -> None:
    report = json.loads((scored / "report.json").read_text())
    clips = read_scores(*score_files).splits["test"]
    judged = report["sets"]["test"]
    found = {name: estimate["value"] for name, estimate in judged["metrics"].items()}
    expected = detection_metrics(clips.scores, clips.labels, report["threshold"]["value"])
    counted = judged["confusion"] | {
        "n": judged["n"], "n_real": judged["facts"]["real"]["clips"], "n_fake": judged["facts"]["fake"]["clips"],
    }  # fmt: skip
    assert {key: (found | counted)[key] for key in expected} == expected
    llr = report["decisions"]["calibration"]
    ratios = llr["slope"] * clips.scores + llr["bias"]
    assert found["cllr"] == pytest.approx(cllr(ratios, clips.labels))
    assert found["act_dcf"] == pytest.approx(act_dcf(ratios, clips.labels))
    own = expit(clips.scores)
    assert found["brier"] == pytest.approx(brier_score(own, clips.labels))
    assert found["ece"] == pytest.approx(expected_calibration_error(own, clips.labels))
    assert report["threshold"]["split"] == "validation"
    without = {name for name, estimate in judged["metrics"].items() if estimate["low"] is None}
    assert without == {"eer_threshold", "eer_interpolated"}
    known = [estimate for name, estimate in judged["metrics"].items() if name not in without]
    assert all(estimate["low"] <= estimate["value"] <= estimate["high"] for estimate in known)


def test_test_scores_decide_nothing(score_files: tuple[Path, Path], scored: Path, tmp_path: Path) -> None:
    """Other test scores leave threshold, calibration and operating points where validation put them."""
    rows = list(csv.reader(score_files[0].open()))
    splits = {row["path"]: row["split"] for row in csv.DictReader(score_files[1].open())}
    moved = [[name, float(value) + (5 if splits[name] == "test" else 0)] for name, value in rows[1:]]
    other = write_csv(tmp_path / "S.csv", rows[0], moved)
    assert (
        main(["scores", "--scores", str(other), "--labels", str(score_files[1]), "--output", str(tmp_path), *QUICK])
        == 0
    )
    before, after = (json.loads((folder / "report.json").read_text()) for folder in (scored, tmp_path))
    assert before["threshold"] == after["threshold"]
    assert before["decisions"] == after["decisions"]
    rates = [report["sets"]["test"]["metrics"]["fpr"]["value"] for report in (before, after)]
    assert rates[1] > rates[0]


def test_parts_add_up(scored: Path) -> None:
    found = json.loads((scored / "report.json").read_text())["sets"]["test"]
    assert set(found["breakdowns"]) == {"generator", "language", "duration", "container"}
    for part in ("language", "duration", "container"):
        rows = found["breakdowns"][part]
        assert sum(row["real"]["clips"] + row["fake"]["clips"] for row in rows) == found["n"]
    generators = found["breakdowns"]["generator"]
    assert sum(row["fake"]["clips"] for row in generators) == found["facts"]["fake"]["clips"]
    assert {row["real"]["clips"] for row in generators} == {found["facts"]["real"]["clips"]}
    missed = sum(row["metrics"]["fnr"]["value"] * row["fake"]["clips"] for row in generators)
    assert missed == pytest.approx(found["confusion"]["fn"])
    assert set(found["regrouped"]) == {"generators"}  # nobody said who speaks


def test_page_needs_nothing_beside_it_and_pictures_show_something(scored: Path) -> None:
    page = (scored / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page.count("data:image/png;base64,") == len(list(scored.glob("*.png")))
    for name in (*PICTURES, "generators"):
        pixels = np.asarray(Image.open(scored / f"{name}.png").convert("L"))
        assert min(pixels.shape) >= 500
        assert len(np.unique(pixels)) > 20  # not blank
    assert "What these numbers do not show" in page
    assert "No out-of-domain set" in page
    assert "Nobody" not in page


def test_same_bytes_every_run(scored: Path, score_files: tuple[Path, Path], tmp_path: Path) -> None:
    command = [
        "-m",
        "evaluation",
        "scores",
        "--scores",
        score_files[0],
        "--labels",
        score_files[1],
        "--output",
        tmp_path,
    ]
    run(sys.executable, *command, *QUICK, "--gate", "accuracy>=0.6")
    for path in scored.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_gates_decide_the_exit_status(score_files: tuple[Path, Path], tmp_path: Path) -> None:
    command = [
        "scores",
        "--scores",
        str(score_files[0]),
        "--labels",
        str(score_files[1]),
        "--output",
        str(tmp_path),
        *QUICK,
    ]
    assert main([*command, "--gate", "eer<=0.5", "--gate", "recall_fake >= 0.5"]) == 0
    assert main([*command, "--gate", "eer<=0.5", "--gate", "roc_auc.low>0.999"]) == 1
    outcomes = json.loads((tmp_path / "report.json").read_text())["gates"]
    assert [o["passed"] for o in outcomes] == [True, False]


@pytest.mark.parametrize(
    "text", ["accuracy", "accuracy=>0.8", "loudness>=1", "eer_interpolated.low<1", "accuracy>=80%", "eer<=."]
)
def test_unreadable_gates_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="the gate"):
        Gate.parse(text)


def test_undefined_values_pass_no_gate() -> None:
    clips = ScoredClips.of([1.0, 2.0], [1, 1], {})
    judged = measure_set(clips, JUDGE, "test", 10)
    assert judged.metrics["roc_auc"].value is None
    assert not Gate.parse("roc_auc>=0").check(judged).passed
    assert Gate.parse("recall_fake>=1").check(judged).passed


@pytest.mark.parametrize(
    ("scores", "labels", "sentence"),
    [
        ("id,fake_logit\na,1\nb,x\n", "id,label\na,real\nb,fake\n", "expected a number"),
        ("id,fake_logit\na,1\na,2\n", "id,label\na,real\n", "names a twice"),
        ("id,loudness\na,1\n", "id,label\na,real\n", "lacks a score column"),
        ("id,fake_logit\na,1\n", "id,label\na,cat\n", "the label 'cat'"),
        ("id,fake_logit\na,1\n", "id,label\nz,real\n", "no clip of"),
        ("id,fake_logit\na,nan\n", "id,label\na,real\n", "must be finite"),
        ("id,score\na,1\nb,2\n", "id,label\na,real\nb,fake\n", "a threshold is needed"),
        ("", "id,label\na,real\n", "holds no rows"),
    ],
)
def test_wrong_files_are_one_sentence(
    scores: str, labels: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "S.csv").write_text(scores)
    (tmp_path / "L.csv").write_text(labels)
    files = ["--scores", str(tmp_path / "S.csv"), "--labels", str(tmp_path / "L.csv")]
    assert main(["scores", *files, "--output", str(tmp_path / "out")]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert sentence in errors[0]


def test_a_default_threshold_is_used_and_said(tmp_path: Path) -> None:
    rows = [[f"c{i}", 0.2 + 0.6 * (i % 2)] for i in range(40)]
    write_csv(tmp_path / "S.csv", ["id", "fake_probability"], rows)
    write_csv(tmp_path / "L.csv", ["id", "label"], [[f"c{i}", ("real", "fake")[i % 2]] for i in range(40)])
    files = ["--scores", str(tmp_path / "S.csv"), "--labels", str(tmp_path / "L.csv")]
    assert main(["scores", *files, "--output", str(tmp_path / "out"), *QUICK]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["threshold"]["value"] == 0.5
    assert report["sets"]["test"]["metrics"]["cllr"]["value"] is None  # nothing to calibrate on
    headings = {gap["heading"] for gap in report["gaps"]}
    assert {"Threshold not chosen", "Recordings unknown", "No out-of-domain set"} <= headings
    assert not (tmp_path / "out" / "generators.png").exists()


def test_lower_is_fake_turns_scores_round_and_missing_ones_are_counted(tmp_path: Path) -> None:
    write_csv(tmp_path / "S.csv", ["id", "score"], [["a", 3], ["b", 1], ["c", ""], ["d", 0.5]])
    write_csv(tmp_path / "L.csv", ["id", "label"], [["a", "real"], ["b", "fake"], ["c", "fake"], ["d", "fake"]])
    joined = read_scores(tmp_path / "S.csv", tmp_path / "L.csv", lower_is_fake=True)
    assert joined.unscored == 1
    clips = joined.splits["test"]
    assert roc_auc(clips.scores, clips.labels) == 1.0


@pytest.fixture(scope="module")
def reported(trained: Path, dataset_dir: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reported")
    sets = ["--dataset", str(dataset_dir), "--ood", str(dataset_dir)]
    models = ["--model", str(trained), "--base-model", str(tiny_checkpoint)]
    assert main(["report", *models, *sets, "--output", str(folder), *QUICK]) == 0
    return folder


def test_report_repeats_what_training_measured(reported: Path, trained: Path) -> None:
    report = read_report(reported / "report.json").judgement
    results = read_run(trained / "results.json").judgement
    found, recorded = report.sets["test"], results.sets["test"]
    assert (found.role, found.n, found.facts, found.confusion) == (
        recorded.role, recorded.n, recorded.facts, recorded.confusion,
    )  # fmt: skip
    assert found.metrics.keys() == recorded.metrics.keys()
    for key, estimate in found.metrics.items():
        assert estimate.value == pytest.approx(recorded.value(key), abs=1e-4), key
    assert found.breakdowns.keys() == recorded.breakdowns.keys()
    assert report.threshold.value == pytest.approx(results.threshold.value)
    thresholds = {point.name: point.threshold for point in found.operating_points}
    assert thresholds == {point.name: point.threshold for point in recorded.operating_points}
    assert (reported / "training_history.png").is_file()


def test_base_model_is_the_control_on_every_set(reported: Path) -> None:
    report = read_report(reported / "report.json")
    sets, base = report.judgement.sets, report.judgement.base
    assert set(base.differences) == set(sets)
    assert len(sets) == 4  # test, and each split of the dataset from elsewhere
    for name, found in base.differences.items():
        a, b = sets[name].value("roc_auc"), base.sets[name].value("roc_auc")
        assert found["roc_auc"].difference.value == pytest.approx(a - b)
    headings = {gap.heading for gap in report.gaps}
    assert "No out-of-domain set" not in headings
    assert "Too few recordings in test" in headings


def test_report_names_no_path_of_this_machine(reported: Path, dataset_dir: Path, trained: Path) -> None:
    for path in (reported / "report.json", reported / "report.html"):
        text = path.read_text()
        assert str(dataset_dir.parent) not in text
        assert str(trained.parent) not in text


def test_clips_are_scored_as_the_detector_scores_them(dataset_dir: Path, tiny_checkpoint: Path) -> None:
    """In batches of any size and order; a long clip by the mean over its windows with speech, as a recording is."""
    rows = read_splits(str(dataset_dir))["test"]
    detector = Detector.from_pretrained(tiny_checkpoint, batch_size=3)
    clips = score_rows(detector, rows, "test")
    expected = [detector.score(row["audio"]["bytes"]).fake_probability for row in load_from_disk(dataset_dir)["test"]]
    np.testing.assert_allclose(1 / (1 + np.exp(-clips.scores)), expected, atol=1e-6)

    def stretched(samples: np.ndarray, _: str) -> np.ndarray:
        return np.concatenate((np.tile(samples, 8), np.zeros(40 * 16_000, np.float32), samples))

    long = score_rows(detector, rows.select([0]), "long", stretched)
    whole = stretched(load_audio(rows[0]["audio"]["bytes"]), "")
    expected_long = detector.score(whole, 16_000)
    hop, window = 6.5 * 16_000, 13 * 16_000
    assert 2 < expected_long.windows < 1 + (len(whole) - window) / hop  # some of them are silent, and are not scored
    assert 1 / (1 + np.exp(-long.scores[0])) == pytest.approx(expected_long.fake_probability, abs=1e-6)


def test_unknown_split_and_dataset_are_one_sentence(
    trained: Path, dataset_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["report", "--model", str(trained), "--output", str(tmp_path / "out")]
    assert main([*base, "--dataset", str(dataset_dir), "--split", "dev"]) == 2
    assert main([*base, "--dataset", str(trained)]) == 2
    assert main([*base, "--dataset", str(dataset_dir), "--gate", "nonsense"]) == 2
    errors = capsys.readouterr().err
    assert "has no split dev; it has train, validation, test" in errors
    assert "is not a prepared dataset" in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("n_sets", [1, 3, 4, 8])
@pytest.mark.parametrize("curve", [figures.roc, figures.det, figures.precision_recall])
def test_a_legend_never_covers_the_curves(n_sets: int, curve: Callable[..., None]) -> None:
    """Few sets are listed in the corner that a curve leaves empty, more of them below the axes, inside the picture."""
    rng, labels = np.random.default_rng(0), np.arange(200) % 2
    clips = ScoredClips.of(rng.normal(0, 1, 200) + 2 * labels, labels, {})
    judged = replace(measure_set(clips, JUDGE, "test", 10), series=drawn(clips, JUDGE))
    systems = [figures.Curve(f"a set from elsewhere, number {i}", judged, False) for i in range(n_sets)]
    with matplotlib.rc_context(figures.STYLE):
        figure = Figure(figsize=figures.curve_size(systems), layout="constrained")
        axes = figure.subplots()
        curve(axes, systems)
        figure.draw_without_rendering()
    box, inside = axes.get_legend().get_window_extent(), axes.get_window_extent()
    assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 - 1 <= box.y0
    assert inside.height > 2.5 * figure.dpi  # the curves keep their room
    points = np.concatenate([line.get_transform().transform(line.get_xydata()) for line in axes.lines[-n_sets:]])
    if n_sets > 3:
        assert box.y1 < inside.y0
    else:
        covered = (points[:, 0] > box.x0) & (points[:, 0] < box.x1) & (points[:, 1] > box.y0) & (points[:, 1] < box.y1)
        assert not covered.any()


@pytest.mark.parametrize("n_sets", [1, 8])
def test_the_table_on_the_console_fits_a_terminal_and_holds_every_set(n_sets: int) -> None:
    rng, labels = np.random.default_rng(0), np.arange(40) % 2
    sets = {f"in the wild {i}": ("test", ScoredClips.of(rng.normal(0, 1, 40), labels, {})) for i in range(n_sets)}
    half = dict.fromkeys(SHOWN, Estimate(0.5, 0.4, 0.6))
    left_out = [Part(f"generator {i}", ClassFacts(9), ClassFacts(9), half) for i in range(n_sets)]
    report = build_report(System("m", "d"), JUDGE, sets, left_out=left_out, resamples=10)
    lines = report_table(report).partition("\nnote:")[0].splitlines()
    assert max(map(len, lines)) <= 120
    for i in range(n_sets):
        assert sum(f"in the wild {i} (40 clips)" in line for line in lines) == 1
        assert sum(f"generator {i} (9 fakes)" in line for line in lines) == 1
    found = [float(x) for line in lines if line.startswith("ROC-AUC") for x in re.findall(r"(\d\.\d+) \[", line)]
    assert found[:n_sets] == [round(judged.value("roc_auc"), 3) for judged in report.judgement.sets.values()]
