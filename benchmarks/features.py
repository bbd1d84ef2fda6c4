#!/usr/bin/env python3
"""Features by this project beside librosa's: equal, and at what share of its time. `python -m benchmarks.features`

The baselines compute their features for a whole batch in torch, in float64; librosa takes a clip at a time, here in
float64 for the same values and in float32. The audit measures a clip with numpy and scipy; librosa's centroid of the
same windows stands beside its own. Seconds of one processor, so that other programs do not count.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import torch
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


def faster(own: Callable[[], object], other: Callable[[], object]) -> str:
    """How many times as fast the first is: median, least and greatest ratio of processor time, measured in turn."""
    own(), other()
    ratios = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        own()
        between = time.process_time()
        other()
        ratios.append((time.process_time() - between) / (between - start))
    return f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"


def main() -> None:
    torch.set_num_threads(1)
    speech = load_audio(_ROOT / "examples/recordings/real/vctk_p226.wav")
    print("times as fast as librosa, median [least, greatest]")
    for name in _RECIPES:
        settings = dict(read_recipe(_ROOT / f"configs/{name}.yaml")["feature_extractor"])
        settings.pop("feature_extractor_type")
        extractor = SpectrogramFeatureExtractor(**settings)
        samples = round(extractor.window_s * SAMPLING_RATE)
        clips = [np.resize(np.roll(speech, 997 * n), samples) for n in range(_CLIPS)]

        def own(clips: list = clips, extractor: SpectrogramFeatureExtractor = extractor) -> object:
            return extractor(clips, sampling_rate=SAMPLING_RATE)

        for kind in (np.float64, np.float32):
            given = [clip.astype(kind) for clip in clips]
            ratio = faster(own, lambda given=given, extractor=extractor: [by_librosa(c, extractor) for c in given])
            print(f"{name}, {_CLIPS} clips of {extractor.window_s:g} s, librosa in {kind.__name__}: {ratio}")
    clip = speech[: 5 * SAMPLING_RATE]
    frequencies = fft.rfftfreq(1024, 1 / SAMPLING_RATE)

    def centroid() -> float:
        power = spectrum(clip)
        return float((power * frequencies).sum() / power.sum())

    def centroid_by_librosa() -> float:
        magnitude = np.abs(librosa.stft(clip - clip.mean(), n_fft=1024, hop_length=512, center=False))
        power = np.square(magnitude).mean(axis=1, keepdims=True)
        return float(librosa.feature.spectral_centroid(S=power, freq=frequencies)[0, 0])

    print(
        f"centroid of 5 s, {centroid():.1f} and {centroid_by_librosa():.1f} Hz: {faster(centroid, centroid_by_librosa)}"
    )


if __name__ == "__main__":
    main()
