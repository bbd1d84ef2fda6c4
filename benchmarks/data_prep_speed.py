"""How fast preparation is, against the usual pydub scripts on the same recordings.

    DATA_PREP_CORPUS=/path/to/recordings python -m benchmarks.data_prep_speed [--set mono16|stereo44]

Recordings of one to four minutes are joined out of the corpus, once as 16 kHz mono (FLAC, WAV) and once as 44.1 kHz
stereo (MP3, M4A, WAV), which is what people have. Ours: hash, decode, both passes, fingerprint, FLAC. Theirs:
`AudioSegment.from_file`, `split_on_silence` 16 dB below the recording's own level, every chunk exported as 16 kHz mono
FLAC; they neither join nor drop chunks. The scripts differ in whether they resample first or at the export, in the
shortest silence (500 ms in most tutorials, 1000 ms by default) and in the seek step (1 ms by default).

Processor seconds of one core, everything loaded before the clock runs; pydub starts ffmpeg for whatever is not WAV, and
for every chunk it exports, so its time is also told without. With --commands: wall time of whole commands instead, from
start-up to finished dataset, on all cores. Needs pydub and ffmpeg, for the comparison only.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soxr

from data_prep.parts import Recipe
from data_prep.recording import PrepareTask, prepare_recording
from deepfake.audio import vad
from deepfake.audio.decode import SAMPLING_RATE, load_audio
from deepfake.audio.files import find_audio_files

_ROOM = 3e-4  # RMS of the room between utterances, -70 dBFS
_FORMATS = {  # set → rate, layout, (extension, codec) in turn
    "mono16": (16_000, "mono", (("flac", "flac"), ("wav", "pcm_s16le"))),
    "stereo44": (44_100, "stereo", (("mp3", "libmp3lame"), ("m4a", "aac"), ("wav", "pcm_s16le"))),
}


@dataclass(frozen=True)
class Script:
    """A pydub script. `first`: to 16 kHz mono before the search for silences, not at the export."""

    first: bool
    silence_ms: int
    step_ms: int

    def __str__(self) -> str:
        return f"pydub, {'16 kHz first' if self.first else 'as it is'}, {self.silence_ms} ms, step {self.step_ms} ms"

    def __call__(self, path: Path, folder: Path) -> None:
        from pydub import AudioSegment
        from pydub.silence import split_on_silence

        audio = AudioSegment.from_file(path)
        if self.first:
            audio = audio.set_frame_rate(SAMPLING_RATE).set_channels(1)
        chunks = split_on_silence(
            audio,
            min_silence_len=self.silence_ms,
            silence_thresh=audio.dBFS - 16,
            keep_silence=200,
            seek_step=self.step_ms,
        )
        for index, chunk in enumerate(chunks):
            chunk = chunk.set_frame_rate(SAMPLING_RATE).set_channels(1)
            chunk.export(folder / f"{path.stem}-{index}.flac", format="flac")


SCRIPTS = (Script(False, 500, 1), Script(True, 500, 1), Script(True, 1000, 1), Script(True, 500, 10))


def make_recordings(corpus: Path, folder: Path, name: str, count: int, minutes: float) -> list[Path]:
    """`count` recordings of up to `minutes`, half of them under real/, half under fake/ (for the whole command)."""
    rate, layout, kinds = _FORMATS[name]
    random = np.random.default_rng(1)
    clips = iter(find_audio_files([corpus]))
    paths = []
    for index in range(count):
        pieces, seconds, wanted = [], 0.0, random.uniform(60, 60 * minutes)
        while seconds < wanted:
            room = random.normal(0, _ROOM, int(random.uniform(0.2, 1.2) * SAMPLING_RATE)).astype(np.float32)
            pieces += [load_audio(next(clips).path), room]
            seconds += sum(map(len, pieces[-2:])) / SAMPLING_RATE
        samples = soxr.resample(np.concatenate(pieces), SAMPLING_RATE, rate)
        if layout == "stereo":
            samples = np.stack([samples, 0.8 * np.roll(samples, 11)]) + random.normal(0, _ROOM, (2, len(samples)))
        extension, codec = kinds[index // 2 % len(kinds)]
        path = folder / ("real", "fake")[index % 2] / f"{index:02d}.{extension}"
        path.parent.mkdir(exist_ok=True)
        _write(path, np.atleast_2d(samples).astype(np.float32), rate, layout, codec)
        paths.append(path)
    return paths


def _write(path: Path, samples: np.ndarray, rate: int, layout: str, codec: str) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for converted in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))


def ours(path: Path, folder: Path) -> None:
    facts = prepare_recording(PrepareTask(path, folder, Recipe()))
    assert facts.error is None, facts.error


def processor_s(prepare: Callable[[Path, Path], None], paths: list[Path], rounds: int = 1) -> tuple[float, float]:
    """Least processor seconds of `rounds` passes over the recordings: with, and without started programs."""
    least = (float("inf"), float("inf"))
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            before = _used()
            for path in paths:
                prepare(path, Path(folder))
            own, children = (after - was for after, was in zip(_used(), before, strict=True))
            least = min(least, (own + children, own))
    return least


def _used() -> tuple[float, float]:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return tuple(held.ru_utime + held.ru_stime for held in usage)


def _wall_s(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def _compare(paths: list[Path], seconds: float) -> None:
    vad.speech_probabilities(np.zeros(SAMPLING_RATE, np.float32))  # load the model before the clock runs
    taken, _ = processor_s(ours, paths, 3)
    print(f"{'data_prep':<42}{taken:8.2f} s {seconds / taken:7.0f} x realtime", flush=True)
    for script in SCRIPTS:
        theirs, alone = processor_s(script, paths)
        print(
            f"{script!s:<42}{theirs:8.2f} s {seconds / theirs:7.0f} x realtime, {theirs / taken:6.1f} x ours; "
            f"without ffmpeg {alone:.2f} s, {alone / taken:.1f} x ours",
            flush=True,
        )


def _compare_commands(folder: Path, seconds: float) -> None:
    build = [sys.executable, "-m", "data_prep", "build", str(folder), "--overwrite", "--output"]
    with tempfile.TemporaryDirectory() as output:
        taken = min(_wall_s([*build, f"{output}/{round_}"]) for round_ in range(2))
    print(f"{'python -m data_prep build, all cores':<42}{taken:8.2f} s {seconds / taken:7.0f} x realtime", flush=True)
    for index, script in enumerate(SCRIPTS):
        with tempfile.TemporaryDirectory() as output:
            one = [sys.executable, "-m", "benchmarks.data_prep_speed", "--pydub", str(index), str(folder), output]
            theirs = _wall_s(one)
        print(
            f"{script!s:<42}{theirs:8.2f} s {seconds / theirs:7.0f} x realtime, {theirs / taken:6.1f} x ours",
            flush=True,
        )


def _run_script(index: str, folder: str, output: str) -> None:
    for path in sorted(Path(folder).rglob("*.*")):
        SCRIPTS[int(index)](path, Path(output))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=tuple(_FORMATS), action="append", help="default: both")
    parser.add_argument("--recordings", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=4, help="longest recording")
    parser.add_argument("--commands", action="store_true", help="wall time of whole commands")
    parser.add_argument("--pydub", nargs=3, metavar=("SCRIPT", "FOLDER", "OUTPUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.pydub:
        _run_script(*arguments.pydub)
        return 0
    corpus = os.environ.get("DATA_PREP_CORPUS")
    if not corpus or shutil.which("ffmpeg") is None:
        print("set DATA_PREP_CORPUS to a folder of recordings, and install ffmpeg and pydub", file=sys.stderr)
        return 2
    for name in arguments.set or _FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            paths = make_recordings(Path(corpus), Path(folder), name, arguments.recordings, arguments.minutes)
            seconds = sum(len(load_audio(path)) for path in paths) / SAMPLING_RATE
            print(f"{name}: {len(paths)} recordings, {seconds / 60:.1f} min")
            if arguments.commands:
                _compare_commands(Path(folder), seconds)
            else:
                _compare(paths, seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
