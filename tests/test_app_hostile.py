"""A server at a real port against clients that are slow, torn, huge or wrong: it answers, forgets them, and goes on."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import runpy
import socket
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import RECORDINGS, ROOT, run
from serving import server_of, small_detector, wait_for

from app.__main__ import main
from app.sockets import TimedProtocol
from deepfake.audio.decode import encode_flac
from infer import Detector

RATE = 16_000
FORM = "Content-Type: multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return small_detector(tmp_path_factory.mktemp("hostile") / "model")


@pytest.fixture(scope="module")
def server(detector: Detector) -> Iterator[tuple[str, int]]:
    with server_of(detector, body_timeout_s=1.0, max_duration_s=120, max_upload_mb=5) as place:
        yield place


def exchange(place: tuple[str, int], *parts: bytes, pause_s: float = 0.0, shut: bool = False) -> bytes:
    """Send raw bytes and read all of the answer."""
    with socket.create_connection(place, timeout=15) as connection:
        for part in parts:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(part)
            time.sleep(pause_s)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            while piece := connection.recv(65536):
                answer += piece
        return answer


def post(place: tuple[str, int], content: bytes, name: str = "a.flac") -> tuple[int, dict]:
    disposition = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = disposition.encode() + content + b"\r\n--x--\r\n"
    connection = http.client.HTTPConnection(*place, timeout=60)
    connection.request("POST", "/v1/score", body, dict([FORM.split(": ")]))
    answer = connection.getresponse()
    status, data = answer.status, json.loads(answer.read())
    connection.close()
    return status, data


def healthy(place: tuple[str, int]) -> bool:
    connection = http.client.HTTPConnection(*place, timeout=5)
    connection.request("GET", "/v1/health")
    data = json.loads(connection.getresponse().read())
    connection.close()
    return data["status"] == "ok" and data["waiting"] == 0


def test_huge_headers_are_refused(server: tuple[str, int]) -> None:
    answer = exchange(server, b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n")
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
    assert healthy(server)


def test_headers_that_never_end_are_given_up(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimedProtocol, "header_timeout_s", 0.5)
    with server_of(detector) as place:
        slow = [socket.create_connection(place, timeout=10) for _ in range(50)]
        for connection in slow:
            connection.sendall(b"GET /v1/health HTTP/1.1\r\nX-Slow: ")
        assert healthy(place)
        for connection in slow:
            assert connection.recv(10) == b""
            connection.close()


def test_a_body_that_stops_coming_is_408_and_holds_up_nobody(server: tuple[str, int]) -> None:
    head = f"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\n{FORM}\r\nContent-Length: 1000\r\n\r\n".encode()
    waiting = [socket.create_connection(server, timeout=15) for _ in range(20)]
    for connection in waiting:
        connection.sendall(head + b"--x\r\n")
    began = time.monotonic()
    assert healthy(server)
    assert time.monotonic() - began < 1
    for connection in waiting:
        assert connection.recv(100).startswith(b"HTTP/1.1 408")
        connection.close()


def test_half_closed_and_torn_connections_leave_nothing_behind(server: tuple[str, int]) -> None:
    head = f"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\n{FORM}\r\nContent-Length: 100000\r\n\r\n".encode()
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' + b"a" * 5000
    exchange(server, head, part, shut=True)
    for _ in range(5):
        with socket.create_connection(server) as connection:
            connection.sendall(head + part)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))  # a reset
    wait_for(lambda: healthy(server))


def test_a_client_that_goes_away_is_not_worked_for(detector: Detector, speech: np.ndarray) -> None:
    content = encode_flac(np.tile(speech, 25))
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' + content + b"\r\n--x--\r\n"
    head = f"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\n{FORM}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with server_of(detector) as place:
        connection = socket.create_connection(place)
        connection.sendall(head + body)
        wait_for(lambda: not healthy(place))
        connection.close()
        began = time.monotonic()
        wait_for(lambda: healthy(place))
        assert time.monotonic() - began < 4  # all of it takes over ten


def test_decompression_bombs_stop_at_the_limit(server: tuple[str, int]) -> None:
    """Hours of silence in a few kilobytes, and gzip and zip, which are not unpacked at all."""
    bomb = encode_flac(np.zeros(3600 * RATE, np.float32))
    assert len(bomb) < 2_000_000
    began = time.monotonic()
    status, data = post(server, bomb)
    assert (status, data["detail"]) == (413, "too long: more than 120 s")
    assert time.monotonic() - began < 10
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.wav", bytes(10_000_000))
    assert post(server, packed.getvalue())[0] == 415


@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(40),
        b"fLaC" + bytes(100),
        b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f",
        bytes(range(256)) * 40,
    ],
    ids=["m3u", "concat", "svg", "riff", "flac", "id3", "bytes"],
)
def test_files_that_are_not_audio_or_point_elsewhere_have_errors(server: tuple[str, int], content: bytes) -> None:
    status, data = post(server, content)
    assert status in (415, 422)
    assert "root:" not in json.dumps(data)
    assert data["rows"][0]["error"]


def test_names_with_paths_and_markup_stay_names(server: tuple[str, int], speech: np.ndarray) -> None:
    for name in ("../../../../etc/x.flac", "/etc/passwd", "<img src=x onerror=alert(1)>.flac", "a%00b.flac"):
        status, data = post(server, encode_flac(speech[: 2 * RATE]), name)
        assert status == 200
        assert "/" not in data["rows"][0]["file"]


@pytest.mark.parametrize(
    "path", ["/static/../settings.py", "/static/%2e%2e/settings.py", "/v1/examples/..%2f..%2f/x", "/v1/jobs/../health"]
)
def test_paths_do_not_lead_out(server: tuple[str, int], path: str) -> None:
    answer = exchange(server, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404")


def test_a_mistake_at_the_start_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["--model", str(tmp_path / "nothing"), "--port", "0"]) == 2
    address, said = capsys.readouterr().err.splitlines()
    assert address.startswith("http://127.0.0.1:")
    assert said.startswith("error: ")
    assert "nothing" in said
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words in (["--port", "99999"], ["--max-waiting", "0"], ["--port", port]):
            assert main(words) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" is ")[0] for line in said[:2]] == ["error: --port", "error: --max-waiting"]
    assert "cannot listen" in said[2]


def test_help_teaches_and_needs_no_pytorch() -> None:
    done = run(sys.executable, "-X", "importtime", "-m", "app", "--help")
    assert "python -m app --model OUT" in done.stdout
    assert " torch\n" not in done.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("score.py", "vctk_p226.wav real"), ("job.py", "segments"), ("system_a.py", "fakeness_score"),
        ("system_b.py", "deepfake_probability"), ("sagemaker.py", "probabilities"), ("live.py", "real 0."),
    ],
)  # fmt: skip
def test_the_client_examples_run(
    name: str, says: str, detector: Detector, speech: np.ndarray, tmp_path: Path, client_server: tuple[str, int]
) -> None:
    import soundfile

    clip = tmp_path / "clip.wav"
    soundfile.write(clip, speech[: 4 * RATE], RATE, subtype="PCM_16")
    scheme = "ws" if name == "live.py" else "http"
    place = f"{scheme}://127.0.0.1:{client_server[1]}"
    path = RECORDINGS / "real" / "vctk_p226.wav" if name == "score.py" else clip
    done = run(sys.executable, "-c", (ROOT / "examples/clients" / name).read_text(), place, path)
    probability = detector.score(path).fake_probability
    points = detector.checkpoint.stored["operating_points"]
    threshold = points["fpr_0.05"]["fake_probability"] if name == "score.py" else detector.threshold
    assert says.replace("real", "fake" if probability >= threshold else "real").split()[-1] in done.stdout


@pytest.fixture(scope="module")
def client_server(detector: Detector) -> Iterator[tuple[str, int]]:
    with server_of(detector) as place:
        yield place


def test_the_endpoint_handler_answers_as_the_task_does(
    tiny_checkpoint: Path,
    speech: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    from app.handler import EndpointHandler

    handler, clip = EndpointHandler(str(tiny_checkpoint)), encode_flac(speech[: 3 * RATE])
    answer = handler({"inputs": clip})
    expected = Detector.from_pretrained(tiny_checkpoint).score(clip).fake_probability
    assert {entry["label"]: entry["score"] for entry in answer} == pytest.approx(
        {"fake": expected, "real": 1 - expected}
    )
    assert answer[0]["score"] >= answer[1]["score"]
    samples = handler({"inputs": speech[: 3 * RATE].tolist(), "parameters": {"sampling_rate": RATE}})
    assert samples[0]["score"] == pytest.approx(answer[0]["score"], abs=1e-3)
    path = tmp_path / "clip.flac"
    path.write_bytes(clip)
    monkeypatch.setattr(sys, "argv", ["endpoint.py", str(tiny_checkpoint), str(path)])
    capsys.readouterr()
    runpy.run_path(str(ROOT / "examples/clients/endpoint.py"))
    assert capsys.readouterr().out.strip() == str(answer)
    for inputs in (b"", b"no audio", "***", [[1.0]]):
        assert set(handler({"inputs": inputs})[0]) == {"error"}
