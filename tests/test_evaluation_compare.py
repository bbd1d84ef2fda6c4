"""Several detectors on the same clips: the better one is told apart, equals are not, and any score file will do."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from deepfake.errors import UserError
from deepfake.judging.clips import ScoredClips
from deepfake.judging.comparison import COMPARISON, Contender, compare_systems, read_comparison, write_comparison
from deepfake.judging.judge import Judge
from deepfake.judging.record import Threshold
from deepfake.metrics.checks import group_codes
from deepfake.metrics.intervals import bootstrap_intervals
from deepfake.metrics.paired import Scored, holm, paired_difference, paired_systems
from deepfake.metrics.rates import group_rate, half_total_error
from evaluation.__main__ import main
from evaluation.score_files import read_scores
from evaluation.score_tables import read_score_table

JUDGE = Judge(Threshold(0.0, "fake_logit", "made up", None))
CLIPS = 400


def table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def columns(n: int = CLIPS) -> tuple[np.ndarray, dict[str, list[object]]]:
    """Labels, and what is known: four clips a recording, two generators, two pages of human speech."""
    groups = np.arange(n) // 4
    labels = groups % 2
    return labels, {
        "source": [f"r{g}.wav" for g in groups],
        "generator": [("one", "two")[g // 2 % 2] if y else "human" for g, y in zip(groups, labels, strict=True)],
        "page": [None if y else ("radio", "studio")[g // 2 % 2] for g, y in zip(groups, labels, strict=True)],
    }


def detector(seed: int, distance: float) -> np.ndarray:
    labels, _ = columns()
    return np.random.default_rng(seed).normal(size=CLIPS) + distance * (2 * labels - 1) / 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One good detector in every format, a poor one, and the labels."""
    folder = tmp_path_factory.mktemp("scores")
    labels, known = columns()
    good, poor = detector(0, 4.0).tolist(), detector(1, 0.6).tolist()
    names = [f"utt_{i:04d}" for i in range(CLIPS)]
    rows, other = (list(zip(names, scores, strict=True)) for scores in (good, poor))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", *known])
        for i, name in enumerate(names):
            writer.writerow([f"{name}.flac", ("real", "fake")[labels[i]], *(known[k][i] or "" for k in known)])
    return {
        "labels": folder / "labels.csv",
        "good": table(folder / "good.csv", "path,fake_logit", *(f"{n}.flac,{s!r}" for n, s in rows)),
        "poor": table(folder / "poor.csv", "path,fake_logit", *(f"{n}.flac,{s!r}" for n, s in other)),
        "asvspoof_2021": table(folder / "asvspoof_2021.txt", *(f"{n} {-s!r}" for n, s in rows)),
        "asvspoof_2019": table(folder / "asvspoof_2019.txt", *(f"{n} - bonafide {-s!r}" for n, s in rows)),
        "asvspoof_5": table(folder / "asvspoof_5.tsv", "filename\tcm-score", *(f"{n}\t{-s!r}" for n, s in rows)),
        "arena": table(folder / "arena.txt", *(f"/data/wav/{n}.flac {-s!r}" for n, s in rows)),
    }  # fmt: skip


@pytest.mark.parametrize("layout", ["asvspoof_2021", "asvspoof_2019", "asvspoof_5", "arena"])
def test_one_detector_is_the_same_in_every_format(layout: str, files: dict[str, Path]) -> None:
    plain, other = (read_scores(files[name], files["labels"]) for name in ("good", layout))
    np.testing.assert_array_equal(other.splits["test"].scores, plain.splits["test"].scores)
    np.testing.assert_array_equal(other.splits["test"].labels, plain.splits["test"].labels)
    assert (plain.unit, other.unit) == ("fake_logit", "score")
    assert "turned round" in other.layout


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["a b c 1 2"], "5 columns and no header"),
        (["a 1", "b with blank 2"], "in row 2"),
        (["name\tvalue", "a\t1"], "lacks a score column"),
        (["filename\tcm-score"], "no rows"),
    ],
)
def test_a_score_file_that_cannot_be_read_is_one_sentence(lines: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        read_score_table(table(tmp_path / "s.txt", *lines))
    assert "\n" not in str(error.value)


def test_the_better_detector_is_told_apart_and_equals_are_not(files: dict[str, Path], tmp_path: Path) -> None:
    paths = [str(files[name]) for name in ("good", "poor", "asvspoof_5")]
    arguments = ["compare", *paths, "--labels", str(files["labels"]), "--output", str(tmp_path), "--resamples", "100"]
    assert main([*arguments, "--threshold", "asvspoof_5=0"]) == 0
    found = read_comparison(tmp_path / COMPARISON)
    assert [one.name for one in found.systems] == ["good", "poor", "asvspoof_5"]
    assert (found.clips, found.groups) == (CLIPS, CLIPS // 4)
    by_pair = {(c.a, c.b): c for c in found.contrasts}
    clear, same = by_pair["good", "poor"], by_pair["good", "asvspoof_5"]
    assert clear.tested["roc_auc"].difference.difference.low > 0
    assert clear.p_holm["roc_auc"] < 0.05
    assert same.tested["roc_auc"].difference.difference.value == 0
    assert same.p_holm["roc_auc"] == 1.0
    page = (tmp_path / "compare.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    assert "good minus poor" in page
    assert {place.column for place in found.places if place.error == "fpr"} == {"page"}


def test_places_count_the_errors_of_their_clips(tmp_path: Path) -> None:
    labels, known = columns()
    contenders = [
        Contender(name, ScoredClips.of(detector(seed, distance), labels, known), JUDGE)
        for name, seed, distance in (("a", 0, 3.0), ("b", 1, 1.0))
    ]
    found = compare_systems(contenders, "made up", 20)
    write_comparison(tmp_path / COMPARISON, found)
    assert read_comparison(tmp_path / COMPARISON) == found
    for place in found.places:
        mine = (np.array(known[place.column], dtype=object) == place.value) & (labels == (place.error == "fnr"))
        for contender, rate in zip(contenders, place.rates, strict=True):
            called = contender.clips.scores[mine] >= 0
            assert rate.value == pytest.approx(np.mean(~called if place.error == "fnr" else called))
            assert rate.low <= rate.value <= rate.high
        assert place.clips == mine.sum()
    assert [p.spread for p in found.places] == sorted((p.spread for p in found.places), reverse=True)


def test_clips_that_one_detector_did_not_score_are_left_out_for_all(files: dict[str, Path], tmp_path: Path) -> None:
    short = table(tmp_path / "short.csv", *files["poor"].read_text().splitlines()[:-40])
    arguments = ["compare", str(files["good"]), str(short), "--labels", str(files["labels"])]
    assert main([*arguments, "--output", str(tmp_path / "out"), "--resamples", "20"]) == 0
    found = read_comparison(tmp_path / "out" / COMPARISON)
    assert found.clips == CLIPS - 40
    assert [one.left_out for one in found.systems] == [40, 0]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--threshold", "good=high"], "expected NAME=NUMBER"),
        (["--threshold", "nobody=1"], "expected a finite number for one of"),
    ],
)
def test_a_mistake_is_told_before_anything_is_compared(
    more: list[str], sentence: str, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", str(files["good"]), str(files["poor"]), "--labels", str(files["labels"])]
    assert main([*arguments, "--output", str(tmp_path / "out"), *more]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_pair_has_the_interval_that_it_has_alone() -> None:
    labels, known = columns()
    scores = [detector(seed, distance) for seed, distance in ((0, 3.0), (1, 2.0), (2, 1.0))]
    together = paired_systems([Scored(s, 0.0) for s in scores], labels, known["source"], resamples=50)
    alone = paired_difference(scores[0], scores[2], labels, known["source"], 0.0, 0.0, resamples=50)
    assert {name: one.difference for name, one in together.differences[0, 2].items()} == alone
    assert together.estimates[1] == bootstrap_intervals(scores[1], labels, known["source"], 0.0, resamples=50)


def test_p_values_of_equal_detectors_are_even() -> None:
    """Of two detectors that are equally good, about one in twenty comparisons is below 0.05."""
    labels, known = columns()
    found = []
    for run in range(120):
        pair = [Scored(detector(2 * run + k, 2.0), 0.0) for k in (0, 1)]
        found.append(paired_systems(pair, labels, known["source"], ("roc_auc",), 60).differences[0, 1]["roc_auc"])
    below = np.mean([one.p_value < 0.05 for one in found])
    assert 0 < below < 0.12
    for one in found:  # the interval and the p-value are one statement
        low, high = one.difference.difference.low, one.difference.difference.high
        assert (low > 0 or high < 0) == (one.p_value < 0.05)


def test_holm_is_between_the_p_value_and_bonferroni() -> None:
    p = [0.01, None, 0.04, 0.03, 0.9]
    found = holm(p)
    assert found == [pytest.approx(0.04), None, pytest.approx(0.09), pytest.approx(0.09), pytest.approx(0.9)]
    assert holm([]) == []


def test_a_rate_has_the_interval_of_the_bootstrap() -> None:
    """Jackknife and bootstrap agree on the width, to the noise of the resamples."""
    labels, known = columns()
    scores, codes = detector(3, 1.5), group_codes(known["source"], CLIPS)
    found = bootstrap_intervals(scores, labels, codes.tolist(), 0.0, ("fpr", "fnr", "balanced_accuracy"), 2000)
    called = scores >= 0
    rates = {
        "fpr": group_rate(called[labels == 0], codes[labels == 0], 0),
        "fnr": group_rate(~called[labels == 1], codes[labels == 1], 1),
    }
    hter = half_total_error(called, labels, codes)
    for name, rate in rates.items():
        assert rate.value == pytest.approx(found[name].value)
        assert rate.high - rate.low == pytest.approx(found[name].high - found[name].low, rel=0.08)
    assert hter.value == pytest.approx(1 - found["balanced_accuracy"].value)
    assert hter.high - hter.low == pytest.approx(
        found["balanced_accuracy"].high - found["balanced_accuracy"].low, rel=0.08
    )
    assert hter.n_groups == CLIPS // 8
    assert group_rate(np.zeros(3, dtype=bool), np.zeros(3, dtype=int), 0).low is None
    never = group_rate(np.zeros(30, dtype=bool), np.arange(30), 0)
    assert (never.low, never.method) == (0.0, "exact binomial over groups")
    assert never.high == pytest.approx(1 - 0.025 ** (1 / 30))
