"""The score: equal to the published usage, invariant under batching, over the whole recording, never invented."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import librosa
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import RECORDINGS, run, save_tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from deepfake.audio.decode import AudioError, encode_flac
from deepfake.audio.windows import iter_windows
from deepfake.errors import UserError
from deepfake.scoring.result import COLUMNS
from infer import Detector, main

RATE = 16_000


def published_usage(path: Path, model_name: Path) -> float:
    """The usage section of the published model card, typed out again: P(fake) of one clip."""
    model = AutoModelForAudioClassification.from_pretrained(model_name)
    feature_extractor = AutoFeatureExtractor.from_pretrained(model_name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    model.eval()
    audio, _ = librosa.load(path, sr=16000, mono=True)
    inputs = feature_extractor(audio, sampling_rate=16000, return_tensors="pt", padding=True)
    inputs = {k: v.to(device) for k, v in inputs.items()}
    with torch.no_grad():
        logits = model(**inputs).logits
        probs = torch.nn.functional.softmax(logits, dim=-1)
    return probs[0][1].item()


def clip(speech: np.ndarray, start_s: float, stop_s: float) -> bytes:
    return encode_flac(speech[round(start_s * RATE) : round(stop_s * RATE)])


@pytest.mark.parametrize("seconds", [2.5, 7.3, 13.0])
def test_equals_published_usage(seconds: float, speech: np.ndarray, tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.flac"
    path.write_bytes(clip(speech, 1.0, 1.0 + seconds))
    score = Detector.from_pretrained(tiny_checkpoint).score(path)
    assert score.windows == 1
    assert score.fake_probability == pytest.approx(published_usage(path, tiny_checkpoint), abs=1e-5)
    assert score.max_window == score.fake_probability


def test_equals_published_usage_on_44_khz_stereo(tiny_checkpoint: Path, tmp_path: Path) -> None:
    import soundfile

    samples, rate = soundfile.read(RECORDINGS / "real" / "vctk_p226.wav")
    assert (rate, samples.shape[1]) == (44_100, 2)
    samples[:, 1] *= 0.3
    path = tmp_path / "stereo.wav"
    soundfile.write(path, samples[: 8 * rate], rate)
    score = Detector.from_pretrained(tiny_checkpoint).score(path)
    assert score.fake_probability == pytest.approx(published_usage(path, tiny_checkpoint), abs=1e-5)


def test_clips_do_not_change_each_other_in_a_batch(speech: np.ndarray, tiny_checkpoint: Path) -> None:
    detector = Detector.from_pretrained(tiny_checkpoint)
    clips = [speech[: 3 * RATE], speech[RATE : 12 * RATE], speech[5 * RATE : 9 * RATE]]
    single = np.concatenate([detector.fake_logits([c]) for c in clips])
    np.testing.assert_allclose(detector.fake_logits(clips), single, atol=1e-4)
    assert np.ptp(single) > 0.1  # otherwise this would hold for a constant


def test_group_norm_models_are_never_padded(speech: np.ndarray, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "group", feat_extract_norm="group", do_stable_layer_norm=False)
    detector = Detector.from_pretrained(folder)
    clips = [speech[: 3 * RATE], speech[RATE : 12 * RATE]]
    single = np.concatenate([detector.fake_logits([c]) for c in clips])
    np.testing.assert_allclose(detector.fake_logits(clips), single, atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.integers(1, 100), st.data(), st.lists(st.integers(1, 60), max_size=12))
def test_windows_cover_everything_whatever_the_blocks(
    length: int, window: int, data: st.DataObject, sizes: list[int]
) -> None:
    hop = data.draw(st.integers(1, window))
    samples = np.arange(length, dtype=np.float32)
    edges = np.minimum(np.cumsum([0, *sizes, length]), length)
    blocks = [samples[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    windows = list(iter_windows(blocks, window, hop))
    if length <= window:
        assert [list(w.samples) for w in windows] == ([list(samples)] if length else [])
        return
    starts = [w.start for w in windows]
    assert all((w.samples == np.arange(w.start, w.start + window)).all() for w in windows)
    assert starts == [*range(0, length - window, hop), length - window]


def test_long_recording_is_the_mean_logit_of_its_windows(speech: np.ndarray, tiny_checkpoint: Path) -> None:
    detector = Detector.from_pretrained(tiny_checkpoint, batch_size=2)
    score = detector.score(speech, RATE)
    starts = [0, round(6.5 * RATE), len(speech) - 13 * RATE]
    logits = [detector.fake_logits([speech[s : s + 13 * RATE]])[0] for s in starts]
    assert score.windows == 3
    assert score.fake_probability == pytest.approx(1 / (1 + np.exp(-np.mean(logits))), abs=1e-5)
    assert score.max_window == pytest.approx(1 / (1 + np.exp(-np.max(logits))), abs=1e-5)


def test_silent_stretches_are_not_scored(speech: np.ndarray, tiny_checkpoint: Path) -> None:
    detector = Detector.from_pretrained(tiny_checkpoint)
    padded = np.concatenate([speech[: 13 * RATE], np.zeros(60 * RATE, np.float32)])
    assert detector.score(padded, RATE).windows == 2  # at 0 and 6.5 s; the other ten windows are silent


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(5 * RATE, np.float32), "no_speech"),
        (np.random.default_rng(0).normal(0, 0.1, 5 * RATE).astype(np.float32), "no_speech"),
        (np.full(5 * RATE, 0.5, np.float32), "no_speech"),
        (np.ones(RATE // 100, np.float32), "too short: 0.010 s"),
        (np.full(RATE, np.nan, np.float32), "NaN"),
    ],
)
def test_no_confident_score_without_speech(samples: np.ndarray, reason: str, tiny_checkpoint: Path) -> None:
    with pytest.raises(AudioError, match=reason):
        Detector.from_pretrained(tiny_checkpoint).score(samples, RATE)


def test_polarity_follows_the_names(speech: np.ndarray, tmp_path: Path) -> None:
    usual = Detector.from_pretrained(save_tiny(tmp_path / "a"))
    swapped = {"id2label": {0: "spoof", 1: "bonafide"}, "label2id": {"spoof": 0, "bonafide": 1}}
    inverted = Detector.from_pretrained(save_tiny(tmp_path / "b", **swapped))
    excerpt = speech[: 4 * RATE]
    assert inverted.score(excerpt, RATE).fake_probability == pytest.approx(
        1 - usual.score(excerpt, RATE).fake_probability, abs=1e-9
    )
    unnamed = save_tiny(tmp_path / "c", id2label={0: "LABEL_0", 1: "LABEL_1"}, label2id={"LABEL_0": 0, "LABEL_1": 1})
    with pytest.raises(UserError, match="does not say which one is fake"):
        Detector.from_pretrained(unnamed)
    told = Detector.from_pretrained(unnamed, fake_label="LABEL_1").score(excerpt, RATE)
    assert told.fake_probability == pytest.approx(usual.score(excerpt, RATE).fake_probability, abs=1e-9)


def test_threshold_is_the_stored_one_unless_given(speech: np.ndarray, tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert Detector.from_pretrained(tiny_checkpoint).threshold == 0.4
    given_one = Detector.from_pretrained(tiny_checkpoint, threshold=0.0)
    assert given_one.score(speech[: 4 * RATE], RATE).prediction == "fake"
    without = Detector.from_pretrained(save_tiny(tmp_path / "bare"))
    assert (without.threshold, without.threshold_is_default) == (0.5, True)


def test_a_checkpoint_without_a_trained_head_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = AutoModelForAudioClassification.from_pretrained(tiny_checkpoint)
    model.wav2vec2.save_pretrained(tmp_path / "encoder")
    AutoFeatureExtractor.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path / "encoder")
    with pytest.raises(UserError, match="lacks weights for classifier"):
        Detector.from_pretrained(tmp_path / "encoder")


@pytest.fixture(scope="module")
def mixed_folder(tmp_path_factory: pytest.TempPathFactory, speech: np.ndarray) -> Path:
    """Good files beside bad ones, under awkward names."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "sub").mkdir()
    (folder / "a.flac").write_bytes(clip(speech, 0, 4))
    (folder / "sub" / "Größe, 音声.flac").write_bytes(clip(speech, 4, 9))
    (folder / "sub" / "wrong.mp3").write_bytes(clip(speech, 9, 12))  # FLAC inside
    (folder / "empty.wav").write_bytes(b"")
    (folder / "garbage.ogg").write_bytes(bytes(range(256)) * 40)
    (folder / "cut.m4a").write_bytes((RECORDINGS / "real" / "asterisk_allison_en.m4a").read_bytes()[:2000])
    (folder / "silence.flac").write_bytes(encode_flac(np.zeros(3 * RATE, np.float32)))
    (folder / "notes.txt").write_text("not audio")
    (folder / "loop").symlink_to(folder)
    return folder


def test_folder_is_scored_whole_and_bad_files_have_errors(
    mixed_folder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    rows = {}
    for name in ("scores.csv", "scores.jsonl", "scores.parquet"):
        run(sys.executable, "infer.py", mixed_folder, "--model", tiny_checkpoint, "--output", tmp_path / name, check=1)
        path = tmp_path / name
        if name.endswith("csv"):
            rows[name] = list(csv.DictReader(path.open(encoding="utf-8")))
        elif name.endswith("jsonl"):
            rows[name] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        else:
            rows[name] = pq.read_table(path).to_pylist()
        assert tuple(rows[name][0]) == COLUMNS
    good = {"a.flac", "Größe, 音声.flac", "wrong.mp3"}
    for row in rows["scores.jsonl"]:
        scored = row["fake_probability"] is not None
        assert scored == (Path(row["path"]).name in good)
        assert scored == (row["error"] is None) == (row["prediction"] in ("real", "fake")) == (row["windows"] > 0)
    assert len(rows["scores.jsonl"]) == 7
    assert rows["scores.parquet"] == rows["scores.jsonl"]
    from_csv = [None if r["fake_probability"] == "" else float(r["fake_probability"]) for r in rows["scores.csv"]]
    assert from_csv == [r["fake_probability"] for r in rows["scores.jsonl"]]


def test_results_on_stdout_diagnostics_on_stderr(mixed_folder: Path, tiny_checkpoint: Path) -> None:
    done = run(sys.executable, "infer.py", mixed_folder / "a.flac", "--model", tiny_checkpoint, "--threshold", "0")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [r["prediction"] for r in rows] == ["fake"]
    assert "1 file: 1 fake" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.wav", "--model", "MODEL"], "nowhere.wav"),
        (["AUDIO", "--model", "runs/a/b/nowhere"], "there is no model at runs/a/b/nowhere"),
        (["AUDIO", "--model", "EMPTY"], "it has no config.json"),
        (["AUDIO", "--model", "NOWEIGHTS"], "holds no weights"),
        (["AUDIO", "--model", "MODEL", "--output", "x.xlsx"], "expected .csv, .jsonl or .parquet"),
        (["AUDIO", "--model", "MODEL", "--threshold", "7"], "expected a probability from 0 to 1"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(
    arguments: list[str], sentence: str, mixed_folder: Path, tiny_checkpoint: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from infer import main

    (tmp_path / "empty").mkdir()
    (tmp_path / "noweights").mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / "noweights" / name).write_bytes((tiny_checkpoint / name).read_bytes())
    stands_for = {
        "MODEL": tiny_checkpoint, "AUDIO": mixed_folder / "a.flac",
        "EMPTY": tmp_path / "empty", "NOWEIGHTS": tmp_path / "noweights",
    }  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["infer.py", *(str(stands_for.get(a, a)) for a in arguments)])
    assert main() == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert sentence in errors[0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "no audio files in empty; name a recording"),
        (("--include", "*.wav"), "no audio files in empty that --include and --exclude leave"),
    ],
)
def test_an_empty_folder_is_one_sentence(
    options: tuple[str, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["infer.py", "empty", *options])
    assert main() == 2
    assert sentence in capsys.readouterr().err


def test_a_device_that_is_not_there_is_one_sentence(tiny_checkpoint: Path) -> None:
    with pytest.raises(UserError, match="PyTorch cannot use the device cuda:99 here"):
        Detector.from_pretrained(tiny_checkpoint, device="cuda:99")


def test_help_and_mistakes_do_not_wait_for_pytorch() -> None:
    told = run(sys.executable, "-X", "importtime", "infer.py", "--help")
    assert "fake_probability" in told.stdout
    assert "deepfake.scoring.arguments" in told.stderr
    assert " torch" not in told.stderr
    told = run(sys.executable, "-X", "importtime", "infer.py", "x.wav", "--threshold", "3", check=2)
    assert "expected a probability from 0 to 1" in told.stderr
    assert " torch" not in told.stderr
