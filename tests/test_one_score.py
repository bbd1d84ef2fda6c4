"""The same bytes have the same score everywhere: infer.py, evaluation, and what a training reports of itself."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import launch_training, run
from datasets import Audio, Dataset, DatasetDict, load_from_disk

from deepfake.audio.decode import AudioError, encode_flac, load_audio
from deepfake.dataset import read_splits
from deepfake.judging.run import read_run
from deepfake.scoring.clips import ClipScores, score_clips
from evaluation.__main__ import main as evaluate
from evaluation.score_dataset import NothingScored, score_rows
from infer import Detector

RATE = 16_000
BAD = 4  # clips at the end of `hard_clips` that cannot be scored


def faint_noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1e-4, round(seconds * RATE)).astype(np.float32)


def hard_clips(speech: np.ndarray) -> list[bytes]:
    """Of many windows, with silence in the middle, as long as a window and a sample longer; last, without speech."""
    pause = np.concatenate((speech[: 5 * RATE], faint_noise(40), speech[8 * RATE : 12 * RATE]))
    quiet_end = np.concatenate((speech[3 * RATE : 16 * RATE], np.zeros(14 * RATE, np.float32)))
    lengths = [speech[:samples] for samples in (RATE // 2, 13 * RATE, 13 * RATE + 1)]
    bad = [np.zeros(20 * RATE, np.float32), faint_noise(3), speech[: RATE // 4]]
    return [encode_flac(samples) for samples in (pause, quiet_end, np.tile(speech, 2), *lengths, *bad)] + [b"no audio"]


@pytest.fixture(scope="module")
def hard_rows(speech: np.ndarray, dataset_dir: Path) -> Dataset:
    """The hard clips as rows, real and fake in turn."""
    test = load_from_disk(str(dataset_dir))["test"]
    rows = [
        test[0] | {"audio": {"bytes": data, "path": f"{i}.flac"}, "label": i % 2, "source": f"recording {i}"}
        for i, data in enumerate(hard_clips(speech))
    ]
    plain = Dataset.from_list(rows).cast_column("label", test.features["label"])
    return plain.cast_column("audio", Audio(RATE, decode=False))


@pytest.fixture(scope="module")
def hard_run(
    dataset_dir: Path, hard_rows: Dataset, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A dataset whose validation and test splits are hard clips, and a detector fine-tuned on it for one step."""
    folder = tmp_path_factory.mktemp("hard")
    train = load_from_disk(str(dataset_dir))["train"]
    DatasetDict({"train": train, "validation": hard_rows, "test": hard_rows}).save_to_disk(str(folder / "dataset"))
    hard_rows.save_to_disk(str(folder / "elsewhere"))
    launch_training(
        folder / "out", "--model_name_or_path", tiny_checkpoint, "--dataset", folder / "dataset",
        "--ood_dataset", folder / "elsewhere", "--max_steps", "1", "--precision", "bf16", "--max_duration_s", "2.5",
        "--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false",
        "--early_stopping_patience", "0",
    )  # fmt: skip
    return folder / "dataset", folder / "out"


def alone(detector: Detector, clips: list[bytes]) -> np.ndarray:
    """fake_probability of each recording as the Python interface gives it, NaN where it refuses."""

    def probability(data: bytes) -> float:
        try:
            return detector.score(data).fake_probability
        except AudioError:
            return float("nan")

    return np.array([probability(data) for data in clips])


def probabilities(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def test_rows_have_the_scores_of_recordings(hard_rows: Dataset, speech: np.ndarray, tiny_checkpoint: Path) -> None:
    """With silence inside, over many windows, from bytes and from samples that a channel left as they were."""
    detector = Detector.from_pretrained(tiny_checkpoint, batch_size=3)
    clips = hard_clips(speech)
    expected = alone(detector, clips)
    assert np.isfinite(expected).tolist() == [True] * (len(clips) - BAD) + [False] * BAD
    windows = [detector.score(data).windows for data in clips[:-BAD]]
    assert windows[:3] == [3, 2, 6]  # of seven, four and six
    found = score_clips(detector, hard_rows, "rows")
    np.testing.assert_allclose(probabilities(found.logits), expected, atol=1e-6)
    assert [error.split(":")[0].split(" (")[0] for error in found.errors[-BAD:]] == [
        "no_speech", "no_speech", "too short", "not decodable as audio",
    ]  # fmt: skip
    changed = score_clips(detector, hard_rows, "rows", lambda samples, _: samples)
    np.testing.assert_allclose(probabilities(changed.logits), expected, atol=1e-6)
    # What the whole clip in one piece would give, as a model is trained, is another number: the test can fail.
    whole = [detector.fake_logits([load_audio(data)])[0] for data in clips[:3]]
    assert (np.abs(probabilities(np.array(whole)) - expected[:3]) > 5e-5).all()


def test_a_training_reports_the_scores_that_its_detector_gives(
    hard_run: tuple[Path, Path], hard_rows: Dataset, speech: np.ndarray, tmp_path: Path
) -> None:
    """infer.py's rows, evaluation's clips and the CSV files of a training in mixed precision agree."""
    dataset, out = hard_run
    detector, clips = Detector.from_pretrained(out), hard_clips(speech)
    expected = alone(detector, clips)
    kept = len(clips) - BAD
    for name in ("validation", "test", "elsewhere"):
        with (out / f"scores_{name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        written = [float(row["fake_probability"] or "nan") for row in rows]
        np.testing.assert_allclose(written, expected, atol=1e-6)
        logits = np.array([float(row["fake_logit"] or "nan") for row in rows])
        np.testing.assert_allclose(probabilities(logits), expected, atol=1e-6)
    judged = score_rows(detector, read_splits(str(dataset))["test"], "test")
    np.testing.assert_allclose(probabilities(judged.scores), expected[:kept], atol=1e-6)
    assert (len(judged), judged.unscored) == (kept, BAD)
    folder = tmp_path / "calls"
    folder.mkdir()
    for i, data in enumerate(clips):
        (folder / f"{i}.flac").write_bytes(data)
    done = run(sys.executable, "infer.py", folder, "--model", out, check=1)
    said = {Path(row["path"]).stem: row["fake_probability"] for row in csv.DictReader(done.stdout.splitlines())}
    np.testing.assert_allclose([float(said[str(i)] or "nan") for i in range(len(clips))], expected, atol=1e-6)


def test_a_training_counts_the_clips_it_cannot_score(hard_run: tuple[Path, Path], speech: np.ndarray) -> None:
    judgement = read_run(hard_run[1] / "results.json").judgement
    kept, names = len(hard_clips(speech)) - BAD, ["validation", "test", "elsewhere"]
    assert judgement.unscored == 3 * BAD
    sets = [*judgement.sets.values(), *judgement.base.sets.values()]
    assert [(found.n, found.unscored) for found in sets] == [(kept, BAD)] * 6
    assert list(judgement.base.sets) == list(judgement.base.differences) == list(judgement.sets) == names
    assert f"{3 * BAD} labelled clips have no score" in (hard_run[1] / "README.md").read_text()


def test_the_start_checkpoint_is_measured_by_its_own_scores(
    hard_run: tuple[Path, Path], speech: np.ndarray, tiny_checkpoint: Path
) -> None:
    base = read_run(hard_run[1] / "results.json").judgement.base.sets["test"]
    scores = alone(Detector.from_pretrained(tiny_checkpoint), hard_clips(speech))[:-BAD]
    fake = np.arange(len(scores)) % 2 == 1
    assert base.value("roc_auc") == pytest.approx((scores[fake][:, None] > scores[~fake][None]).mean())
    assert base.confusion.tp == int((scores[fake] >= 0.4).sum())


def test_a_report_and_a_stress_test_state_what_they_could_not_score(
    hard_run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, out = hard_run
    common = ["--model", str(out), "--dataset", str(dataset), "--resamples", "20", "--output"]
    other = ["--base-model", str(out), "--ood", str(dataset.parent / "elsewhere")]
    assert evaluate(["report", *common, str(tmp_path / "report"), *other]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["unscored"] == 2 * BAD
    assert report["base"]["differences"]["test"]["roc_auc"]["difference"]["value"] == 0
    assert evaluate(["stress", *common, str(tmp_path / "stress"), "--conditions", "white_0dB"]) == 0
    rows = json.loads((tmp_path / "stress" / "stress.json").read_text())["conditions"]
    assert [row["unscored"] for row in rows][0] == BAD
    assert "4 of 10 clips of clean have no score and are left out: 2 × no_speech" in capsys.readouterr().err


def test_a_set_that_says_nothing_is_one_sentence(hard_rows: Dataset, tiny_checkpoint: Path) -> None:
    silent = hard_rows.select(range(len(hard_rows) - BAD, len(hard_rows)))
    with pytest.raises(NothingScored, match="none of the 4 clips of silent can be scored; the first says: no_speech"):
        score_rows(Detector.from_pretrained(tiny_checkpoint), silent, "silent")


def test_what_several_processes_scored_comes_back_in_order() -> None:
    whole = ClipScores(np.array([0.0, np.nan, 2.0, 3.0, 4.0]), (None, "no_speech", None, None, None))
    for count in (1, 2, 3, 7):
        parts = [ClipScores(whole.logits[k::count], whole.errors[k::count]) for k in range(count)]
        joined = ClipScores.interleaved(parts)
        np.testing.assert_array_equal(joined.logits, whole.logits)
        assert joined.errors == whole.errors
