"""How many re-encoded, trimmed and quieter copies near-duplicate detection finds, and how many false pairs it makes.

    DATA_PREP_CORPUS=/path/to/corpus python benchmarks/data_prep_fingerprint.py [RECORDINGS]

The corpus is a folder of recordings; RECORDINGS of them (default 500) are taken at even distances.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import soxr

from data_prep.fingerprint import fingerprint, near_duplicates
from deepfake.audio.decode import SAMPLING_RATE, load_audio, pcm16
from deepfake.audio.files import find_audio_files


def encoded(samples: np.ndarray, codec: str, container: str, bit_rate: int | None = None, rate: int = SAMPLING_RATE):
    """Samples through a codec and back, float32 at 16 kHz."""
    buffer = io.BytesIO()
    source = samples if rate == SAMPLING_RATE else soxr.resample(samples, SAMPLING_RATE, rate)
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(pcm16(source)[None], format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        for converted in (*resampler.resample(frame), *resampler.resample(None)):
            output.mux(stream.encode(converted))
        output.mux(stream.encode(None))
    return load_audio(buffer.getvalue())


def trimmed(samples: np.ndarray) -> np.ndarray:
    """Without the first 0.31 s and the last 0.44 s: no whole number of frames."""
    return samples[5_003:-7_001]


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gain -10 dB": lambda w: 0.3162 * w,
    "trimmed 0.31 + 0.44 s": trimmed,
    "mp3 32 kb/s": lambda w: encoded(w, "libmp3lame", "mp3", 32_000),
    "opus 16 kb/s": lambda w: encoded(w, "libopus", "ogg", 16_000),
    "aac 32 kb/s": lambda w: encoded(w, "aac", "adts", 32_000),
    "A-law at 8 kHz": lambda w: encoded(w, "pcm_alaw", "wav", rate=8_000),
    "trimmed, -6 dB, mp3 32 kb/s": lambda w: encoded(0.5 * trimmed(w), "libmp3lame", "mp3", 32_000),
    "half of it, opus 16 kb/s": lambda w: encoded(w[len(w) // 4 : 3 * len(w) // 4], "libopus", "ogg", 16_000),
}


def main() -> int:
    corpus = os.environ.get("DATA_PREP_CORPUS")
    if not corpus:
        print(__doc__, file=sys.stderr)
        return 2
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    files = list(find_audio_files([Path(corpus)]))
    waveforms = [load_audio(file.path) for file in files[:: max(1, len(files) // wanted)]][:wanted]
    seconds = sum(map(len, waveforms)) / SAMPLING_RATE
    begin = time.process_time()
    originals = [fingerprint(waveform) for waveform in waveforms]
    speed = seconds / (time.process_time() - begin)
    among = {(match.first, match.second) for match in near_duplicates(originals)}
    print(f"{len(waveforms)} recordings, {seconds / 60:.0f} min; fingerprint {speed:,.0f}x realtime on one core")
    print(f"pairs among the originals themselves: {len(among)}")
    print(f"{'copy':<30}{'found':>8}{'new pairs of different recordings':>36}")
    count = len(waveforms)
    for name, change in CHANGES.items():
        matches = near_duplicates(originals + [fingerprint(change(waveform)) for waveform in waveforms])
        found = sum(match.second == match.first + count for match in matches)
        pairs = {tuple(sorted((match.first % count, match.second % count))) for match in matches}
        print(f"{name:<30}{found / count:>8.1%}{len({p for p in pairs if p[0] != p[1]} - among):>36}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
