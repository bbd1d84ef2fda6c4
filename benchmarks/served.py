"""A server as a user starts it, in a process of its own on this machine, for the load and the fuzz test."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import requests


@dataclass(frozen=True)
class Served:
    """`url`: where it is; `process`: for its memory."""

    url: str
    process: psutil.Process

    @property
    def memory_mb(self) -> float:
        return self.process.memory_info().rss / 1e6


@contextlib.contextmanager
def served(*options: str, ready_s: float = 120.0) -> Iterator[Served]:
    """`python -m app OPTIONS` on a free port of 127.0.0.1, ended on leaving.

    Raises:
        RuntimeError: it did not get ready in time.
    """
    command = [sys.executable, "-m", "app", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stderr.readline()
            if not line.startswith("http://127.0.0.1:"):
                raise RuntimeError(f"{' '.join(command)} said {line.strip() or 'nothing'}")
            url, until = line.split()[0], time.monotonic() + ready_s
            while time.monotonic() < until:
                with contextlib.suppress(requests.ConnectionError):
                    if requests.get(f"{url}/ping", timeout=5).status_code == 200:
                        break
                time.sleep(0.2)
            else:
                raise RuntimeError(f"{' '.join(command)} was not ready within {ready_s:g} s")
            yield Served(url, psutil.Process(process.pid))
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
