"""Equalising: both classes end up alike, lengths and limits hold, and the speech stays where it was."""

import json
from pathlib import Path

import numpy as np
import pytest
from building import write_wav
from datasets import load_from_disk

from data_prep.__main__ import main
from data_prep.chunks import Chunk, ChunkingOptions
from data_prep.equalise import EqualiseOptions, equalised, trim
from deepfake.audio.decode import SAMPLING_RATE, load_audio
from deepfake.audio.measures import measure
from deepfake.errors import UserError

EXAMPLES = Path(__file__).parents[1] / "examples/recordings"


def talk() -> np.ndarray:
    return load_audio(EXAMPLES / "real/vctk_p226.wav")[SAMPLING_RATE : 7 * SAMPLING_RATE]


@pytest.mark.parametrize("gain", [0.02, 0.3, 1.0])
def test_every_level_becomes_the_target_unless_it_would_clip(gain):
    after = measure(equalised(gain * talk(), EqualiseOptions(("level",), level_dbfs=-26)))
    assert after.level_dbfs == pytest.approx(-26, abs=0.2)
    loud = equalised(gain * talk(), EqualiseOptions(("level",), level_dbfs=-10))
    assert np.abs(loud).max() <= 0.891


@pytest.mark.parametrize("band_hz", [3400, 7000])
def test_the_band_ends_at_the_edge_and_dc_is_gone(band_hz):
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * SAMPLING_RATE).astype(np.float32) + np.float32(0.05)
    after = equalised(noise, EqualiseOptions(("band",), band_hz=band_hz))
    assert measure(after).bandwidth_hz == pytest.approx(band_hz, rel=0.04)
    assert abs(float(after[SAMPLING_RATE:].mean())) < 1e-3
    power = np.abs(np.fft.rfft(after)) ** 2
    frequencies = np.fft.rfftfreq(len(after), 1 / SAMPLING_RATE)
    passed = power[(frequencies > 200) & (frequencies < 0.95 * band_hz)].mean()
    assert 10 * np.log10(power[frequencies > 1.06 * band_hz].mean() / passed) < -55


def test_the_codec_changes_samples_but_not_their_place_or_number():
    samples = talk()
    after = equalised(samples, EqualiseOptions(("codec",)))
    assert after.shape == samples.shape
    assert after.dtype == np.float32
    spectrum = np.fft.rfft(samples, 2 * len(samples)) * np.conj(np.fft.rfft(after, 2 * len(samples)))
    assert abs(int(np.fft.irfft(spectrum).argmax())) == 0, "shifted in time"
    assert 0.9 < np.corrcoef(samples, after)[0, 1] < 1


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.0), (0.4, 0.1), (2.0, 2.0)])
def test_trimming_leaves_sound_at_both_edges_and_at_least_the_minimum(before, after):
    speech = talk()[:24_000]  # 1.5 s
    for options in (ChunkingOptions(), ChunkingOptions(min_s=1)):
        silence = [np.zeros(round(s * SAMPLING_RATE), np.float32) for s in (before, after)]
        waveform = np.concatenate([np.zeros(5_000, np.float32), silence[0], speech, silence[1]])
        chunk = Chunk(5_000, len(waveform) - 5_000)
        result = trim(chunk, chunk.cut(waveform), options)
        assert chunk.start_sample <= result.start_sample <= result.stop_sample <= chunk.stop_sample
        assert result.n_samples >= min(options.min_samples, chunk.n_samples)
        if options.min_s == 1 and before:
            assert measure(result.cut(waveform)).leading_silence_s <= 0.03


def test_nothing_asked_changes_nothing():
    np.testing.assert_array_equal(equalised(talk(), EqualiseOptions()), talk())


@pytest.mark.parametrize("wrong", [{"steps": ("loud",)}, {"band_hz": 8000}, {"level_dbfs": 3}])
def test_wrong_targets_are_refused(wrong):
    with pytest.raises(UserError, match="expected"):
        EqualiseOptions(**wrong)


def test_build_takes_away_what_told_the_classes_apart(tmp_path):
    corpus = tmp_path / "corpus"
    for label, name, gain in (("real", "vctk_p225.mp3", 1.0), ("fake", "kokoro_bf_alice.mp3", 0.05)):
        samples = load_audio(EXAMPLES / label / name)
        for index in range(3):
            part = samples[index * 10 * SAMPLING_RATE : (index + 1) * 10 * SAMPLING_RATE]
            write_wav(corpus / label / f"{index}.wav", gain * part)
    output = tmp_path / "out"
    arguments = ["build", str(corpus), "--output", str(output), "--workers", "1", "--equalise", "trim", "band", "level"]
    assert main(arguments) == 0
    rows = [row for data in load_from_disk(str(output)).values() for row in data]
    levels = [measure(load_audio(row["audio"]["bytes"])).level_dbfs for row in rows]
    assert {row["label"] for row in rows} == {0, 1}
    assert np.ptp(levels) < 1.0
    assert all(2.5 <= row["duration_s"] <= 13 for row in rows)
    assert json.loads((output / "report.json").read_text())["options"]["equalise"]["steps"] == ["trim", "band", "level"]
