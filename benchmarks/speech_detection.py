#!/usr/bin/env python3
"""How many recordings are refused as without speech: by the first look, and after the second.

python -m benchmarks.speech_detection --audio FOLDER --every 24
python -m benchmarks.speech_detection --audio FOLDER --every 24 --noise kitchen.wav

The folder has metadata.csv with file_name. Every clip is tried as it is and through channels. Then sounds without
speech are tried, which should all be refused: made up ones, windows of the recordings named by --noise, and pauses of
the clips, each played to and fro until it lasts three seconds. Pauses are what the first look gives less than 0.15 to
for 0.3 s; some breath and echo of speech is in them.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import signal
from tqdm import tqdm

from deepfake.audio.decode import SAMPLING_RATE, AudioError, load_audio
from deepfake.audio.vad import FRAME_SAMPLES, speech_probabilities
from deepfake.audio.windows import SpeechTrack
from deepfake.channels.acoustics import add_noise, gain
from deepfake.channels.lines import telephone
from deepfake.scoring.reading import SpeechWindows

WINDOW = 13 * SAMPLING_RATE
Samples = np.ndarray
Channel = Callable[[Samples, np.random.Generator], Samples]


def heard(samples: Samples) -> str:
    """ "first" or "second", the look that hears speech in float samples of shape (samples,); "refused" by both."""
    track = SpeechTrack()
    windows = SpeechWindows(WINDOW, WINDOW, track)
    try:
        for start in range(0, len(samples), WINDOW):
            windows.push(samples[start : start + WINDOW].astype(np.float32))
        windows.finish()
    except AudioError:
        return "refused"
    return "second" if track.faint else "first"


def quieter(gain_db: float, then: Channel = lambda samples, _: samples) -> Channel:
    """Rounded to 16 bits, as a recorder does."""
    return lambda samples, rng: then(np.rint(gain(samples, gain_db) * 32768) / 32768, rng)


def called(samples: Samples, _: np.random.Generator) -> Samples:
    return telephone(samples.astype(np.float32), "mu")


def noisy(snr_db: float, then: Channel = lambda samples, _: samples) -> Channel:
    return lambda samples, rng: then(add_noise(samples, rng, snr_db, colour="pink"), rng)


CHANNELS: dict[str, Channel] = {
    "as it is": lambda samples, _: samples,
    "telephone": called,
    **{f"{db} dB": quieter(db) for db in (-30, -40, -50, -60)},
    "-20 dB, telephone": quieter(-20, called),
    "-30 dB, telephone": quieter(-30, called),
    "pink noise, SNR 0 dB": noisy(0),
    "pink noise, SNR 0 dB, telephone": noisy(0, called),
    "pink noise, SNR 0 dB, -30 dB": noisy(0, quieter(-30)),
    "pink noise, SNR -5 dB": noisy(-5),
}


def sounds(rng: np.random.Generator) -> Iterator[tuple[str, Samples]]:
    """Made-up sounds of one window that hold no speech, at full level."""
    time = np.arange(WINDOW) / SAMPLING_RATE
    white = rng.normal(size=WINDOW)
    spectrum, frequencies = np.fft.rfft(white), np.fft.rfftfreq(WINDOW, 1 / SAMPLING_RATE)
    pink, brown = (np.fft.irfft(spectrum / np.maximum(frequencies, 20) ** power, WINDOW) for power in (0.5, 1))
    clicks = rng.normal(size=WINDOW) * (rng.random(WINDOW) < 3e-4)
    mains = rng.choice([50, 60])
    yield from (("white noise", white), ("pink noise", pink), ("brown noise", brown))
    yield "noise in gusts", pink * np.interp(time, np.arange(140) / 10, np.abs(rng.normal(size=140)))
    yield "noise, 4 Hz modulation", white * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * time))
    yield (
        "noise, one octave",
        signal.sosfilt(signal.butter(2, (500, 1000), "band", fs=SAMPLING_RATE, output="sos"), white),
    )
    yield "mains hum", sum(np.sin(2 * np.pi * mains * k * time) / k for k in range(1, 20))
    yield "tone", np.sin(2 * np.pi * rng.uniform(80, 3000) * time)
    yield "sweep", np.sin(2 * np.pi * (100 * time + rng.uniform(20, 200) * time**2))
    yield "ringing", (np.sin(2 * np.pi * 440 * time) + np.sin(2 * np.pi * 480 * time)) * (time % 6 < 2)
    low, high = rng.choice([697, 770, 852, 941]), rng.choice([1209, 1336, 1477])
    yield "dialling", (np.sin(2 * np.pi * low * time) + np.sin(2 * np.pi * high * time)) * (time % 0.5 < 0.2)
    yield "buzz", signal.sawtooth(2 * np.pi * 120 * time)
    yield from (("clicks", clicks), ("silence", np.zeros(WINDOW)), ("offset", np.ones(WINDOW)))


def pauses(samples: Samples) -> Iterator[Samples]:
    """Stretches without speech, each to and fro for three seconds."""
    quiet = np.convolve(speech_probabilities(samples) < 0.15, np.ones(9), "same") >= 9
    edges = np.flatnonzero(np.diff(np.concatenate(([0], quiet.astype(int), [0]))))
    for start, stop in zip(edges[::2] * FRAME_SAMPLES, edges[1::2] * FRAME_SAMPLES, strict=True):
        pause = samples[start:stop]
        if len(pause) >= 0.3 * SAMPLING_RATE and pause.any():
            times = -(-3 * SAMPLING_RATE // len(pause))
            yield np.concatenate([pause[:: 1 if n % 2 == 0 else -1] for n in range(times)])[: 3 * SAMPLING_RATE]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, metavar="FOLDER", help="default: sounds without speech only")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every N-th clip")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="of the made-up sounds")
    parser.add_argument("--noise", type=Path, nargs="*", default=[], metavar="FILE", help="recordings without speech")
    parser.add_argument("--output", type=Path, metavar="JSON")
    arguments = parser.parse_args()
    names = []
    if arguments.audio is not None:
        with (arguments.audio / "metadata.csv").open(newline="", encoding="utf-8") as file:
            names = [row["file_name"] for row in csv.DictReader(file)][:: arguments.every]
    found: dict[str, Counter[str]] = {name: Counter() for name in CHANNELS if names}
    for place, name in enumerate(tqdm(names, file=sys.stderr, disable=None)):
        samples = load_audio(arguments.audio / name)
        for kind, channel in CHANNELS.items():
            found[kind][heard(channel(samples, np.random.default_rng([place, 7])))] += 1
        found.setdefault("pauses", Counter()).update(heard(pause) for pause in pauses(samples))
    for seed in range(arguments.seeds):
        for kind, samples in sounds(np.random.default_rng(seed)):
            level = 1 / max(float(np.sqrt(np.mean(samples**2))), 1e-9)
            for level_dbfs in (-20, -50, -65, -75):
                leveled = np.rint(samples * level * 10 ** (level_dbfs / 20) * 32768) / 32768
                found.setdefault(kind, Counter())[heard(leveled)] += 1
                found[kind][heard(called(leveled, None))] += 1
    for path in arguments.noise:
        samples = load_audio(path)
        for start in range(0, len(samples) - WINDOW + 1, WINDOW):
            part = samples[start : start + WINDOW]
            found.setdefault(path.name, Counter()).update((heard(part), heard(called(part, None))))
    for kind, counts in found.items():
        before = counts["second"] + counts["refused"]
        print(f"{kind:32} {counts.total():6} of them refused: first look {before:5}, second {counts['refused']:5}")
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
