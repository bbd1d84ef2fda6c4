"""The compact architecture: loads anywhere, does not mind padding, company, level or length, hears as Whisper does."""

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
    WhisperModel,
    set_seed,
)
from transformers.audio_utils import mel_filter_bank

from deepfake.architectures.compact import CompactConfig, CompactForAudioClassification
from deepfake.architectures.compact.features_compact import levelled, log_mel
from deepfake.audio.decode import load_audio
from deepfake.errors import UserError
from deepfake.models.freeze import FreezePlan, count_parameters, freeze, transformer_layers
from deepfake.models.inputs import padding_invariant, uses_padding_mask
from deepfake.scoring.detector import Detector
from deepfake.training.layer_rates import layer_depths
from deepfake.training.stacked.encoder import load_encoder

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


SMALL = {
    "channels": 32, "layers": 2, "attention_heads": 4, "inner_width": 64, "pooled_width": 24, "pooling_width": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained compact detector with a head that reacts to everything."""
    set_seed(0)
    model = CompactForAudioClassification(CompactConfig(**SMALL))
    torch.nn.init.normal_(model.head.weight, std=0.5)
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


def test_level_and_offset_do_not_matter(model: CompactForAudioClassification, clips: list) -> None:
    with torch.no_grad():
        expected = model(clips[0][None]).logits
        for changed in (0.01 * clips[0], 0.3 * clips[0] + 0.1):
            assert torch.allclose(model(changed[None]).logits, expected, atol=1e-3)


@pytest.mark.parametrize("seconds", [0.01, 0.2, 3.0, 3.02, 90.0])
def test_clips_of_any_length_are_cut_into_blocks_and_heard_to_their_end(
    model: CompactForAudioClassification, seconds: float, speech: np.ndarray
) -> None:
    clip = torch.tensor(np.resize(speech, round(seconds * 16_000)))
    shapes: list[torch.Size] = []
    hook = model.layers[0].register_forward_hook(lambda _, inputs, output: shapes.append(output.shape))
    with torch.no_grad():
        whole = model(clip[None]).logits
        changed = model(torch.cat([clip[:-40], clip[:40] + 0.01])[None]).logits  # the last samples are others
    hook.remove()
    frames, size = -(-((len(clip) + 2 * model.config.edge) // 160) // 2), model.config.block_frames
    last = (frames - 1) % size + 1  # the last block is as long as what is left: nothing is padded
    assert shapes[:2] == [((frames - last) // size, size, model.config.channels), (1, last, model.config.channels)]
    assert torch.isfinite(whole).all()
    assert not torch.equal(whole, changed)


def test_frames_attend_within_their_block_only(model: CompactForAudioClassification, clips: list) -> None:
    blocks = torch.randn(3, 40, 32)
    with torch.no_grad():
        expected = model.layers[0](blocks)
        other = blocks.clone()
        other[1] += 1.0
        found = model.layers[0](other)
    assert torch.allclose(found[[0, 2]], expected[[0, 2]], atol=1e-6)
    assert not torch.allclose(found[1], expected[1], atol=1e-2)
    clip = clips[0].repeat(20)[: 12 * 16_000]  # three blocks, the last of them not full
    changed = torch.cat([clip[:-16_000], clip[-16_000:].flip(0)])
    with torch.no_grad():
        (*_, before), (*_, after) = model.stages(clip), model.stages(changed)
    whole = before.shape[0] // model.config.block_frames * model.config.block_frames
    assert torch.allclose(before[:whole], after[:whole], atol=1e-4)
    assert not torch.allclose(before[whole:], after[whole:], atol=1e-2)


def test_arithmetic_is_float32_whatever_the_weights_are_stored_in(checkpoint: Path, clips: list) -> None:
    rounded = AutoModelForAudioClassification.from_pretrained(checkpoint).eval()
    with torch.no_grad():
        for tensor in (*rounded.parameters(), *rounded.buffers()):
            tensor.copy_(tensor.half())
    expected = logits_of(rounded, clips)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(logits_of(rounded, clips), expected)
    assert torch.allclose(logits_of(rounded.half(), clips), expected, atol=1e-5)


def test_saved_and_loaded_it_says_the_same(model: CompactForAudioClassification, clips: list, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(logits_of(again, clips), logits_of(model, clips))


@pytest.mark.parametrize("samples", [0, 1, 300, 5000])
def test_silence_and_scraps_give_finite_logits(model: CompactForAudioClassification, samples: int) -> None:
    clip = torch.zeros(1, max(samples, 1))
    assert torch.isfinite(model(clip).logits).all()


def test_with_a_frozen_encoder_pooling_and_head_learn(checkpoint: Path, clips: list) -> None:
    model = AutoModelForAudioClassification.from_pretrained(checkpoint)
    freeze(model, FreezePlan(feature_encoder=True))
    assert transformer_layers(model) is model.layers
    first = model(clips[0][None], labels=torch.tensor([1])).loss
    first.backward()
    learned = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert learned == {"pooling", "head"}
    assert count_parameters(model)[0] == sum(
        p.numel() for part in (model.pooling, model.head) for p in part.parameters()
    )
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01).step()
    assert model(clips[0][None], labels=torch.tensor([1])).loss < first


def test_every_weight_learns_where_nothing_is_frozen(checkpoint: Path, clips: list) -> None:
    model = AutoModelForAudioClassification.from_pretrained(checkpoint)
    model(clips[0][None], labels=torch.tensor([1])).loss.backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_layers_nearer_to_the_input_lie_deeper(model: CompactForAudioClassification) -> None:
    depths = layer_depths(model)
    assert (depths["conv1.weight"], depths["layers.0.fc1.weight"], depths["layers.1.fc1.weight"]) == (3, 2, 1)
    assert depths["pooling.projections.0.weight"] == depths["head.weight"] == 0


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


def test_log_mel_equals_a_plain_recomputation(model: CompactForAudioClassification, clips: list) -> None:
    samples = levelled(clips[0], model.config)
    filters = mel_filter_bank(201, 80, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    power = numpy_frames(samples.numpy(), 400, 160)[:, :-1] ** 2
    decades = np.log10(np.maximum(filters.T @ power, 1e-10))
    expected = (np.maximum(decades, decades.max() - 8) + 4) / 4
    assert np.allclose(log_mel(samples, model.mel_filters, model.config).numpy(), expected, atol=1e-3)


def fresh_detector(source: str, layers: int) -> CompactForAudioClassification:
    """A compact detector of the small geometry, with its encoder from `source`."""
    model = CompactForAudioClassification(CompactConfig(**SMALL | {"layers": layers}))
    load_encoder(model, source)
    return model


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder like Whisper's, small, of random weights and with room for one block of 5 s."""
    set_seed(1)
    config = WhisperConfig(
        d_model=32, encoder_layers=3, encoder_attention_heads=4, encoder_ffn_dim=64, max_source_positions=250,
        num_mel_bins=80, decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=64, vocab_size=64,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("whisper")
    WhisperModel(config).save_pretrained(folder)
    return folder


def test_the_layers_are_those_of_whispers_encoder(whisper: Path, clips: list) -> None:
    """Their outputs are the hidden states that transformers' own encoder gives for the same spectrogram."""
    model = fresh_detector(str(whisper), 2).eval()
    encoder = WhisperModel.from_pretrained(whisper).encoder.eval()
    clip = clips[1][: 250 * 320 - 2 * model.config.edge]  # the published encoder takes exactly its full length
    with torch.no_grad():
        mel = log_mel(levelled(clip, model.config), model.mel_filters, model.config)
        hidden = encoder(mel[None], output_hidden_states=True).hidden_states
        found = model.stages(clip)
    for number in (1, 2):
        assert torch.allclose(found[number], hidden[number][0], atol=1e-4)


@pytest.mark.parametrize("kind", [WhisperForAudioClassification, CompactForAudioClassification])
def test_an_encoder_is_taken_from_a_classifier_or_a_compact_detector_too(
    kind: type, whisper: Path, checkpoint: Path, tmp_path: Path
) -> None:
    source = checkpoint
    if kind is WhisperForAudioClassification:
        source = tmp_path
        kind.from_pretrained(whisper).save_pretrained(source)
    given = kind.from_pretrained(source)
    taken = fresh_detector(str(source), 1)
    assert taken.config.layers == 1
    expected = getattr(given, "encoder", given).layers[0].fc1.weight
    assert torch.equal(taken.layers[0].fc1.weight, expected)


def test_an_encoder_that_lacks_layers_or_is_no_whisper_is_refused(whisper: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(UserError, match="it has 3 layers, fewer than 4"):
        fresh_detector(str(whisper), 4)
    with pytest.raises(UserError, match="its model_type is wav2vec2.*expected a Whisper model"):
        fresh_detector(str(tiny_checkpoint), 1)
