"""How fast preparation is, against the usual pydub script on the same recordings, both on one core.

    DATA_PREP_CORPUS=/path/to/recordings python benchmarks/data_prep_speed.py

Ours: hash, decode, both passes, fingerprint, FLAC. Theirs: `AudioSegment.from_file`, 16 kHz mono, `split_on_silence`
with the threshold relative to the recording's own level, neighbours joined up to the longest chunk, FLAC. Its settings:
silences of 0.5 s as in most tutorials, of 1 s as by default (its time grows with this), and 0.5 s in steps of 10 ms
instead of 1 ms, which hardly any script sets. Recordings are made of ten files each, as 16 kHz WAV, and FLAC is written
in process, so that pydub never starts ffmpeg, which would only slow it down. Needs pydub, for the comparison only.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_prep import vad
from data_prep.audio import SAMPLING_RATE, load_audio, pcm16
from data_prep.files import find_audio_files
from data_prep.parts import Recipe
from data_prep.recording import PrepareTask, prepare_recording

_PER_RECORDING = 10  # corpus files joined into one recording
_RECORDINGS = 12
_MIN_MS, _MAX_MS = 2_500, 13_000


def make_recordings(corpus: Path, folder: Path) -> list[Path]:
    """Recordings of a minute or so, half a second of room between the utterances."""
    files = list(find_audio_files([corpus]))[: _PER_RECORDING * _RECORDINGS]
    paths = []
    for first in range(0, len(files), _PER_RECORDING):
        pieces = []
        for file in files[first : first + _PER_RECORDING]:
            room = np.random.default_rng(first).normal(0, 3e-4, SAMPLING_RATE // 2).astype(np.float32)
            pieces += [load_audio(file.path), room]
        path = folder / f"{first:05d}.wav"
        with wave.open(str(path), "wb") as output:
            output.setnchannels(1)
            output.setsampwidth(2)
            output.setframerate(SAMPLING_RATE)
            output.writeframes(pcm16(np.concatenate(pieces)).tobytes())
        paths.append(path)
    return paths


def ours(path: Path, folder: Path) -> None:
    facts = prepare_recording(PrepareTask(path, folder, Recipe()))
    assert facts.error is None, facts.error


def pydub_script(min_silence_ms: int, step_ms: int) -> Callable[[Path, Path], None]:
    """The script as tutorials have it, with the joining of short neighbours that a dataset needs."""
    from pydub import AudioSegment
    from pydub.silence import split_on_silence

    def prepare(path: Path, folder: Path) -> None:
        audio = AudioSegment.from_file(path).set_frame_rate(SAMPLING_RATE).set_channels(1)
        spans = split_on_silence(
            audio, min_silence_len=min_silence_ms, silence_thresh=audio.dBFS - 16, keep_silence=100, seek_step=step_ms
        )
        joined: list[AudioSegment] = []
        for span in spans:
            if joined and len(joined[-1]) + len(span) <= _MAX_MS:
                joined[-1] += span
            else:
                joined.append(span)
        for index, chunk in enumerate(joined):
            for start in range(0, len(chunk), _MAX_MS):
                piece = chunk[start : start + _MAX_MS]
                if len(piece) >= _MIN_MS:
                    from data_prep.audio import encode_flac  # pydub's export starts ffmpeg for every chunk

                    samples = np.array(piece.get_array_of_samples(), np.float32) / 32768
                    (folder / f"{path.stem}-{index}-{start}.flac").write_bytes(encode_flac(samples))

    return prepare


def timed(prepare: Callable[[Path, Path], None], paths: list[Path], rounds: int) -> float:
    """Least processor seconds of `rounds` passes over the recordings."""
    least = float("inf")
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.process_time()
            for path in paths:
                prepare(path, Path(folder))
            least = min(least, time.process_time() - begin)
    return least


def main() -> int:
    corpus = os.environ.get("DATA_PREP_CORPUS")
    if not corpus:
        print(__doc__, file=sys.stderr)
        return 2
    vad.speech_probabilities(np.zeros(SAMPLING_RATE, np.float32))  # load the model before the clock runs
    with tempfile.TemporaryDirectory() as folder:
        paths = make_recordings(Path(corpus), Path(folder))
        seconds = sum((path.stat().st_size - 44) // 2 for path in paths) / SAMPLING_RATE  # 44 bytes of header
        print(f"{len(paths)} recordings, {seconds / 60:.1f} min, 16 kHz; processor time, best of several")
        taken = timed(ours, paths, 3)
        print(f"data_prep                  {taken:8.2f} s   {seconds / taken:6.0f}x realtime a core", flush=True)
        try:
            scripts = {settings: pydub_script(*settings) for settings in ((500, 1), (1000, 1), (500, 10))}
        except ImportError:
            print("pydub is not installed: pip install pydub, to compare", file=sys.stderr)
            return 0
        for (silence, step), script in scripts.items():
            theirs = timed(script, paths, 1)
            print(
                f"pydub {silence:>5} ms, step {step:>2} ms {theirs:8.2f} s   {seconds / theirs:6.0f}x realtime a core, "
                f"{theirs / taken:.1f} times ours",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
