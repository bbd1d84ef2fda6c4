#!/usr/bin/env python3
"""Where the time of scoring goes: decoding and the search for speech, the model, and both together from files.

python -m benchmarks.scoring_parts                                   the embedded recordings, the shipped detector
python -m benchmarks.scoring_parts --audio FOLDER --seconds 3        clips cut to 3 s, as short files are

Seconds of the processor are told beside seconds of the clock: on a machine that does other things as well, only the
first can be compared from run to run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE, load_audio
from deepfake.audio.files import find_audio_files
from deepfake.audio.vad import speech_probabilities
from deepfake.models.portable import usable_cores
from infer import Detector

_EMBEDDED = Path(__file__).parents[1] / "examples" / "recordings"


@dataclass(frozen=True)
class Part:
    """A part of the work, medians over the repeats: seconds by the clock, and of all processors together."""

    seconds: float
    processor_s: float
    realtime: float  # seconds of audio in a second by the clock
    realtime_per_core: float  # in a second of one processor


def measured(work: Callable[[], object], audio_s: float, repeats: int) -> Part:
    """Time `work`, which has run once before."""
    work()
    clock, processor = [], []
    for _ in range(repeats):
        begun, used = time.perf_counter(), time.process_time()
        work()
        clock.append(time.perf_counter() - begun)
        processor.append(time.process_time() - used)
    seconds, processor_s = statistics.median(clock), statistics.median(processor)
    return Part(seconds, processor_s, audio_s / seconds, audio_s / processor_s)


def parts_of(detector: Detector, paths: Sequence[Path], seconds: float | None, repeats: int) -> dict[str, Part]:
    """Each part over the same recordings.

    Args:
        seconds: the recordings' first so many are used; None: all of each. The last part reads files whole.
    """
    waves = [load_audio(path) for path in paths]
    if seconds is not None:
        waves = [wave[: round(seconds * SAMPLING_RATE)] for wave in waves]
    audio_s = sum(len(wave) for wave in waves) / SAMPLING_RATE
    plan = detector.plan
    windows = [wave[start : start + plan.window] for wave in waves for start in range(0, len(wave), plan.hop)]
    windows = [window for window in windows if len(window) >= SAMPLING_RATE // 2]
    found = {
        "decoding": measured(lambda: [load_audio(path) for path in paths], audio_s, repeats),
        "search for speech": measured(lambda: [speech_probabilities(wave) for wave in waves], audio_s, repeats),
        "the model": measured(lambda: detector.fake_logits(windows), audio_s, repeats),
    }
    if seconds is None:
        found["all, from files"] = measured(lambda: list(detector.score_files(paths)), audio_s, repeats)
    else:
        del found["decoding"]
        found["all, from samples"] = measured(
            lambda: [detector.score(wave, SAMPLING_RATE) for wave in waves if _speaks(wave)], audio_s, repeats
        )
    return found


def _speaks(wave: np.ndarray) -> bool:
    return np.count_nonzero(speech_probabilities(wave) >= 0.5) >= 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, default=_EMBEDDED, help="folder of recordings")
    parser.add_argument("--model", help="default: the shipped detector")
    parser.add_argument("--backend", default="auto", help="as of infer.py")
    parser.add_argument("--seconds", type=float, help="of each recording; default: all")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    detector = Detector.from_pretrained(arguments.model, backend=arguments.backend)
    paths = [file.path for file in find_audio_files([arguments.audio])]
    found = parts_of(detector, paths, arguments.seconds, arguments.repeats)
    for name, part in found.items():
        print(
            f"{name:20s} {part.seconds:8.2f} s, {part.realtime:6.0f} x realtime on {usable_cores()} cores; "
            f"{part.processor_s:8.2f} s of processors, {part.realtime_per_core:6.0f} x a core"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({name: asdict(part) for name, part in found.items()}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
