#!/usr/bin/env python3
"""How well the timeline finds a fake passage planted in a real recording: equal error rate over 20 ms frames.

CORPUS=FOLDER python benchmarks/localisation.py --splices 60 --timeline-window-s 2      the detector in the box
CORPUS=FOLDER python benchmarks/localisation.py --model OUT                             one with evidence for each frame

The folder has metadata.csv with file_name, label and split. Real and fake clips of the split are joined as
real–fake–real; level is matched, and joints are cross-faded over 20 ms, so that a click is not what is found.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE, load_audio
from deepfake.metrics.definitions import equal_error_rate
from deepfake.models.choices import TIMELINE_HOP_S, TIMELINE_WINDOW_S
from deepfake.scoring.timeline import BIN_SAMPLES, speech_bins
from infer import Detector

_FADE = SAMPLING_RATE // 50


def read_corpus(folder: Path, split: str) -> dict[str, list[Path]]:
    """Paths by label."""
    clips: dict[str, list[Path]] = {"real": [], "fake": []}
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == split:
                clips[row["label"]].append(folder / row["file_name"])
    return clips


def splice(before: np.ndarray, fake: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Real–fake–real, shape (samples,), and the first and last sample of the fake part."""
    level = np.sqrt(np.mean(np.concatenate((before, after)) ** 2))
    parts = [before, fake * level / max(1e-6, np.sqrt(np.mean(fake**2))), after]
    ramp = np.linspace(0, 1, _FADE, dtype=np.float32)
    joined, edges = parts[0], []
    for part in parts[1:]:
        overlap = joined[-_FADE:] * (1 - ramp) + part[:_FADE] * ramp
        edges.append(len(joined) - _FADE // 2)
        joined = np.concatenate((joined[:-_FADE], overlap, part[_FADE:]))
    return joined.astype(np.float32), edges[0], edges[1]


def interval(scores: list[np.ndarray], truth: list[np.ndarray], resamples: int = 300) -> dict[str, float]:
    """Equal error rate over all frames, with the 95 % interval over resampled recordings.

    Args:
        scores, truth: of each recording, shape (frames,); truth is 1 in the fake passage.
    """

    def rate(chosen: np.ndarray) -> float:
        return equal_error_rate(
            np.concatenate([scores[i] for i in chosen]), np.concatenate([truth[i] for i in chosen])
        )[0]

    dice = np.random.default_rng(0)
    rates = [rate(dice.integers(0, len(truth), len(truth))) for _ in range(resamples)]
    low, high = np.quantile(rates, [0.025, 0.975])
    return {"eer": rate(np.arange(len(truth))), "low": float(low), "high": float(high)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="default: the detector in the box")
    parser.add_argument("--timeline-window-s", type=float, default=TIMELINE_WINDOW_S)
    parser.add_argument("--timeline-hop-s", type=float, default=TIMELINE_HOP_S)
    parser.add_argument("--splices", type=int, default=60)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file")
    arguments = parser.parse_args()
    if "CORPUS" not in os.environ:
        raise SystemExit("error: set CORPUS to a folder with metadata.csv (file_name, label, split)")
    clips = read_corpus(Path(os.environ["CORPUS"]), arguments.split)
    dice = np.random.default_rng(arguments.seed)
    detector = Detector.from_pretrained(
        arguments.model,
        timeline_window_s=arguments.timeline_window_s,
        timeline_hop_s=arguments.timeline_hop_s,
    )
    labels, scores, raw, whole = [], [], [], []
    for _ in range(arguments.splices):
        real = [load_audio(clips["real"][i]) for i in dice.choice(len(clips["real"]), 2, replace=False)]
        fake = load_audio(clips["fake"][dice.integers(len(clips["fake"]))])
        joined, start, stop = splice(real[0], fake, real[1])
        result = detector.analyse(joined, SAMPLING_RATE)
        timeline = result.timeline
        centres = np.arange(len(timeline.logits)) * BIN_SAMPLES + BIN_SAMPLES // 2
        smooth = timeline.smooth_logits(result.reading.track.flags)
        judged = ~np.isnan(smooth) & speech_bins(result.reading.track.flags, len(smooth))
        labels.append(((centres >= start) & (centres < stop))[judged])
        scores.append(smooth[judged])
        raw.append(timeline.logits[judged])
        whole.append(np.full(judged.sum(), result.logit))  # a control that knows the file, not the place
    truth = [values.astype(int) for values in labels]
    frames = np.concatenate(truth)
    results = {
        "splices": arguments.splices,
        "frames": len(frames),
        "fake_share": float(frames.mean()),
        "frames_smoothed": interval(scores, truth),
        "frames_not_smoothed": interval(raw, truth),
        "frames_relative_to_their_file": interval([s - s.mean() for s in scores], truth),
        "control_the_file_score": interval(whole, truth),
    }
    print(json.dumps(results, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
