"""What the tests of the build share: a small corpus of real recordings, the command, and its report."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np

from data_prep.__main__ import main
from deepfake.audio.decode import SAMPLING_RATE, load_audio, pcm16

EXAMPLES = Path(__file__).parents[1] / "examples/recordings"
CUTS = {"real": "vctk_p225.mp3", "fake": "kokoro_bf_alice.mp3"}


def write_wav(path: Path, samples: np.ndarray, rate: int = SAMPLING_RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm16(samples).tobytes())
    return path


def small_corpus(root: Path) -> Path:
    """Three short real recordings and four fake ones, cut from the examples."""
    for label, count in (("real", 3), ("fake", 4)):
        samples = load_audio(EXAMPLES / label / CUTS[label])
        for index in range(count):
            part = samples[index * 11 * SAMPLING_RATE : (index + 1) * 11 * SAMPLING_RATE]
            write_wav(root / label / f"spréaker {index}" / "talk.wav", part)
    return root


def run(*arguments: object) -> int:
    return main(["build", *map(str, arguments), "--workers", "1"])


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))
