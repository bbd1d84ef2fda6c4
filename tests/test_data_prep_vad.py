"""The VAD equals the stock streaming model, and costs a worker neither torch nor datasets."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soxr

from data_prep.chunking import chunk_recording
from data_prep.chunks import ChunkingOptions
from deepfake.audio import vad, vad_batch
from deepfake.audio.decode import SAMPLING_RATE, load_audio
from deepfake.audio.vad import FRAME_SAMPLES, SPEECH_THRESHOLD, speech_probabilities

RECORDINGS = sorted((Path(__file__).parents[1] / "examples/recordings").glob("*/*.*"))
ROOT = Path(__file__).parents[1]
SPEECH = ROOT / "examples/recordings/real/vctk_p226.wav"


@pytest.fixture(scope="module")
def waveform():
    return load_audio(SPEECH)


def test_equals_the_stock_streaming_model(waveform):
    silero_vad = pytest.importorskip("silero_vad")
    torch = pytest.importorskip("torch")
    waveform = waveform[: 18 * 16_000 + 100]  # over one block of 512 frames, and a last frame that is not whole
    model = silero_vad.load_silero_vad(onnx=True)
    padded = np.pad(waveform, (0, -len(waveform) % FRAME_SAMPLES))
    stock = [float(model(torch.from_numpy(frame), 16_000)) for frame in padded.reshape(-1, FRAME_SAMPLES)]
    ours = speech_probabilities(waveform)
    assert ours.shape == (len(stock),)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, stock, atol=1e-3)


def test_the_second_look_equals_the_stock_model_at_8_khz(waveform):
    silero_vad = pytest.importorskip("silero_vad")
    torch = pytest.importorskip("torch")
    narrow = soxr.resample(waveform[: 4 * SAMPLING_RATE], SAMPLING_RATE, 8_000, "HQ")
    model = silero_vad.load_silero_vad(onnx=True)
    stock = [float(model(torch.from_numpy(frame), 8_000)) for frame in narrow.reshape(-1, FRAME_SAMPLES // 2)]
    np.testing.assert_allclose(vad._narrow_probabilities(narrow), stock, atol=1e-4)


def test_is_deterministic_and_independent_of_how_the_samples_are_stored(waveform, tmp_path):
    waveform.tofile(tmp_path / "samples")
    mapped = np.memmap(tmp_path / "samples", dtype=np.float32, mode="r")
    np.testing.assert_array_equal(speech_probabilities(waveform), speech_probabilities(mapped))


def test_it_tells_speech_from_silence_and_noise(waveform):
    def speech_s(samples):
        return (speech_probabilities(samples) >= SPEECH_THRESHOLD).sum() * FRAME_SAMPLES / 16_000

    assert speech_s(waveform) > 10
    assert speech_s(np.random.default_rng(0).normal(0, 0.1, 80_000).astype(np.float32)) < 0.2
    assert speech_s(np.zeros(80_000, np.float32)) == 0
    assert speech_s(np.zeros(0, np.float32)) == 0


def test_a_worker_imports_neither_torch_nor_datasets():
    code = (
        "import sys, numpy, data_prep.__main__, data_prep.recording, data_prep.workers, deepfake.audio.vad\n"
        "deepfake.audio.vad.speech_probabilities(numpy.zeros(512, numpy.float32))\n"
        "print(sorted({'torch', 'datasets', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("skip", [0, 5, 40])
def test_listening_until_it_is_sure_gives_the_answer_of_listening_to_all(speech, skip):
    clip = speech[: 4 * SAMPLING_RATE]
    spoken = int(np.count_nonzero(vad.speech_probabilities(clip)[skip:] >= vad.SPEECH_THRESHOLD))
    assert spoken > 20
    answers = {count: vad.holds_speech(clip, count, skip) for count in (0, 1, spoken, spoken + 1, 10_000)}
    assert answers == {0: True, 1: True, spoken: True, spoken + 1: False, 10_000: False}


def test_no_more_is_heard_than_the_answer_takes(speech, monkeypatch):
    heard = []
    listen = vad._listen
    monkeypatch.setattr(vad, "_listen", lambda w, n: (heard.append(len(piece)) or piece for piece in listen(w, n)))
    assert vad.holds_speech(speech, 10)
    assert sum(heard) * vad.FRAME_SAMPLES < len(speech) / 4


def _varied() -> list[np.ndarray]:
    """Stretches of speech at several levels, of noise, of a tone and of nothing, of several lengths."""
    random = np.random.default_rng(3)
    stretches = []
    for index, path in enumerate(RECORDINGS[::2]):
        clip = load_audio(path)
        start = int(random.integers(0, len(clip) - 4 * SAMPLING_RATE))
        stretches.append(clip[start:][: int(random.integers(500, 4 * SAMPLING_RATE))] * np.float32(0.1 ** (index % 3)))
    stretches.append(random.normal(0, 0.1, 30_000).astype(np.float32))
    stretches.append(np.sin(np.arange(25_000, dtype=np.float32)))
    return [*stretches, np.zeros(20_000, np.float32), np.zeros(0, np.float32)]


def test_many_stretches_at_once_get_the_probabilities_of_each_alone():
    stretches = [stretch for stretch in _varied() if len(stretch) >= 10 * FRAME_SAMPLES]
    state = np.zeros((len(stretches), 128), np.float32)
    logits, _, _ = vad_batch._network()(vad_batch._frames(stretches, 0, 10), state, state)
    for stretch, found in zip(stretches, logits, strict=True):
        expected = speech_probabilities(stretch[: 10 * FRAME_SAMPLES])
        np.testing.assert_allclose(1 / (1 + np.exp(-found)), expected, atol=vad_batch._DOUBT / 100)


@pytest.mark.parametrize("doubt", [vad_batch._DOUBT, 4.0])
def test_many_stretches_at_once_get_the_answers_of_each_alone_or_none(monkeypatch, doubt):
    monkeypatch.setattr(vad_batch, "_DOUBT", doubt)
    stretches, open_ = _varied(), 0
    for needed in (0, 1, 3, 12, 40):
        counts = [needed] * len(stretches)
        found = vad_batch.hold_speech(stretches, counts)
        open_ += found.count(None)
        for stretch, answer in zip(stretches, found, strict=True):
            assert answer in (None, vad.holds_speech(stretch, needed))
    assert open_ == 0 if doubt < 1 else open_ > 0  # a wide doubt leaves some to the reference, ours none of these


@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_chunks_are_those_of_the_reference_alone(monkeypatch, share):
    options = ChunkingOptions(min_speech_share=share, max_gap_ms=500)
    heard = [np.concatenate([part for part in _varied() for _ in range(2)]), *map(load_audio, RECORDINGS[:4])]
    ours = [chunk_recording(waveform, options) for waveform in heard]
    assert any(chunking.chunks for chunking in ours)
    monkeypatch.setattr(vad_batch, "hold_speech", lambda stretches, n_frames: [None] * len(stretches))
    assert ours == [chunk_recording(waveform, options) for waveform in heard]
