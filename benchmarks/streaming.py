"""How much faster than real time the detector in the box streams, and how late a window's verdict is.

python -m benchmarks.streaming --seconds 300

Speech is fed in frames of 20 ms as fast as they are taken. The real time factor is the time that takes, as a share of
the audio's length; the latency is the time from feeding a window's last sample to its verdict.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE, load_audio
from deepfake.errors import run_command
from deepfake.scoring.stream import StreamingDetector
from infer import Detector

_RECORDINGS = Path(__file__).parents[1] / "examples" / "recordings"
_FRAME = SAMPLING_RATE // 50


@dataclass(frozen=True)
class Measured:
    """`update_s`: between provisional verdicts, None for none."""

    update_s: float | None
    audio_s: float
    real_time_factor: float
    windows: int
    window_latency_p50_ms: float
    window_latency_p95_ms: float
    update_latency_p95_ms: float | None


def measure(detector: Detector, samples: np.ndarray, update_s: float | None) -> Measured:
    """Stream float32 16 kHz samples of shape (samples,)."""
    stream = StreamingDetector(detector, update_s=update_s)
    latencies: dict[bool, list[float]] = {False: [], True: []}
    began = time.perf_counter()
    for start in range(0, len(samples), _FRAME):
        before = time.perf_counter()
        verdicts = stream.feed(samples[start : start + _FRAME])
        for verdict in verdicts:
            latencies[verdict.provisional].append(1000 * (time.perf_counter() - before))
    score = stream.finish()
    taken_s, audio_s = time.perf_counter() - began, len(samples) / SAMPLING_RATE
    return Measured(
        update_s=update_s,
        audio_s=audio_s,
        real_time_factor=round(taken_s / audio_s, 4),
        windows=score.windows,
        window_latency_p50_ms=round(float(np.median(latencies[False])), 1),
        window_latency_p95_ms=round(float(np.percentile(latencies[False], 95)), 1),
        update_latency_p95_ms=round(float(np.percentile(latencies[True], 95)), 1) if latencies[True] else None,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="of audio (default 300)")
    parser.add_argument("--model", help="default: the detector in the box")
    arguments = parser.parse_args()
    detector = Detector.from_pretrained(arguments.model)
    speech = np.concatenate([load_audio(path) for path in sorted(_RECORDINGS.glob("*/*"))])
    samples = np.resize(speech, round(arguments.seconds * SAMPLING_RATE))
    detector.fake_logits([samples[: 13 * SAMPLING_RATE]])  # the first call prepares what later ones use
    print(json.dumps([asdict(measure(detector, samples, update_s)) for update_s in (None, 1.0)], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
