"""Load the API with locust: 32 clients, 2,000 requests, the detector in the box; nothing lost, no 5xx, memory flat.

python -m benchmarks.app_load --output out/app_load.json

It talks to a server that it starts itself at 127.0.0.1, sends a bounded number of requests and ends by itself. Exit
status 1 when a request was lost or answered wrongly.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.served import Served, served
from deepfake.audio.decode import SAMPLING_RATE, encode_flac, load_audio
from deepfake.errors import UserError, run_command

_HERE = Path(__file__).parent
_RECORDINGS = _HERE.parent / "examples" / "recordings"
_EDGE = 100  # requests at either end that are compared


@dataclass(frozen=True)
class Load:
    """What a run found. `lost`: requests without a right answer; `memory_mb`: of the server, by hundreds."""

    clients: int
    requests: int
    clip_s: float
    detail: str
    lost: int
    server_errors: int
    seconds: float
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p95_first_ms: float
    p95_last_ms: float
    memory_mb: list[float]
    cpus: int
    machine: str


def clips_into(folder: Path, clip_s: float) -> None:
    """Cut a clip of `clip_s` seconds out of each of the embedded recordings."""
    for path in sorted(_RECORDINGS.glob("*/*")):
        samples = load_audio(path)[5 * SAMPLING_RATE :][: round(clip_s * SAMPLING_RATE)]
        (folder / f"{path.stem}.flac").write_bytes(encode_flac(samples))


def load(server: Served, clients: int, requests: int, clip_s: float, detail: str, seconds: int) -> Load:
    """Send `requests` requests from `clients` clients at once.

    Raises:
        UserError: locust is not installed, or it did not end within `seconds`.
    """
    with tempfile.TemporaryDirectory() as place:
        clips, log = Path(place) / "clips", Path(place) / "log.csv"
        clips.mkdir()
        clips_into(clips, clip_s)
        environment = {
            **os.environ, "LOAD_REQUESTS": str(requests), "LOAD_CLIPS": str(clips), "LOAD_LOG": str(log),
            "LOAD_DETAIL": detail,
        }  # fmt: skip
        command = [
            sys.executable, "-m", "locust", "-f", str(_HERE / "app_locustfile.py"), "--headless", "--only-summary",
            "--users", str(clients), "--spawn-rate", str(clients), "--host", server.url,
            "--run-time", f"{seconds}s", "--stop-timeout", "60", "--loglevel", "WARNING",
        ]  # fmt: skip
        memory: list[tuple[float, float]] = []
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        said: list[str] = []
        threading.Thread(target=lambda: said.append(process.stdout.read()), daemon=True).start()
        while process.poll() is None:
            memory.append((time.monotonic(), server.memory_mb))
            done = log.read_text().count("\n") if log.exists() else 0
            if done >= requests:
                process.terminate()
            time.sleep(0.2)
        rows = list(csv.reader(log.open())) if log.exists() else []
    if not rows:
        raise UserError(f"locust sent nothing: {' '.join(said).strip()[-300:] or 'is it installed?'}")
    return _summary(np.array(rows, dtype=float), np.array(memory), clients, requests, clip_s, detail)


def _summary(rows: np.ndarray, memory: np.ndarray, clients: int, requests: int, clip_s: float, detail: str) -> Load:
    rows = rows[np.argsort(rows[:, 0])]
    edge = min(_EDGE, len(rows) // 4)
    began, ended = rows[0, 0] - rows[0, 1], rows[-1, 0]

    def held(start: float, stop: float) -> float:
        inside = memory[(memory[:, 0] >= start) & (memory[:, 0] <= stop), 1]
        return float(inside.mean()) if len(inside) else float(memory[-1, 1])

    def p95_ms(part: np.ndarray) -> float:
        return 1000 * float(np.percentile(part[:, 1], 95))

    return Load(
        clients=clients, requests=len(rows), clip_s=clip_s, detail=detail,
        lost=requests - int(rows[:, 3].sum()), server_errors=int((rows[:, 2] >= 500).sum()),
        seconds=round(ended - began, 1), requests_per_s=round(len(rows) / (ended - began), 2),
        p50_ms=round(1000 * float(np.median(rows[:, 1]))), p95_ms=round(p95_ms(rows)),
        p95_first_ms=round(p95_ms(rows[:edge])), p95_last_ms=round(p95_ms(rows[-edge:])),
        memory_mb=[
            round(held(part[0, 0] - part[0, 1], part[-1, 0]), 1)
            for part in np.array_split(rows, max(1, len(rows) // _EDGE))
        ],
        cpus=os.cpu_count() or 1, machine=platform.machine(),
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clip-s", type=float, default=3.0, help="seconds of each clip (default 3)")
    parser.add_argument("--detail", choices=("score", "segments", "full"), default="score")
    parser.add_argument("--seconds", type=int, default=1800, help="at most (default 1800)")
    parser.add_argument("--model", help="default: the detector in the box")
    parser.add_argument("--output", type=Path, help="write the numbers as JSON")
    arguments = parser.parse_args()
    with served(*(["--model", arguments.model] if arguments.model else [])) as server:
        found = load(
            server, arguments.clients, arguments.requests, arguments.clip_s, arguments.detail, arguments.seconds
        )
    text = json.dumps(asdict(found), indent=1)
    print(text)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text + "\n")
    return int(found.lost > 0 or found.server_errors > 0)


if __name__ == "__main__":
    sys.exit(run_command(main))
