"""Recordings and rows elsewhere: fetched one at a time, kept in pieces, the same scores, nothing fetched unasked."""

from __future__ import annotations

import csv
import io
import os
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from deepfake.audio.decode import AudioError, AudioReader, encode_flac
from deepfake.audio.remote import RemoteFile, filesystem, is_url
from deepfake.errors import UserError
from deepfake.scoring.arguments import parse_arguments
from deepfake.scoring.command import score
from deepfake.scoring.listing import list_files
from infer import Detector

RATE = 16_000


@pytest.fixture(scope="module")
def calls(speech: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote") / "calls"
    for name, start in (("one.flac", 0), ("two.flac", 9), ("in/three.flac", 18), ("in/no audio.txt", 1)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode_flac(speech[start * RATE // 2 :][: 2 * RATE]))
    return folder


@pytest.fixture(scope="module")
def bucket(calls: Path) -> Iterator[str]:
    """The folder on an S3 server on this machine."""
    server = pytest.importorskip("moto.server", reason="needs moto and s3fs: pip install '.[remote]' 'moto[server]'")
    pytest.importorskip("s3fs", reason="needs s3fs: pip install '.[remote]'")
    service = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    service.start()
    host, port = service.get_host_and_port()
    given = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as environment:
        for name, value in given.items():
            environment.setenv(name, value)
        system = filesystem("s3://")
        system.mkdir("records")
        system.put(str(calls), "records/calls", recursive=True)
        yield "s3://records"
    service.stop()


class Breaking(SimpleHTTPRequestHandler):
    """A web server that sends half of what is named `broken`, says 404 as any, and writes down what was asked for."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path not in self.server.broken:
            super().do_GET()
            return
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(calls: Path) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Breaking, directory=str(calls.parent)))
    server.asked, server.broken = [], set()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def infer(model: Path, *words: object) -> list[dict[str, str]]:
    """Run the command in this process; the rows of a .csv output, wherever it is."""
    command = parse_arguments([str(word) for word in (*words, "--model", model)])
    score(command)
    if isinstance(command.output, RemoteFile):
        text = filesystem("s3://").cat_file(str(command.output)).decode()
    else:
        text = command.output.read_text()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def scores(rows: list[dict[str, str]]) -> dict[str, str]:
    return {row["path"].rpartition("calls/")[2]: row["fake_probability"] for row in rows}


def test_a_bucket_is_scored_as_its_copy_here(
    bucket: str, calls: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = infer(tiny_checkpoint, calls, "--output", tmp_path / "here.csv")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    there = infer(tiny_checkpoint, f"{bucket}/calls", "--output", f"{bucket}/scores/there.csv")
    assert [row["path"] for row in there] == [f"{bucket}/calls/{n}" for n in ("one.flac", "two.flac", "in/three.flac")]
    assert scores(there) == scores(here)
    assert {row["error"] for row in there} == {""}
    assert os.listdir(tmp_path / "temporary") == []
    assert sorted(filesystem("s3://").find("records/scores")) == [
        "records/scores/there.csv", "records/scores/there.csv.meta.json",
    ]  # fmt: skip


def test_what_a_url_names(bucket: str, web: ThreadingHTTPServer) -> None:
    def names(*given: str, **options: object) -> list[str]:
        return [file.name for file in list_files(given, **options)]

    everything = ["calls/one.flac", "calls/two.flac", "calls/in/three.flac"]
    assert names(f"{bucket}/calls") == names(f"{bucket}/calls/") == everything
    assert names(f"{web.url}/calls/") == everything
    assert names(f"{bucket}/calls/**/*.flac") == ["in/three.flac", "calls/one.flac", "calls/two.flac"]
    assert names(f"{bucket}/calls/two.flac", f"{web.url}/calls/one.flac?key=1") == ["calls/two.flac", "calls/one.flac"]
    assert names(f"{bucket}/calls", exclude=["*/in/*"]) == everything[:2]
    with pytest.raises(UserError, match="does not exist"):
        names(f"{bucket}/nothing")
    with pytest.raises(UserError, match="no audio file matches"):
        names(f"{bucket}/calls/*.mp3")
    asked = len(web.asked)
    listed = io.BytesIO(f"{web.url}/calls/one.flac\n{bucket}/gone.wav\n{web.url}/calls/one.flac\n".encode())
    assert names("-", stdin=listed) == ["calls/one.flac", "records/gone.wav"]
    assert len(web.asked) == asked


def test_a_download_that_breaks_off_is_a_row_and_is_tried_again(
    web: ThreadingHTTPServer, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfake.audio.remote._PAUSES_S", (0, 0))
    web.broken.add("/calls/two.flac")
    words = (f"{web.url}/calls/one.flac", f"{web.url}/calls/two.flac", f"{web.url}/calls/gone.flac")
    rows = infer(tiny_checkpoint, *words, "--output", tmp_path / "rows.csv")
    assert [row["error"].partition(" (")[0] for row in rows] == ["", "cannot be fetched", "cannot be fetched"]
    assert web.asked.count("/calls/two.flac") == 3
    web.broken.clear()
    web.asked.clear()
    rows = infer(tiny_checkpoint, *words, "--output", tmp_path / "rows.csv", "--resume")
    assert {row["path"].rpartition("/")[2]: bool(row["error"]) for row in rows} == {
        "one.flac": False, "two.flac": False, "gone.flac": True,
    }  # fmt: skip
    assert "/calls/one.flac" not in web.asked


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_run_that_dies_is_gone_on_with_from_its_pieces(
    kind: str, bucket: str, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = f"{bucket}/{kind}/rows.{kind}"
    command = parse_arguments([f"{bucket}/calls", "--output", output, "--model", str(tiny_checkpoint)])
    monkeypatch.setattr("deepfake.scoring.remote_output._EVERY_S", 0)
    written = 0
    row = Detector.row

    def dies(self: Detector, *arguments: object) -> object:
        nonlocal written
        written += 1
        if written == 3:
            raise KeyboardInterrupt
        return row(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Detector, "row", dies)
        with pytest.raises(KeyboardInterrupt):
            score(command)
    system = filesystem("s3://")
    assert not system.exists(output)
    assert len(system.ls(f"{output}.partial")) >= 3  # of rows, and the record
    with pytest.raises(UserError, match="exists already in part"):
        parse_arguments([f"{bucket}/calls", "--output", output])
    resumed = score(
        parse_arguments([f"{bucket}/calls", "--output", output, "--model", str(tiny_checkpoint), "--resume"])
    )
    assert (resumed.files, resumed.kept) == (1, 2)
    assert not system.exists(f"{output}.partial")
    if kind == "csv":
        paths = [line.partition(",")[0] for line in system.cat_file(output).decode().splitlines()[1:]]
        assert len(paths) == len(set(paths)) == 3


def test_only_what_was_named_by_url_is_fetched(web: ThreadingHTTPServer) -> None:
    url = f"{web.url}/calls/one.flac"
    with pytest.raises(AudioError):
        AudioReader(url)
    with pytest.raises(AudioError):
        AudioReader(Path(url))
    assert web.asked == []
    with AudioReader(RemoteFile(url)) as reader:
        assert sum(map(len, reader.blocks())) == 2 * RATE


def test_urls_are_told_from_names() -> None:
    assert [is_url(text) for text in ("s3://a/b", "hf://datasets/a/b", "file:///etc/passwd", "s3:a", "a/s3://b")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    with pytest.raises(UserError, match="can be read and not written to"):
        parse_arguments(["a.wav", "--output", "https://example.org/rows.csv"])
    with pytest.raises(UserError, match="only rows of scores"):
        parse_arguments(["a.wav", "--timeline", "s3://bucket/timeline"])
