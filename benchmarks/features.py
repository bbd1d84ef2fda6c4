#!/usr/bin/env python3
"""Features by this project beside librosa's: equal, and how many times as fast. `python -m benchmarks.features`

The baselines compute their features for a whole batch in torch; librosa takes a clip at a time. The audit measures a
clip with numpy and scipy; librosa's centroid of the same windows stands beside its own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
from scipy import fft

from deepfake.architectures.baselines import SpectrogramFeatureExtractor
from deepfake.audio.decode import SAMPLING_RATE, load_audio
from deepfake.audio.measures import spectrum
from deepfake.training.recipe import read_recipe

_ROOT = Path(__file__).resolve().parents[1]
_RECIPES, _CLIPS, _ROUNDS = ("cnn_a", "cnn_mfcc", "lstm"), 32, 7


def by_librosa(clip: np.ndarray, e: SpectrogramFeatureExtractor) -> np.ndarray:
    """One window's features, shape (bins, frames), before they are standardised."""
    htk = e.mel_scale == "htk"
    options = {"n_fft": e.n_fft, "hop_length": e.hop_length, "pad_mode": e.edge, "sr": e.sampling_rate}
    options |= {"fmin": e.min_frequency, "fmax": e.max_frequency, "htk": htk, "norm": None if htk else "slaney"}
    if e.kind == "mfcc":
        options |= {"norm": "ortho"}
        return librosa.feature.mfcc(y=clip, n_mfcc=e.num_bins, n_mels=e.num_mel_bins, **options)
    power = librosa.feature.melspectrogram(y=clip, n_mels=e.num_bins, **options)
    return power if e.kind == "power_mel" else librosa.power_to_db(power, ref=np.max if e.relative_db else 1.0)


def faster(own: Callable[[], object], other: Callable[[], object]) -> tuple[float, float, float]:
    """Median, least and greatest of the ratio of the two times, measured in turn."""
    own(), other()
    ratios = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        own()
        between = time.perf_counter()
        other()
        ratios.append((time.perf_counter() - between) / (between - start))
    return statistics.median(ratios), min(ratios), max(ratios)


def main() -> None:
    speech = load_audio(_ROOT / "examples/recordings/real/vctk_p226.wav")
    for name in _RECIPES:
        settings = dict(read_recipe(_ROOT / f"configs/{name}.yaml")["feature_extractor"])
        settings.pop("feature_extractor_type")
        extractor = SpectrogramFeatureExtractor(**settings)
        samples = round(extractor.window_s * SAMPLING_RATE)
        clips = [np.resize(np.roll(speech, 997 * n), samples) for n in range(_CLIPS)]
        ratio = faster(
            lambda clips=clips, e=extractor: e(clips, sampling_rate=SAMPLING_RATE),
            lambda clips=clips, e=extractor: [by_librosa(clip, e) for clip in clips],
        )
        print(f"{name}: {_CLIPS} clips of {extractor.window_s:g} s, {ratio[0]:.2f} times as fast as librosa", end="")
        print(f" [{ratio[1]:.2f}, {ratio[2]:.2f}]")
    clip = speech[: 5 * SAMPLING_RATE]
    frequencies = fft.rfftfreq(1024, 1 / SAMPLING_RATE)

    def centroid() -> float:
        power = spectrum(clip)
        return float((power * frequencies).sum() / power.sum())

    def centroid_by_librosa() -> float:
        magnitude = np.abs(librosa.stft(clip - clip.mean(), n_fft=1024, hop_length=512, center=False))
        power = np.square(magnitude).mean(axis=1, keepdims=True)
        return float(librosa.feature.spectral_centroid(S=power, freq=frequencies)[0, 0])

    ratio = faster(centroid, centroid_by_librosa)
    print(f"centroid of 5 s: {centroid():.1f} Hz, librosa {centroid_by_librosa():.1f} Hz, ", end="")
    print(f"{ratio[0]:.2f} times as fast [{ratio[1]:.2f}, {ratio[2]:.2f}]")


if __name__ == "__main__":
    main()
