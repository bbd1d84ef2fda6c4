"""The live socket ends with the row that the same audio gets as a file, and is not held up by anybody."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
import soxr
from serving import client_of, server_of, small_detector
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from app.live import decode
from deepfake.audio.decode import load_audio
from infer import Detector

RATE = 16_000


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return small_detector(tmp_path_factory.mktemp("live") / "model")


@pytest.fixture(scope="module")
def client(detector: Detector) -> Iterator[TestClient]:
    with client_of(detector, stream_idle_s=0.5, max_stream_s=60, max_streams=2) as client:
        yield client


def encoded(samples: np.ndarray, encoding: str) -> tuple[bytes, bytes]:
    """A WAV file and what is inside it, without its header of 44 bytes or more."""
    file = io.BytesIO()
    if encoding == "mulaw":
        soundfile.write(file, soxr.resample(samples, RATE, 8000), 8000, format="WAV", subtype="ULAW")
    else:
        soundfile.write(file, samples, RATE, format="WAV", subtype="PCM_16")
    whole = file.getvalue()
    start = whole.index(b"data") + 8
    return whole, whole[start:]


def end(socket: WebSocketTestSession) -> tuple[list[dict], dict]:
    socket.send_text("")
    messages = []
    while not messages or messages[-1]["type"] != "final":
        messages.append(json.loads(socket.receive_text()))
    return messages[:-1], messages[-1]["row"]


@pytest.mark.parametrize("encoding", ["s16le", "mulaw"])
@pytest.mark.parametrize("size", [1, 333, 3200, 10**6])
def test_the_final_row_is_that_of_the_file(client: TestClient, speech: np.ndarray, encoding: str, size: int) -> None:
    file, audio = encoded(speech[: 7 * RATE] if size > 1 else speech[: round(1.3 * RATE)], encoding)
    data = {"detail": "score", "operating_point": "eer"}
    row = client.post("/v1/score", files={"files": ("a.wav", file)}, data=data).json()["rows"][0]
    with client.websocket_connect(f"/v1/stream?encoding={encoding}&operating_point=eer") as socket:
        pieces = [audio[i : i + size] for i in range(0, min(len(audio), 500 * size), size)]
        for piece in [*pieces, audio[500 * size :]]:  # the rest at once
            socket.send_bytes(piece)
        verdicts, final = end(socket)
    assert final["fake_probability"] == pytest.approx(row["fake_probability"], abs=1e-6)
    for key in ("prediction", "threshold", "windows", "duration_s", "speech_s", "operating_point", "verdict", "error"):
        assert final[key] == row[key]
    if 1 < size < 10**6:
        assert verdicts
        assert all(0 < v["heard_s"] <= 7 for v in verdicts)


def test_mulaw_is_decoded_as_ffmpeg_decodes_it() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(256), 16000, format="WAV", subtype="ULAW")
    whole = file.getvalue()
    start = whole.index(b"data") + 8
    every = bytes(range(256)) * 20
    header = bytearray(whole[:start])
    header[start - 4 : start] = len(every).to_bytes(4, "little")
    header[4:8] = (start - 8 + len(every)).to_bytes(4, "little")
    np.testing.assert_array_equal(load_audio(bytes(header) + every), decode(every, "mulaw"))


def test_silence_and_nothing_at_all_have_rows_with_errors(client: TestClient) -> None:
    for audio, says in ((b"", "too short"), (bytes(4 * RATE), "no_speech")):
        with client.websocket_connect("/v1/stream") as socket:
            socket.send_bytes(audio)
            verdicts, row = end(socket)
        assert verdicts == []
        assert says in row["error"]
        assert (row["fake_probability"], row["verdict"]) == (None, "cannot_tell")


def test_a_stream_may_be_scored_without_looking_for_speech(client: TestClient) -> None:
    with client.websocket_connect("/v1/stream?speech_detection=off") as socket:
        socket.send_bytes(bytes(8 * RATE))
        verdicts, row = end(socket)
    assert verdicts
    assert row["windows"] == 2
    assert [warning["code"] for warning in row["warnings"]] == ["speech_detection_off"]


def closed(
    client: TestClient, path: str = "/v1/stream", text: str | None = None, audio: bytes = b""
) -> tuple[int, str]:
    """Code and reason of the server's close."""
    with client.websocket_connect(path) as socket:
        for start in range(0, len(audio), 32_000):
            socket.send_bytes(audio[start : start + 32_000])
        if text is not None:
            socket.send_text(text)
        while (message := socket.receive())["type"] != "websocket.close":
            pass
    return message["code"], message["reason"]


def test_misuse_is_told_by_the_close(client: TestClient) -> None:
    assert closed(client, text="hello")[0] == 1003
    assert closed(client, "/v1/stream?operating_point=none")[0] == 1008
    assert closed(client) == (1001, "no audio came for 0.5 s")
    assert closed(client, audio=bytes(62 * 2 * RATE), text="") == (1009, "longer than 60 s")


def test_there_are_only_so_many_streams_and_a_client_that_leaves_makes_room(client: TestClient) -> None:
    with client.websocket_connect("/v1/stream"), client.websocket_connect("/v1/stream") as second:
        second.send_bytes(bytes(320))
        assert closed(client)[0] == 1013
    assert client.get("/v1/health").json()["streams"] == 0


def test_pages_elsewhere_and_clients_without_the_key_get_no_socket(detector: Detector) -> None:
    with client_of(detector, api_key="k") as client:
        for headers in (
            {},
            {"authorization": "Bearer x"},
            {"authorization": "Bearer k", "origin": "https://x.example"},
        ):
            with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/stream", headers=headers):
                pass
        with client.websocket_connect("/v1/stream", subprotocols=["deepfake-stream", "key.k"]) as socket:
            assert socket.accepted_subprotocol == "deepfake-stream"


def test_a_client_faster_than_the_detector_has_to_wait_and_loses_nothing(
    detector: Detector, speech: np.ndarray
) -> None:
    """Over a real socket: two minutes at once, more than the server holds."""
    from websockets.sync.client import connect

    samples = np.tile(speech, 6)
    file, audio = encoded(samples, "s16le")
    with server_of(detector) as (host, port), connect(f"ws://{host}:{port}/v1/stream") as socket:
        for start in range(0, len(audio), 60_000):
            socket.send(audio[start : start + 60_000])
        socket.send("")
        row = [json.loads(message) for message in socket][-1]["row"]
    assert row["fake_probability"] == pytest.approx(detector.score(file).fake_probability, abs=1e-6)
    assert row["duration_s"] == pytest.approx(len(samples) / RATE, abs=1e-3)
