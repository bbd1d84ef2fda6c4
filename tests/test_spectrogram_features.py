"""Spectrogram features: librosa's values for every recipe, the whole clip, and nothing of its neighbours."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
from conftest import ROOT

from deepfake.architectures.baselines import SpectrogramFeatureExtractor
from deepfake.audio.windows import iter_windows
from deepfake.training.recipe import read_recipe

RECIPES = [p for p in sorted((ROOT / "configs").glob("*.yaml")) if "SpectrogramFeatureExtractor" in str(read_recipe(p))]


def settings(path: Path) -> dict[str, object]:
    values = dict(read_recipe(path)["feature_extractor"])
    del values["feature_extractor_type"]
    return values


def by_librosa(samples: np.ndarray, e: SpectrogramFeatureExtractor) -> np.ndarray:
    """(bins, frames) of one window, in float64."""
    spectrum = {"n_fft": e.n_fft, "hop_length": e.hop_length, "pad_mode": e.edge}
    htk = e.mel_scale == "htk"
    filters = {"fmin": e.min_frequency, "fmax": e.max_frequency, "htk": htk, "norm": None if htk else "slaney"}
    samples = samples.astype(np.float64)
    if e.kind == "mfcc":
        options = spectrum | filters | {"n_mels": e.num_mel_bins}
        options["norm"] = "ortho"  # of the DCT; the filters have librosa's default there
        values = librosa.feature.mfcc(y=samples, sr=16_000, n_mfcc=e.num_bins, **options)
    else:
        values = librosa.feature.melspectrogram(y=samples, sr=16_000, n_mels=e.num_bins, **spectrum, **filters)
    if e.kind == "log_mel":
        values = librosa.power_to_db(values, ref=np.max if e.relative_db else 1.0)
    if e.normalize == "clip":
        values = (values - values.mean()) / values.std()
    elif e.normalize == "bin":
        values = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
    return values


@pytest.mark.parametrize("normalize", ["as given", "none"])
@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_has_the_features_of_librosa(path: Path, normalize: str, speech: np.ndarray) -> None:
    chosen = settings(path) | ({} if normalize == "as given" else {"normalize": normalize})
    extractor = SpectrogramFeatureExtractor(**chosen)
    window = speech[8000 : 8000 + round(extractor.window_s * 16_000)]
    found = extractor(window, sampling_rate=16_000)["input_features"]
    expected = by_librosa(window, extractor)
    assert found.shape == (1, extractor.channels, extractor.num_bins, extractor.window_frames)
    assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())
    assert np.ptp(expected) > 1


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_short_clip_is_filled_up_as_the_system_did(path: Path, speech: np.ndarray) -> None:
    extractor = SpectrogramFeatureExtractor(**settings(path))
    clip = speech[:20_000]
    found = extractor(clip, sampling_rate=16_000)
    values, mask = found["input_features"][0, 0], found["attention_mask"][0]
    if extractor.fill == "samples":
        whole = np.pad(clip, (0, round(extractor.window_s * 16_000) - len(clip)))
        assert np.allclose(values, by_librosa(whole, extractor), atol=1e-4)
        assert mask.all()
    else:
        own = 1 + len(clip) // extractor.hop_length
        assert np.allclose(values[:, :own], by_librosa(clip, extractor), atol=1e-4, rtol=1e-4)
        assert not values[:, own:].any()
        assert mask.tolist() == [1] * own + [0] * (len(mask) - own)


VARIANTS = [settings(path) for path in RECIPES] + [
    {"window_s": None, "fill": "frames"},
    {"window_s": None, "kind": "power_mel", "edge": "reflect"},
    {"window_s": 1.0, "hop_s": 0.3, "relative_db": False, "normalize": "none"},
]


@pytest.mark.parametrize("chosen", VARIANTS, ids=lambda v: f"{v.get('kind', 'log_mel')} {v['window_s']}")
def test_company_and_order_change_nothing(chosen: dict, speech: np.ndarray) -> None:
    extractor = SpectrogramFeatureExtractor(**chosen)
    clips = [speech[s : s + n] for s, n in ((0, 30_001), (40_000, 150_000), (200_000, 9_000), (60_000, 64_000))]
    together = extractor(clips, sampling_rate=16_000)
    backwards = extractor(clips[::-1], sampling_rate=16_000)
    for name in together:
        assert np.allclose(together[name], backwards[name][::-1], atol=1e-6)
    for row, clip in enumerate(clips):
        alone = extractor(clip, sampling_rate=16_000)
        frames = alone["input_features"].shape[-1]
        assert np.allclose(together["input_features"][row, ..., :frames], alone["input_features"][0], atol=1e-6)
        assert together["attention_mask"][row].sum() == alone["attention_mask"].sum() > 0
        assert not together["input_features"][row, ..., frames:].any()


@pytest.mark.parametrize("samples", [32_000, 32_001, 64_000, 100_000])
def test_windows_are_those_of_the_scorer(samples: int, speech: np.ndarray) -> None:
    extractor = SpectrogramFeatureExtractor(window_s=2.0)
    clip = speech[:samples]
    windows = [window.samples for window in iter_windows([clip], 32_000, 16_000)]
    expected = np.concatenate([extractor(w, sampling_rate=16_000)["input_features"] for w in windows], axis=-1)
    assert np.allclose(extractor(clip, sampling_rate=16_000)["input_features"], expected, atol=1e-6)


def test_every_sample_of_a_long_clip_matters(speech: np.ndarray) -> None:
    extractor = SpectrogramFeatureExtractor(kind="power_mel", window_s=2.0, normalize="none")
    clip = speech[:150_000]
    before = extractor(clip, sampling_rate=16_000)["input_features"]
    for place in range(500, 150_000, 10_000):
        changed = clip.copy()
        changed[place] += 0.5
        assert np.abs(extractor(changed, sampling_rate=16_000)["input_features"] - before).max() > 1e-3


@pytest.mark.parametrize("chosen", VARIANTS, ids=lambda v: f"{v.get('kind', 'log_mel')} {v['window_s']}")
@pytest.mark.parametrize("samples", [0, 1, 2, 700, 40_000])
def test_silence_and_scraps_give_finite_features(chosen: dict, samples: int) -> None:
    extractor = SpectrogramFeatureExtractor(**chosen)
    found = extractor([np.zeros(samples, np.float32), np.ones(samples, np.float32)], sampling_rate=16_000)
    assert np.isfinite(found["input_features"]).all()
    if extractor.normalize != "none":
        assert np.abs(found["input_features"][0]).max() < 1e-9  # what does not vary says nothing


def test_level_does_not_matter_in_relative_decibels(speech: np.ndarray) -> None:
    extractor = SpectrogramFeatureExtractor()
    loud, quiet = (extractor(gain * speech[:64_000], sampling_rate=16_000)["input_features"] for gain in (1.0, 0.05))
    assert np.allclose(loud, quiet, atol=1e-3)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path, speech: np.ndarray) -> None:
    extractor = SpectrogramFeatureExtractor(**settings(ROOT / "configs/cnn_mfcc.yaml"))
    extractor.save_pretrained(tmp_path)
    again = SpectrogramFeatureExtractor.from_pretrained(tmp_path)
    assert again.to_dict() == extractor.to_dict()
    expected = extractor(speech, sampling_rate=16_000)["input_features"]
    assert np.array_equal(again(speech, sampling_rate=16_000)["input_features"], expected)


def test_samples_come_in_any_form(speech: np.ndarray) -> None:
    extractor = SpectrogramFeatureExtractor()
    expected = extractor(speech[:3000], sampling_rate=16_000)["input_features"]
    for form in (speech[:3000].tolist(), [speech[:3000].tolist()], speech[None, :3000]):
        assert np.array_equal(extractor(form, sampling_rate=16_000)["input_features"], expected)


def test_wrong_use_is_told(speech: np.ndarray) -> None:
    extractor = SpectrogramFeatureExtractor()
    with pytest.raises(ValueError, match="at 8000 Hz; expected 16000 Hz"):
        extractor(speech, sampling_rate=8000)
    with pytest.raises(ValueError, match="expected mono samples"):
        extractor([np.zeros((2, 100))], sampling_rate=16_000)
    with pytest.raises(ValueError, match="kind is mel; expected one of log_mel, power_mel, mfcc"):
        SpectrogramFeatureExtractor(kind="mel")
