"""Memory of a 10-hour recording, and how soon a folder of 100,000 files starts.

    python -m benchmarks.data_prep_scale --hours 10

The recording is the embedded speech over and over; peak memory is what the preparing process has for itself (RssAnon of
Linux, every 50 ms), and with the pages of the decoded file that it maps and that the system may take back. The folder
holds copies of one small file under real/ and fake/; measured is the time until every file is found and labelled.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
import wave
from pathlib import Path

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE, encode_flac, load_audio, pcm16

_SPEECH = Path(__file__).parents[1] / "examples/recordings/real/vctk_p226.wav"
_FILES = 100_000


def long_recording(path: Path, hours: float) -> None:
    speech = pcm16(load_audio(_SPEECH)).tobytes()
    with wave.open(str(path), "wb") as output:
        output.setparams((1, 2, SAMPLING_RATE, 0, "NONE", ""))
        for _ in range(int(hours * 3600 * SAMPLING_RATE * 2 / len(speech))):
            output.writeframesraw(speech)


def _prepare(path: str) -> None:
    """Prepare one recording in this process and print what it took."""
    from data_prep.parts import Recipe
    from data_prep.recording import PrepareTask, prepare_recording

    held, begin = [0.0], time.perf_counter()
    threading.Thread(target=_watch, args=(held,), daemon=True).start()
    facts = prepare_recording(PrepareTask(Path(path), Path(path).parent / "parts", Recipe()))
    taken, peak = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{facts.duration_s / 3600:.1f} h: {taken:.0f} s, {len(facts.chunk_samples)} chunks, peak memory "
        f"{max(held):.0f} MiB, with mapped pages {peak:.0f} MiB",
        flush=True,
    )


def _watch(held: list[float]) -> None:
    while True:
        told = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
        held.append(int(told[1]) / 1024)
        time.sleep(0.05)


def _start(folder: str) -> None:
    begin = time.perf_counter()
    from data_prep.inputs import read_inputs

    rows = read_inputs([folder], "auto", Path(folder)).rows
    print(f"{len(rows)} files found and labelled after {time.perf_counter() - begin:.1f} s, imports included")


def main() -> int:
    if sys.argv[1:2] in (["prepare"], ["start"]):  # one of the measured processes
        (_prepare if sys.argv[1] == "prepare" else _start)(sys.argv[2])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=10.0, help="length of the recording (default 10)")
    arguments = parser.parse_args()
    this = [sys.executable, "-m", "benchmarks.data_prep_scale"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long_recording(folder / "long.wav", arguments.hours)
        subprocess.run([*this, "prepare", str(folder / "long.wav")], check=True)
        silence = encode_flac(np.zeros(SAMPLING_RATE, np.float32))
        for index in range(_FILES):
            place = folder / "corpus" / ("real", "fake")[index % 2] / f"{index // 1000:03d}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{index:06d}.flac").write_bytes(silence)
        subprocess.run([*this, "start", str(folder / "corpus")], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
