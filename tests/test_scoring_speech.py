"""Which recordings hold speech, who may overrule that, and that a stream and a file agree about it."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import run, save_tiny

from deepfake.audio.decode import AudioError, encode_flac
from deepfake.audio.vad import SPEECH_THRESHOLD, faint_speech, speech_probabilities
from deepfake.scoring.clips import _readings
from deepfake.scoring.detector import Detector
from deepfake.scoring.result import Score
from deepfake.scoring.stream import StreamingDetector
from deepfake.scoring.verdict import verdict

RATE = 16_000
SHORT = {"threshold": 0.4, "window_s": 1.5, "hop_s": 0.7}
OFF = "speech detection off: all of it was scored as if it were speech"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("speech") / "model", detector=SHORT)


@pytest.fixture(scope="module")
def silence_then_noise() -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
    return np.concatenate((np.zeros(3 * RATE, np.float32), noise))


def test_switched_off_every_window_is_scored_and_the_row_says_so(model: Path, silence_then_noise: np.ndarray) -> None:
    detector = Detector.from_pretrained(model, speech_detection="off")
    with pytest.raises(AudioError, match="no_speech"):
        Detector.from_pretrained(model).score(silence_then_noise, RATE)
    result = detector.analyse(silence_then_noise, RATE, with_timeline=False)
    row = detector.row(result, "a.wav")
    starts = [*range(0, len(silence_then_noise) - round(1.5 * RATE), round(0.7 * RATE)), round(3.5 * RATE)]
    logits = [detector.fake_logits([silence_then_noise[s : s + round(1.5 * RATE)]])[0] for s in starts]
    assert row.windows == len(starts) == 6
    assert result.logit == pytest.approx(np.mean(logits), abs=1e-4)
    assert row.warnings == (OFF,)
    told = " ".join(verdict(row, detector.decision, result).split())
    assert f"warning {OFF}" in told
    assert "recording 5.0 s, all of it taken for speech" in told
    with pytest.raises(AudioError, match="too short"):
        detector.score(silence_then_noise[:4000], RATE)
    assert "too little to judge by" in detector.score(silence_then_noise[:RATE], RATE).warnings[1]


def test_where_all_is_speech_it_changes_nothing_but_the_warning(model: Path, speech: np.ndarray) -> None:
    clip = speech[RATE : 4 * RATE]
    heard, whole = (
        Detector.from_pretrained(model, speech_detection=choice).score(clip, RATE) for choice in ("auto", "off")
    )
    assert (whole.fake_probability, whole.windows) == (heard.fake_probability, heard.windows)
    assert (heard.warnings, whole.warnings) == ((), (OFF,))


def test_streams_and_datasets_take_the_detectors_choice(model: Path, silence_then_noise: np.ndarray) -> None:
    detector = Detector.from_pretrained(model, speech_detection="off")
    expected = detector.score(silence_then_noise, RATE)
    for hearing in (detector, Detector.from_pretrained(model)):
        stream = StreamingDetector(hearing, speech_detection="off")
        for start in range(0, len(silence_then_noise), 5000):
            stream.feed(silence_then_noise[start : start + 5000])
        score = stream.finish()
        assert score.fake_probability == pytest.approx(expected.fake_probability, abs=1e-6)
        assert (score.windows, score.warnings) == (expected.windows, (OFF,))
    (result,) = detector.analyse_readings(_readings_of(silence_then_noise, "off"))
    assert result.logit == pytest.approx(np.log(expected.fake_probability / (1 - expected.fake_probability)), abs=1e-3)


def _readings_of(samples: np.ndarray, detection: str) -> object:
    from datasets import Dataset

    rows = Dataset.from_dict({"audio": [{"bytes": encode_flac(samples), "path": "a.flac"}]})
    return _readings(rows, None, detection)


def test_the_command_scores_what_it_would_refuse_and_its_record_knows(
    tmp_path: Path, model: Path, silence_then_noise: np.ndarray
) -> None:
    file, output = tmp_path / "quiet.flac", tmp_path / "scores.csv"
    file.write_bytes(encode_flac(silence_then_noise))
    score = (sys.executable, "infer.py", file, "--model", model, "--output", output)
    run(*score, check=1)
    run(*score, "--speech-detection", "off", "--overwrite")
    with output.open(newline="") as rows:
        (row,) = csv.DictReader(rows)
    assert row["warnings"] == OFF
    assert float(row["fake_probability"]) >= 0
    assert json.loads((tmp_path / "scores.csv.meta.json").read_text())["speech_detection"] == "off"
    refused = run(*score, "--resume", check=2)
    assert "made otherwise (speech detection off, now auto)" in refused.stderr


def quiet(samples: np.ndarray, gain_db: float) -> np.ndarray:
    """As a recorder of 16 bits would have kept it."""
    return (np.rint(samples * 10 ** (gain_db / 20) * 32768) / 32768).astype(np.float32)


FAINT = "faint speech: it was only heard in a second look, which is more sensitive"


def streamed(detector: Detector, samples: np.ndarray, update_s: float | None = None) -> Score:
    stream = StreamingDetector(detector, update_s=update_s)
    for start in range(0, len(samples), 7777):
        stream.feed(samples[start : start + 7777])
    return stream.finish()


@pytest.mark.parametrize("model_of", ["tiny", "box"])
def test_speech_too_faint_for_the_first_look_is_heard_and_told(model_of: str, model: Path, speech: np.ndarray) -> None:
    detector = Detector.from_pretrained(model if model_of == "tiny" else None)
    clip = speech[: 14 * RATE]
    faint = quiet(clip, -57)
    assert np.count_nonzero(speech_probabilities(faint) >= SPEECH_THRESHOLD) < 8
    heard, loud = detector.score(faint, RATE), detector.score(clip, RATE)
    assert heard.warnings[0] == FAINT
    assert FAINT not in loud.warnings
    assert 0.5 * loud.windows <= heard.windows <= loud.windows
    if model_of == "box":
        assert heard.fake_probability == pytest.approx(loud.fake_probability, abs=0.1)
    for update_s in (None, 1.0):
        live = streamed(detector, faint, update_s)
        assert live.fake_probability == pytest.approx(heard.fake_probability, abs=1e-6)
        assert (live.windows, live.max_window) == (heard.windows, pytest.approx(heard.max_window, abs=1e-6))
        assert FAINT in live.warnings


def test_a_recording_with_speech_for_the_first_look_is_never_looked_at_again(model: Path, speech: np.ndarray) -> None:
    """Faint speech before it and after it changes nothing, with a timeline or without."""
    detector = Detector.from_pretrained(model, batch_size=2)
    plain = speech[RATE : 4 * RATE]
    silence, faint = np.zeros(8 * RATE, np.float32), quiet(speech[: 8 * RATE], -57)
    first, second = (detector.analyse(np.concatenate((before, plain, before)), RATE) for before in (silence, faint))
    assert second.windows == first.windows
    assert not second.faint
    starts = sorted(window.start for window in first.scored)
    assert sorted(window.start for window in second.scored) == starts
    scored = ~np.isnan(second.timeline.logits)
    assert np.array_equal(scored, ~np.isnan(first.timeline.logits))
    assert second.timeline.contributions.sum() == pytest.approx(second.logit, abs=1e-9)
    live = streamed(detector, np.concatenate((faint, plain, faint)), 0.5)
    assert live.windows == second.windows
    assert live.fake_probability == pytest.approx(1 / (1 + np.exp(-second.logit)), abs=1e-6)


def sounds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    time = np.arange(6 * RATE) / RATE
    white = rng.normal(size=len(time))
    spectrum = np.fft.rfft(white)
    pink = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1.0), len(time))
    hum = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in range(1, 12))
    return {
        "silence": np.zeros(len(time)), "white": white, "pink": pink, "hum": hum,
        "tone": np.sin(2 * np.pi * 440 * time), "sweep": np.sin(2 * np.pi * (100 * time + 100 * time**2)),
        "beeps": np.sin(2 * np.pi * 1000 * time) * (time % 0.6 < 0.2), "clicks": white * (rng.random(len(time)) < 1e-4),
        "dither": rng.uniform(-1, 1, len(time)),
    }  # fmt: skip


@pytest.mark.parametrize("level_dbfs", [-20, -50, -75])
def test_noise_tones_and_silence_are_no_speech_at_any_level(level_dbfs: float, model: Path) -> None:
    detector = Detector.from_pretrained(model)
    for name, samples in sounds().items():
        level = 10 ** (level_dbfs / 20) / max(float(np.sqrt(np.mean(samples**2))), 1e-9)
        samples = (np.rint(samples * level * 32768) / 32768).astype(np.float32)
        with pytest.raises(AudioError, match="no_speech"):
            pytest.fail(f"{name}: {detector.score(samples, RATE)}")


def test_the_second_look_brings_a_stretch_to_one_level(speech: np.ndarray) -> None:
    clip = speech[: 5 * RATE]
    heard = faint_speech(clip)
    for gain_db in (-40, -57):
        assert np.mean(faint_speech(quiet(clip, gain_db)) == heard) > 0.8
    assert not faint_speech(np.zeros(RATE, np.float32)).any()
    assert not faint_speech(clip * np.float32(1e-6)).any()  # below what 16 bits hold
    assert faint_speech(np.zeros(0, np.float32)).shape == (0,)
