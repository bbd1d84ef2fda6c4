"""Augmentation: seeded, worker-proof, only on training clips, alike for both classes, and wrong YAML told by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from datasets import load_from_disk
from torch.utils.data import DataLoader
from transformers import Wav2Vec2FeatureExtractor

from deepfake.audio.decode import load_audio
from deepfake.channels.augment import PRESETS, load_augmentation
from deepfake.channels.edits import mask_frequency, mask_time, pitch
from deepfake.channels.effects import EFFECTS
from deepfake.channels.rawboost import rawboost
from deepfake.errors import UserError
from deepfake.training.collator import Collator

RATE = 16_000
EXAMPLES = {
    "gaussian_noise": {"sigma": 0.01}, "noise": {"snr_db": 10}, "reverb": {"rt60_s": 0.4},
    "codec": {"codec": "opus", "bit_rate": 12_000}, "telephone": {"law": "mu"}, "packet_loss": {"loss": 0.2},
    "low_pass": {"cutoff_hz": 3_000}, "resample": {"rate_hz": 8_000}, "gain": {"gain_db": -6}, "clip": {"share": 0.05},
    "speed": {"factor": 1.1}, "pitch": {"semitones": 2}, "rawboost": {}, "mask_time": {"longest_s": 0.3},
    "mask_frequency": {"widest_mel_bins": 20}, "trim_edges": {}, "lead_silence": {"duration_s": 0.5},
    "denoise": {"reduction_db": 12}, "loudness": {"target_lufs": -16}, "stretch": {"factor": 0.96},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(EFFECTS) - {"nothing"}))
def test_every_effect_changes_the_clip_and_repeats_with_its_seed(name: str, speech: np.ndarray) -> None:
    clip = speech[: 3 * RATE]
    if name == "trim_edges":
        clip = np.pad(clip, RATE)
    rng = np.random.default_rng(5)
    first, second = (EFFECTS[name](clip, r, **EXAMPLES[name]) for r in (rng, np.random.default_rng(5)))
    assert EFFECTS[name].draws == (rng.bit_generator.state != np.random.default_rng(5).bit_generator.state)
    assert np.array_equal(first, second)
    assert np.isfinite(first).all()
    lengths = {"speed": round(len(clip) / 1.1), "lead_silence": len(clip) + RATE // 2, "trim_edges": len(first)}
    lengths["stretch"] = len(first)  # in whole windows of its own
    assert len(first) == lengths.get(name, len(clip))
    assert len(first) != len(clip) or not np.allclose(first, clip, atol=1e-4)


@pytest.mark.parametrize("preset", ["system_a", "system_d", "channel"])
def test_presets_draw_anew_for_each_seed_and_repeat_for_the_same(preset: str, speech: np.ndarray) -> None:
    augmentation = load_augmentation(preset)
    clip = speech[: 3 * RATE]
    versions = [augmentation(clip, np.random.default_rng(seed)) for seed in range(6)]
    again = [augmentation(clip, np.random.default_rng(seed)) for seed in range(6)]
    assert all(np.array_equal(a, b) for a, b in zip(versions, again, strict=True))
    assert len({v.tobytes() for v in versions}) == 6
    assert all(0.9 * len(clip) < len(v) < 1.1 * len(clip) and np.isfinite(v).all() for v in versions)


def test_none_is_the_clip_itself(speech: np.ndarray) -> None:
    assert np.array_equal(load_augmentation("none")(speech, np.random.default_rng(0)), speech)


def test_same_batches_for_any_number_of_workers_other_ones_each_epoch_and_none_in_evaluation(dataset_dir: Path) -> None:
    dataset = load_from_disk(str(dataset_dir))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    collator = Collator(extractor, 2.0, seed=1, augmentation=load_augmentation("channel"))
    train = dataset["train"].select(range(8))

    def batches(workers: int) -> list[np.ndarray]:
        loader = DataLoader(train, batch_size=4, collate_fn=collator, num_workers=workers)
        return [batch["input_values"].numpy() for batch in loader]

    alone, shared = batches(0), batches(2)
    assert all(np.array_equal(a, b) for a, b in zip(alone, shared, strict=True))
    collator.epoch = 1
    assert not np.array_equal(alone[0], batches(0)[0])
    rows = [dataset["validation"][0]]
    expected = load_audio(rows[0]["audio"]["bytes"])
    assert np.array_equal(collator(rows)["input_values"][0].numpy(), expected)


def test_both_classes_are_treated_alike(dataset_dir: Path) -> None:
    """The draw depends on the clip's name and place, never on its label."""
    row = load_from_disk(str(dataset_dir))["train"][0]
    collator = Collator(Wav2Vec2FeatureExtractor(do_normalize=False), 2.0, 1, load_augmentation("channel"))
    as_real, as_fake = (collator([{**row, "label": label}])["input_values"].numpy() for label in (0, 1))
    assert np.array_equal(as_real, as_fake)


def test_pitch_moves_a_tone_by_semitones_and_keeps_its_length() -> None:
    tone = (0.4 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    shifted = pitch(tone, 2.0)
    spectrum = np.abs(np.fft.rfft(shifted[RATE // 2 : RATE // 2 + RATE]))
    assert len(shifted) == len(tone)
    assert abs(int(np.argmax(spectrum)) - 440 * 2 ** (2 / 12)) < 2


def test_masks_stay_within_their_widths() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(2 * RATE).astype(np.float32)
    silenced = [int((mask_time(noise, np.random.default_rng(s), 0.32) == 0).sum()) for s in range(20)]
    assert 0 < max(silenced) <= 0.32 * RATE
    for seed in range(5):
        masked = mask_frequency(noise, np.random.default_rng(seed), 20)
        removed = np.abs(np.fft.rfft(masked)) < 1e-3 * np.abs(np.fft.rfft(noise))
        assert removed.mean() < 0.35
        assert np.flatnonzero(removed).size == 0 or np.ptp(np.flatnonzero(removed)) == removed.sum() - 1


def test_rawboost_keeps_peak_and_leaves_silence_alone(speech: np.ndarray) -> None:
    boosted = rawboost(speech[:RATE], np.random.default_rng(1))
    assert np.abs(boosted).max() == pytest.approx(np.abs(speech[:RATE]).max(), rel=1e-5)
    silence = np.zeros(RATE, np.float32)
    assert np.array_equal(rawboost(silence, np.random.default_rng(1)), silence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- {apply: echo}", "unknown effect echo"),
        ("- {apply: gain, decibel: 3}", "gain does not take decibel; it takes gain_db"),
        ("- gain", "expected `apply: EFFECT`"),
        ("apply: gain", "not a list"),
    ],
)
def test_wrong_entries_are_told_by_name(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        load_augmentation(str(path))
    with pytest.raises(UserError, match="expected a YAML file or one of channel, none, system_a"):
        load_augmentation("loud")


def test_system_d_adds_white_noise_to_every_clip() -> None:
    silence = np.zeros(RATE, np.float32)
    for seed in range(5):
        noise = load_augmentation("system_d")(silence, np.random.default_rng(seed))
        assert noise.std() == pytest.approx(0.005, rel=0.05)


def test_presets_lie_where_they_are_looked_for() -> None:
    assert PRESETS == ROOT / "configs" / "augmentation"
    assert {p.stem for p in PRESETS.glob("*.yaml")} == {"none", "system_a", "system_d", "channel"}
