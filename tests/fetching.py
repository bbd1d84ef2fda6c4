"""What the tests of `fetch` share: synthetic speech, repositories of it, a web server that serves them, and lists."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from building import write_wav

from data_prep.__main__ import main
from data_prep.fetch_list import REQUIRED_COLUMNS

COLUMNS = (*REQUIRED_COLUMNS, "kind", "generator", "family", "year", "speaker", "language", "group_id", "licence")
_GIT = {
    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
}  # fmt: skip


def voice(seconds: float, seed: int = 0, rate: int = 16_000, edge_s: float = 0.0) -> np.ndarray:
    """Harmonics in syllables over faint noise, with `edge_s` of the noise alone at both ends; float32, full scale 1."""
    random = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate)) / rate
    pitch_hz = 110 + 10 * (seed % 9)
    tone = sum(np.sin(2 * np.pi * k * pitch_hz * time_s) / k for k in range(1, 12))
    syllables = 0.3 + 0.7 * np.abs(np.sin(2 * np.pi * 2 * time_s))
    edge = np.zeros(round(edge_s * rate))
    samples = np.concatenate((edge, 0.1 * tone * syllables, edge))
    return (samples + random.normal(0, 3e-4, len(samples))).astype(np.float32)


def git(folder: Path, *words: str, **environment: str) -> str:
    command = ["git", "-C", str(folder), *words]
    done = subprocess.run(command, env=os.environ | _GIT | environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@dataclass(frozen=True)
class Repository:
    """A git repository with one commit. `blobs` holds the id of each of its files."""

    folder: Path
    page: str
    commit: str
    blobs: Mapping[str, str]

    def content(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()


def make_repository(root: Path, page: str, files: Mapping[str, np.ndarray | bytes]) -> Repository:
    """Commit `files` (samples become 16 kHz WAV) to a repository at root/OWNER+NAME."""
    folder = root / page.replace("/", "+")
    folder.mkdir(parents=True)
    for path, content in files.items():
        if isinstance(content, bytes):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        else:
            write_wav(folder / path, content)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "clips")
    listed = git(folder, "ls-tree", "-r", "-z", "HEAD").split("\0")
    blobs = {line.split("\t", 1)[1]: line.split()[2] for line in listed if line}
    return Repository(folder, page, git(folder, "rev-parse", "HEAD"), blobs)


def row(repository: Repository, path: str, start_s: float = 0.0, end_s: float = 10.0, **more: object) -> dict:
    """A row of a list; `more` sets other columns, or these."""
    cells = {"page": repository.page, "commit": repository.commit, "path": path, "blob": repository.blobs.get(path)}
    return cells | {"start_s": start_s, "end_s": end_s, "label": "fake", "generator": "g", "kind": "tts"} | more


def write_list(path: Path, rows: Sequence[Mapping]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, restval="")
        table.writeheader()
        table.writerows(rows)
    return path


def run(*arguments: object) -> int:
    return main(["fetch", *map(str, arguments), "--workers", "1"])


def metadata(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def report(folder: Path) -> dict:
    return json.loads((folder / "fetch_report.json").read_text(encoding="utf-8"))


def reasons(folder: Path) -> dict[str, str]:
    """path → reason of every missing clip"""
    return {entry["path"]: entry["reason"] for entry in report(folder)["missing_clips"]}


@dataclass
class Server:
    """A web server on this machine, with what it was asked.

    Attributes:
        answers: path inside the repository → what to do instead of answering with the file, for the n-th request, the
            first being 0. It returns True where it has answered.
        asked: (path, time.monotonic()) of each request.
        most_at_once: requests that were under way together.
    """

    repositories: Sequence[Repository]
    answers: dict[str, Callable[[BaseHTTPRequestHandler, int], bool]] = field(default_factory=dict)
    asked: list[tuple[str, float]] = field(default_factory=list)
    most_at_once: int = 0
    pause_s: float = 0.0
    url: str = ""

    def times(self, path: str) -> list[float]:
        return [when for asked, when in self.asked if asked == path]


@contextmanager
def serving(*repositories: Repository) -> Iterator[Server]:
    """Serve the files of repositories at /OWNER/NAME/COMMIT/PATH on 127.0.0.1."""
    server = Server(repositories)
    lock = threading.Lock()
    under_way = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            nonlocal under_way
            owner, name, commit, path = self.path.lstrip("/").split("/", 3)
            path = unquote(path)
            with lock:
                number = len(server.times(path))
                server.asked.append((path, time.monotonic()))
                under_way += 1
                server.most_at_once = max(server.most_at_once, under_way)
            time.sleep(server.pause_s)
            try:
                if not (path in server.answers and server.answers[path](self, number)):
                    self._serve(f"{owner}/{name}", commit, path)
            finally:
                with lock:
                    under_way -= 1

        def _serve(self, page: str, commit: str, path: str) -> None:
            for repository in server.repositories:
                if (repository.page, repository.commit) == (page, commit) and path in repository.blobs:
                    answer(self, 200, repository.content(path))
                    return
            answer(self, 404)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a client that was killed

    with Quiet(("127.0.0.1", 0), Handler) as held:
        server.url = f"http://127.0.0.1:{held.server_port}"
        thread = threading.Thread(target=held.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            held.shutdown()
            thread.join()


def answer(handler: BaseHTTPRequestHandler, status: int, content: bytes = b"", **headers: str) -> bool:
    """Answer a request whole; underscores in the names of `headers` stand for hyphens."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)
    return True
