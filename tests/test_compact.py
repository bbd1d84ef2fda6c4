"""The compact architecture: loads anywhere, does not mind padding or company, measures what it says it measures."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RECORDINGS, run
from transformers import (
    AutoModelForAudioClassification,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperForAudioClassification,
    set_seed,
)
from transformers.audio_utils import mel_filter_bank

from compact import CompactConfig, CompactForAudioClassification
from compact.statistics_compact import levelled, log_mel
from data_prep.audio import load_audio
from data_prep.errors import UserError
from scoring.detector import Detector
from scoring.inputs import padding_invariant, uses_padding_mask
from training.convex_run import load_convolutions

# What a stranger runs: no project on the path.
REMOTE = """
import sys, numpy as np, torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline
assert not any(name.split(".")[0] == "compact" for name in sys.modules)
folder, wave = sys.argv[1:]
audio = np.load(wave)
model = AutoModelForAudioClassification.from_pretrained(folder, trust_remote_code=True).eval()
extractor = AutoFeatureExtractor.from_pretrained(folder)
inputs = extractor(audio, sampling_rate=16000, return_tensors="pt", padding=True)
with torch.no_grad():
    logits = model(**inputs).logits
told = pipeline("audio-classification", model=folder, trust_remote_code=True)({"raw": audio, "sampling_rate": 16000})
fake = {one["label"]: one["score"] for one in told}["fake"]
print(*logits[0].tolist(), fake)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained compact detector with a head that reacts to everything."""
    set_seed(0)
    model = CompactForAudioClassification(CompactConfig(channels=32, layers=2, attention_heads=4, inner_width=64))
    for head in model.heads.values():
        torch.nn.init.normal_(head.weight, std=0.1)
    folder = tmp_path_factory.mktemp("compact") / "model"
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> CompactForAudioClassification:
    return AutoModelForAudioClassification.from_pretrained(checkpoint).eval()


@pytest.fixture(scope="module")
def clips() -> list[torch.Tensor]:
    speech = load_audio(RECORDINGS / "real" / "vctk_p226.wav")
    return [torch.tensor(speech[s : s + n]) for s, n in ((0, 30_000), (40_000, 64_123), (110_000, 16_001))]


def logits_of(model: CompactForAudioClassification, clips: list[torch.Tensor], filler: float = 0.0) -> torch.Tensor:
    batch = torch.full((len(clips), max(map(len, clips)) + 500), filler)
    mask = torch.zeros_like(batch, dtype=torch.long)
    for row, clip in enumerate(clips):
        batch[row, : len(clip)], mask[row, : len(clip)] = clip, 1
    with torch.no_grad():
        return model(batch, attention_mask=mask).logits


def test_padding_company_and_order_change_nothing(model: CompactForAudioClassification, clips: list) -> None:
    with torch.no_grad():
        alone = torch.cat([model(clip[None]).logits for clip in clips])
    assert torch.allclose(logits_of(model, clips), alone, atol=1e-5)
    assert torch.allclose(logits_of(model, clips, filler=0.7), alone, atol=1e-5)
    assert torch.allclose(logits_of(model, clips[::-1]).flip(0), alone, atol=1e-5)
    assert len({round(float(value), 3) for value in alone[:, 1]}) == len(clips)


def test_clips_share_the_cores_without_changing_a_bit(model: CompactForAudioClassification, clips: list) -> None:
    alone = logits_of(model, clips)
    torch.set_num_threads(2)
    try:
        assert torch.equal(logits_of(model, clips), alone)
        assert torch.get_num_threads() == 2  # as it was before
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(1)


def test_level_hardly_matters(model: CompactForAudioClassification, clips: list) -> None:
    with torch.no_grad():
        assert torch.allclose(model(clips[0][None]).logits, model(0.5 * clips[0][None]).logits, atol=0.05)


def test_saved_and_loaded_it_says_the_same(model: CompactForAudioClassification, clips: list, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(logits_of(again, clips), logits_of(model, clips))


@pytest.mark.parametrize("samples", [0, 1, 300, 5000])
def test_silence_and_scraps_give_finite_logits(model: CompactForAudioClassification, samples: int) -> None:
    clip = torch.zeros(1, max(samples, 1))
    assert torch.isfinite(model(clip).logits).all()


def test_only_the_heads_learn(model: CompactForAudioClassification, clips: list) -> None:
    fresh = CompactForAudioClassification(model.config)
    fresh(clips[0][None], labels=torch.tensor([1])).loss.backward()
    learned = {name for name, p in fresh.named_parameters() if p.grad is not None}
    heads = ("conv", "spectrum", "layer1", "layer2")
    assert learned == {f"heads.{head}.{part}" for head in heads for part in ("weight", "bias")}


def test_a_stranger_loads_it_and_hears_the_same(
    checkpoint: Path, model: CompactForAudioClassification, clips: list, tmp_path: Path
) -> None:
    np.save(tmp_path / "clip.npy", clips[1].numpy())
    done = run(
        sys.executable, "-c", REMOTE, checkpoint, tmp_path / "clip.npy",
        cwd=tmp_path, PYTHONPATH="", HF_MODULES_CACHE=str(tmp_path / "modules"),
    )  # fmt: skip
    real, fake, probability = map(float, done.stdout.split())
    with torch.no_grad():
        expected = model(clips[1][None]).logits[0]
    assert (real, fake) == pytest.approx(expected.tolist(), abs=1e-5)
    assert probability == pytest.approx(float(expected.softmax(0)[1]), abs=1e-5)


def test_our_scorer_treats_it_as_a_masked_waveform_model(
    checkpoint: Path, model: CompactForAudioClassification, clips: list
) -> None:
    assert uses_padding_mask(model.config)
    assert padding_invariant(model.config)
    scores = Detector.from_pretrained(checkpoint).fake_logits([clip.numpy() for clip in clips])
    expected = logits_of(model, clips)
    assert np.allclose(scores, (expected[:, 1] - expected[:, 0]).numpy(), atol=1e-5)


def numpy_frames(samples: np.ndarray, fft: int, hop: int) -> np.ndarray:
    """|DFT| of centred, Hann-windowed frames, (bins, frames), in float64 without torch."""
    padded = np.pad(samples.astype(np.float64), fft // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fft) / fft)
    starts = range(0, len(padded) - fft + 1, hop)
    return np.abs(np.stack([np.fft.rfft(window * padded[s : s + fft]) for s in starts], axis=1))


def test_spectrum_statistics_equal_a_plain_recomputation(model: CompactForAudioClassification, clips: list) -> None:
    samples = levelled(clips[0], model.config).numpy()
    magnitude = numpy_frames(samples, 512, 128)
    power = (magnitude**2).sum(0)
    active = power >= 1e-4 * power.max()
    log = np.log(magnitude + 1e-4)
    relative = (log - log.mean(0))[:, active]
    fine = np.log(numpy_frames(samples, 2048, 512) + 1e-5).mean(1)
    smooth = np.convolve(np.pad(fine, 10, mode="reflect"), np.ones(21) / 21, mode="valid")
    expected = np.concatenate(
        [
            relative.mean(1),
            relative.std(1, ddof=1),
            np.abs(log[:, 1:] - log[:, :-1]).mean(1),
            np.abs(log[:, 2:] - 2 * log[:, 1:-1] + log[:, :-2]).mean(1),
            np.abs(log[2:] - 2 * log[1:-1] + log[:-2])[:, active].mean(1),
            fine - smooth,
        ]
    )
    found = model.statistics(clips[0])["spectrum"].numpy()
    assert found.shape == (model.config.spectrum_width,)
    assert np.allclose(found, expected, atol=2e-3)


def test_log_mel_equals_a_plain_recomputation(model: CompactForAudioClassification, clips: list) -> None:
    samples = levelled(clips[0], model.config)
    filters = mel_filter_bank(201, 80, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    power = numpy_frames(samples.numpy(), 400, 160)[:, :-1] ** 2
    decades = np.log10(np.maximum(filters.T @ power, 1e-10))
    expected = (np.maximum(decades, decades.max() - 8) + 4) / 4
    assert np.allclose(log_mel(samples, model.mel_filters, model.config).numpy(), expected, atol=1e-3)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder like Whisper's, small, of random weights and with room for 15 s."""
    set_seed(1)
    config = WhisperConfig(
        d_model=32, encoder_layers=3, encoder_attention_heads=4, encoder_ffn_dim=64, max_source_positions=750,
        num_mel_bins=80, decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=64,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("whisper")
    WhisperForAudioClassification(config).save_pretrained(folder)
    return folder


def test_layers_are_those_of_whispers_encoder(checkpoint: Path, whisper: Path, clips: list) -> None:
    """Statistics of the hidden states that transformers' own encoder gives for the same spectrogram."""
    model = AutoModelForAudioClassification.from_pretrained(checkpoint).eval()
    load_convolutions(model, str(whisper))
    encoder = AutoModelForAudioClassification.from_pretrained(whisper).encoder.eval()
    clip = torch.cat([clips[0]] * 8)[: 750 * 320]  # the published encoder takes exactly its full length
    samples = levelled(clip, model.config)
    with torch.no_grad():
        mel = log_mel(samples, model.mel_filters, model.config)
        hidden = encoder(mel[None], output_hidden_states=True).hidden_states
        found = model.statistics(clip)
    for number in (1, 2):
        frames = hidden[number][0]
        expected = torch.cat([frames.mean(0), frames.std(0), frames.diff(dim=0).abs().mean(0)])
        assert torch.allclose(found[f"layer{number}"], expected, atol=1e-4)


def test_an_encoder_with_too_few_layers_is_refused(model: CompactForAudioClassification, whisper: Path) -> None:
    deeper = CompactForAudioClassification(CompactConfig(channels=32, layers=4, attention_heads=4, inner_width=64))
    with pytest.raises(UserError, match="cannot take the convolutions from"):
        load_convolutions(deeper, str(whisper))
