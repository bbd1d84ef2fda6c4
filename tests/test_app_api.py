"""The API's rows are the detector's, its limits have their statuses, its files are gone afterwards."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RECORDINGS
from serving import client_of, small_detector, wait_for
from starlette.testclient import TestClient

from app.listening import BANDS, MAX_COLUMNS, Listener, Spectrogram
from app.server import create_app
from app.settings import Settings
from app.uploads import display_name
from deepfake.audio.decode import AudioError, encode_flac
from deepfake.scoring.result import Score
from infer import Detector

RATE = 16_000
FAKE = RECORDINGS / "fake" / "kokoro_bf_alice.mp3"


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return small_detector(tmp_path_factory.mktemp("api") / "model")


@pytest.fixture(scope="module")
def client(detector: Detector) -> TestClient:
    with client_of(detector, max_duration_s=60) as client:
        yield client


@pytest.fixture(scope="module")
def clip(speech: np.ndarray) -> bytes:
    return encode_flac(speech[: 8 * RATE])


def files(*contents: bytes, names: tuple[str, ...] = ()) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (names[i] if i < len(names) else f"{i}.flac", content)) for i, content in enumerate(contents)]


def kept(client: TestClient) -> list[Path]:
    return list(client.app.state.service.uploads.path.iterdir())


def test_a_row_holds_the_score_of_the_detector_and_what_its_operating_point_gets_wrong(
    client: TestClient, detector: Detector, clip: bytes
) -> None:
    answer = client.post("/v1/score", files=files(clip), data={"operating_point": "fpr_0.05"})
    assert answer.status_code == 200
    (row,) = answer.json()["rows"]
    score: Score = detector.score(clip)
    assert row["fake_probability"] == pytest.approx(score.fake_probability, abs=1e-6)
    assert (row["windows"], row["duration_s"]) == (score.windows, score.duration_s)
    stored = detector.checkpoint.stored["operating_points"]["fpr_0.05"]
    assert row["threshold"] == pytest.approx(stored["fake_probability"])
    point = row["operating_point"]
    assert (point["fpr"], point["fnr"]) == (stored["fpr"], stored["fnr"])
    assert point["fpr_interval"]["low"] < point["fpr"] < point["fpr_interval"]["high"]
    assert row["prediction"] == ("fake" if score.fake_probability >= row["threshold"] else "real")
    assert len(row["window_scores"]) == row["windows"]
    assert row["segments"]
    assert all(0 <= s["start_s"] < s["stop_s"] <= 8 for s in row["segments"])
    assert row["picture"] is None


def test_a_bad_file_has_an_error_in_its_row_and_the_others_their_scores(client: TestClient, clip: bytes) -> None:
    silence = encode_flac(np.zeros(4 * RATE, np.float32))
    answer = client.post("/v1/score", files=files(clip, b"not audio", silence, clip), data={"detail": "score"})
    assert answer.status_code == 200
    rows = answer.json()["rows"]
    assert [row["file"] for row in rows] == ["0.flac", "1.flac", "2.flac", "3.flac"]
    assert rows[0]["fake_probability"] == pytest.approx(rows[3]["fake_probability"], abs=1e-6)
    assert rows[1]["error"].startswith("not decodable")
    assert rows[2]["error"].startswith("no_speech")
    assert [row["verdict"] for row in rows[1:3]] == ["cannot_tell", "cannot_tell"]
    assert kept(client) == []


@pytest.mark.parametrize(
    ("seconds", "content", "status", "says"),
    [
        (None, b"", 415, "empty"),
        (None, b"plain text", 415, "not decodable"),
        (4.0, None, 422, "no_speech"),
        (0.2, None, 422, "too short"),
        (70.0, None, 413, "too long"),
    ],
)
def test_the_status_says_why_no_file_could_be_scored(
    client: TestClient, seconds: float | None, content: bytes | None, status: int, says: str
) -> None:
    content = encode_flac(np.zeros(round(seconds * RATE), np.float32)) if content is None else content
    answer = client.post("/v1/score", files=files(content))
    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert answer.json()["rows"][0]["error"] == answer.json()["detail"]


def test_each_channel_of_a_call_is_scored_as_if_alone(
    client: TestClient, detector: Detector, speech: np.ndarray
) -> None:
    left, right = speech[: 5 * RATE], speech[6 * RATE : 11 * RATE]
    file = io.BytesIO()
    soundfile.write(file, np.stack((left, right), axis=1), RATE, format="FLAC")
    answer = client.post("/v1/score", files=files(file.getvalue()), data={"channels": "each"}).json()
    alone = [detector.score(encode_flac(samples)).fake_probability for samples in (left, right)]
    assert [row["channel"] for row in answer["rows"]] == [0, 1]
    assert [row["fake_probability"] for row in answer["rows"]] == pytest.approx(alone, abs=1e-5)
    (mixed,) = client.post("/v1/score", files=files(file.getvalue())).json()["rows"]
    assert "different_channels" in [w["code"] for w in mixed["warnings"]]


def test_speech_detection_may_be_switched_off(client: TestClient) -> None:
    silence = encode_flac(np.zeros(4 * RATE, np.float32))
    (row,) = client.post("/v1/score", files=files(silence), data={"speech_detection": "off"}).json()["rows"]
    assert (row["error"], row["windows"]) == (None, 2)
    assert row["warnings"][0]["code"] == "speech_detection_off"
    assert client.post("/v1/score", files=files(silence), data={"speech_detection": "on"}).status_code == 422


def test_abstaining_says_cannot_tell_between_its_bounds(client: TestClient, clip: bytes) -> None:
    row = client.post("/v1/score", files=files(clip), data={"operating_point": "abstain"}).json()["rows"][0]
    between = row["operating_point"]["real_below"] <= row["fake_probability"] < row["threshold"]
    assert (row["verdict"] == "cannot_tell") == (row["prediction"] == "uncertain") == between
    wrong = client.post("/v1/score", files=files(clip), data={"operating_point": "none"})
    assert wrong.status_code == 422
    assert "stored are" in wrong.json()["detail"]


def test_too_little_speech_cannot_tell_and_says_so(client: TestClient, speech: np.ndarray) -> None:
    little = np.concatenate((np.zeros(2 * RATE, "f4"), speech[RATE : round(1.9 * RATE)], np.zeros(2 * RATE, "f4")))
    row = client.post("/v1/score", files=files(encode_flac(little))).json()["rows"][0]
    assert row["fake_probability"] is not None
    assert row["verdict"] == "cannot_tell"
    assert "short_speech" in [w["code"] for w in row["warnings"]]


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("clipped", lambda x: np.clip(12 * x, -0.999, 0.999)),
        ("low_level", lambda x: 0.002 * x),
        ("noise", lambda x: x + np.random.default_rng(0).normal(0, 0.05, len(x)).astype("f4")),
    ],
)
def test_what_is_wrong_with_the_sound_is_told(
    client: TestClient, speech: np.ndarray, code: str, change: object
) -> None:
    def codes(samples: np.ndarray) -> list[str]:
        file = io.BytesIO()
        soundfile.write(file, samples, RATE, format="WAV", subtype="FLOAT")
        data = {"detail": "score"}
        return [
            w["code"]
            for w in client.post("/v1/score", files=files(file.getvalue()), data=data).json()["rows"][0]["warnings"]
        ]

    clean = speech[: 6 * RATE]
    assert code in codes(change(clean))
    assert code not in codes(clean)


def test_a_telephone_recording_and_a_lossy_one_are_told(client: TestClient, speech: np.ndarray) -> None:
    import soxr

    file = io.BytesIO()
    soundfile.write(file, soxr.resample(speech[: 6 * RATE], RATE, 8000), 8000, format="WAV", subtype="ULAW")
    rows = client.post("/v1/score", files=[*files(file.getvalue()), ("files", FAKE.open("rb"))]).json()["rows"]
    assert {"narrowband", "lossy_codec"} <= {w["code"] for w in rows[0]["warnings"]}
    assert "lossy_codec" in [w["code"] for w in rows[1]["warnings"]]


def test_a_job_is_answered_at_once_and_gives_the_rows_later(client: TestClient, clip: bytes) -> None:
    answer = client.post("/v1/jobs", files=files(clip, b"nothing"), data={"detail": "full"})
    assert answer.status_code == 202
    place = answer.headers["location"]
    assert len(place) > 35  # its key cannot be guessed
    job = client.get(place, params={"wait_s": 20, "detail": "full"}).json()
    assert job["status"] == "done"
    assert [file["progress"] for file in job["files"]] == [1, 1]
    row, failed = job["rows"]
    assert failed["error"]
    picture = row["picture"]
    assert len(picture["fake_probability"]) == len(picture["peaks"]) == 400
    assert len(base64.b64decode(picture["spectrogram"])) % BANDS == 0
    assert kept(client) == []
    other = client.get(place, params={"operating_point": "eer"}).json()["rows"][0]
    assert other["operating_point"]["name"] == "eer"
    assert other["fake_probability"] == row["fake_probability"]
    assert client.delete(place).status_code == 204
    assert client.get(place).status_code == 404
    assert client.get("/v1/jobs").status_code == 405  # there is no list of them


def test_a_job_that_is_given_up_stops_and_its_file_is_gone(detector: Detector, speech: np.ndarray) -> None:
    hour = encode_flac(np.tile(speech, 40))
    with client_of(detector) as client:
        place = client.post("/v1/jobs", files=files(hour)).headers["location"]
        wait_for(lambda: client.get(place).json()["files"][0]["progress"] > 0)
        assert client.get(place).json()["files"][0]["progress"] < 0.9
        assert client.delete(place).status_code == 204
        assert kept(client) == []
        wait_for(lambda: client.app.state.service.waiting == 0)


def test_old_jobs_are_forgotten_and_their_number_is_limited(detector: Detector, clip: bytes) -> None:
    with client_of(detector, job_keep_s=0.2, max_jobs=2) as client:
        places = [client.post("/v1/jobs", files=files(clip)).headers["location"] for _ in range(2)]
        full = client.post("/v1/jobs", files=files(clip))
        assert (full.status_code, full.headers["retry-after"]) == (503, "60")
        for place in places:
            client.get(place, params={"wait_s": 20})
        time.sleep(0.3)
        assert client.post("/v1/jobs", files=files(clip)).status_code == 202
        assert client.get(places[0]).status_code == 404
        assert len(kept(client)) <= 1
    with client_of(detector, max_kept_s=5) as client:
        place = client.post("/v1/jobs", files=files(clip)).headers["location"]
        assert client.get(place, params={"wait_s": 20}).json()["status"] == "done"
        assert client.post("/v1/jobs", files=files(clip)).status_code == 503


def test_a_full_queue_is_503_and_a_greedy_client_429(detector: Detector, clip: bytes) -> None:
    with client_of(detector, max_waiting=3) as client:
        answer = client.post("/v1/score", files=files(*[clip] * 4))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert kept(client) == []
    with client_of(detector, max_per_client=3) as client:
        assert client.post("/v1/score", files=files(*[clip] * 4)).status_code == 429
        assert client.post("/v1/score", files=files(*[clip] * 3)).status_code == 200
        assert client.app.state.service.waiting == 0


def test_recordings_of_several_requests_share_batches(
    detector: Detector, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sizes, gate = detector._forward.forward, [], threading.Event()

    def forward(waveforms: list[np.ndarray]) -> object:
        gate.wait(10)
        sizes.append(len(waveforms))
        return real(waveforms)

    monkeypatch.setattr(detector._forward, "forward", forward)
    with client_of(detector) as client, ThreadPoolExecutor(6) as pool:
        send = partial(client.post, "/v1/score", files=files(clip), data={"detail": "score"})
        answers = [pool.submit(send)]
        wait_for(lambda: client.app.state.service.waiting == 1)
        answers += [pool.submit(send) for _ in range(5)]
        wait_for(lambda: client.app.state.service.waiting == 6)
        gate.set()
        rows = [answer.result().json()["rows"][0] for answer in answers]
    assert len({round(row["fake_probability"], 6) for row in rows}) == 1
    windows = rows[0]["windows"]
    assert sizes[0] == windows  # the first request was alone
    assert max(sizes[1:]) > windows


def test_what_is_too_large_or_too_much_is_413(detector: Detector, clip: bytes) -> None:
    with client_of(detector, max_upload_mb=len(clip) / 1e6, max_files=2) as client:
        assert client.post("/v1/score", files=files(clip)).status_code == 413  # with the form around it
        assert client.post("/v1/score", files=files(b"a", b"b", b"c")).status_code == 413

        def unsaid() -> object:  # without a Content-Length
            yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
            for _ in range(20):
                yield clip[: len(clip) // 8]

        kind = {"content-type": "multipart/form-data; boundary=x"}
        assert client.post("/v1/score", content=unsaid(), headers=kind).status_code == 413
        assert kept(client) == []


def test_other_bodies_are_415_and_missing_fields_422(client: TestClient) -> None:
    assert client.post("/v1/score", json={"files": []}).status_code == 415
    assert client.post("/v1/score", content=b"RIFF", headers={"content-type": "audio/wav"}).status_code == 415
    assert client.post("/v1/score", files={"other": b"x"}).status_code == 422
    assert client.post("/v1/score", files=files(b"x"), data={"detail": "all"}).status_code == 422
    assert client.post("/api/predict/realtime", content=b"x", headers={"content-type": "text/plain"}).status_code == 415
    assert client.post("/invocations", content=b"x", headers={"content-type": "text/csv"}).status_code == 415


def test_the_time_limit_ends_reading(detector: Detector, clip: bytes) -> None:
    with client_of(detector, time_limit_s=0.001) as client:
        answer = client.post("/v1/score", files=files(clip))
        assert answer.status_code == 503
        assert "retry-after" in answer.headers


def test_before_the_model_is_loaded_everything_says_503() -> None:
    def never() -> Detector:
        raise RuntimeError("no such model")

    failures: list[Exception] = []
    with TestClient(create_app(never, Settings(), failures.append)) as client:
        wait_for(lambda: failures)
        assert client.get("/v1/health").json()["status"] == "loading"
        status = client.get("/api/model/status")
        assert (status.status_code, status.json()["loaded"]) == (503, False)
        for method, path in (("GET", "/v1/model"), ("GET", "/ping"), ("GET", "/api/graph/roc")):
            assert client.request(method, path).status_code == 503
        assert client.post("/v1/score", files=files(b"x")).status_code == 503
        assert client.post("/v1/jobs", files=files(b"x")).status_code == 503


def test_a_key_is_asked_of_all_that_scores(detector: Detector, clip: bytes) -> None:
    with client_of(detector, api_key="s3cret") as client:
        assert client.get("/").status_code == client.get("/v1/health").status_code == 200
        for wrong in ({}, {"authorization": "Bearer no"}, {"x-api-key": "s3cre"}, {"authorization": "Basic s3cret"}):
            assert client.post("/v1/score", files=files(clip), headers=wrong).status_code == 401
        for right in ({"authorization": "Bearer s3cret"}, {"x-api-key": "s3cret"}):
            assert client.post("/v1/score", files=files(clip), headers=right).status_code == 200


def test_pages_elsewhere_are_let_in_only_when_asked(detector: Detector) -> None:
    origin = {"origin": "https://news.example"}
    with client_of(detector) as client:
        assert "access-control-allow-origin" not in client.get("/v1/health", headers=origin).headers
    with client_of(detector, origins=("https://news.example",), api_key="k") as client:
        wish = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        assert client.options("/v1/score", headers=wish).status_code == 200
        refused = client.post("/v1/score", headers=origin)
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://news.example"  # so that the page can tell
        answer = client.get("/v1/health", headers=origin)
        assert answer.headers["access-control-allow-origin"] == "https://news.example"
        assert (
            "access-control-allow-origin"
            not in client.get("/v1/health", headers={"origin": "https://x.example"}).headers
        )


def test_a_request_for_another_host_is_refused(detector: Detector) -> None:
    with client_of(detector, hosts=("testserver", "localhost", "::1")) as client:
        assert client.get("/v1/health").status_code == 200
        assert client.get("/v1/health", headers={"host": "attacker.example"}).status_code == 421
        for host in ("localhost:7860", "[::1]", "[::1]:7860"):
            assert client.get("/v1/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.wav", "a.wav"),
        ("a\r\nSet-Cookie: x", "aSet-Cookie: x"),
        ("", "recording"),
        (None, "recording"),
        ("é" * 400, "é" * 200),
    ],
)
def test_a_clients_file_name_is_for_showing_only(sent: str | None, shown: str) -> None:
    assert display_name(sent) == shown


def test_two_files_of_one_name_do_not_meet(client: TestClient, detector: Detector, speech: np.ndarray) -> None:
    clips = [encode_flac(speech[start * RATE : (start + 4) * RATE]) for start in (0, 5, 10)]
    sent = files(*clips, names=("a.flac",) * 3)
    rows = client.post("/v1/score", files=sent, data={"detail": "score"}).json()["rows"]
    expected = [detector.score(clip).fake_probability for clip in clips]
    assert [row["fake_probability"] for row in rows] == pytest.approx(expected, abs=1e-5)
    assert len(set(expected)) == 3


def test_the_folder_of_uploads_is_private_and_goes_with_the_server(detector: Detector) -> None:
    with client_of(detector) as client:
        folder = client.app.state.service.uploads.path
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_the_model_is_described_with_its_points_and_limits(client: TestClient, detector: Detector) -> None:
    model = client.get("/v1/model").json()
    names = [point["name"] for point in model["operating_points"]]
    assert model["default"] == "default"
    assert names[0] == "default"
    assert {"fpr_0.01", "eer", "abstain"} < set(names)
    assert model["limits"]["max_duration_s"] == 60
    assert model["facts"]["parameters"] == sum(p.numel() for p in detector.checkpoint.model.parameters())


def test_a_threshold_of_ones_own_is_named_and_lends_itself_nobody_elses_rates(tmp_path: Path, clip: bytes) -> None:
    small_detector(tmp_path / "model")
    with client_of(Detector.from_pretrained(tmp_path / "model", threshold=0.9)) as client:
        points = client.get("/v1/model").json()["operating_points"]
        assert points[0]["name"] == "given"
        stored = next(point for point in points if point["name"] == "default")
        row = client.post("/v1/score", files=files(clip), data={"detail": "score"}).json()["rows"][0]
        assert (row["threshold"], row["operating_point"]["name"], row["operating_point"]["fpr"]) == (0.9, "given", None)
        asked = {"detail": "score", "operating_point": "default"}
        row = client.post("/v1/score", files=files(clip), data=asked).json()["rows"][0]
        assert row["operating_point"]["fpr"] == pytest.approx(
            stored["fpr"]["value"] if isinstance(stored["fpr"], dict) else stored["fpr"]
        )


def test_the_other_systems_routes_answer_with_their_own_keys(
    client: TestClient, detector: Detector, speech: np.ndarray
) -> None:
    samples = speech[: 6 * RATE]
    clip = encode_flac(samples)
    probability = detector.score(clip).fake_probability
    prediction = "fake" if probability >= detector.threshold else "real"
    share = probability if prediction == "fake" else 1 - probability
    assert set(client.get("/api/model/status").json()) >= {"loaded", "device", "accuracy", "version"}
    assert client.get("/api/health").json() == {"status": "healthy"}
    expected = {"fakeness_score": probability, "prediction": prediction, "confidence": share}
    assert client.post("/api/predict/upload", files={"file": clip}).json() == pytest.approx(expected, abs=1e-6)
    encoded = base64.b64encode(clip).decode()
    for audio in (encoded, f"data:audio/webm;codecs=opus;base64,{encoded}"):
        assert client.post("/api/predict/realtime", json={"audio": audio}).json() == pytest.approx(expected, abs=1e-6)
    label = {"real": "Genuine", "fake": "Deepfake"}[prediction]
    of_b = {"label": label, "confidence": share, "deepfake_probability": probability, "threshold": detector.threshold}
    assert client.post("/predict", files={"file": clip}).json() == pytest.approx(of_b, abs=1e-6)
    body = {"audio_base64": base64.b64encode(samples.astype("<f4").tobytes()).decode(), "sample_rate": RATE}
    of_e = client.post("/invocations", json=body).json()
    assert (of_e["prediction"], set(of_e["probabilities"])) == (prediction, {"real", "fake"})
    assert of_e["probabilities"]["fake"] == pytest.approx(probability, abs=1e-4)  # float samples, not 16 bits
    raw = client.post("/invocations", content=clip, headers={"content-type": "audio/flac"}).json()
    assert raw["probabilities"]["fake"] == pytest.approx(probability, abs=1e-6)
    assert client.get("/api/graph/nothing").status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/predict/realtime", {"audio": "data:audio/webm,plain"}),
        ("/api/predict/realtime", {"audio": "*"}),
        ("/invocations", {"audio_base64": "AAA="}),
        ("/invocations", {"audio_base64": "AAAAAA==", "sample_rate": 0}),
        ("/invocations", {"sample_rate": 16000}),
    ],
)
def test_bodies_that_hold_no_audio_are_422(client: TestClient, path: str, body: dict) -> None:
    assert client.post(path, json=body).status_code == 422


def test_a_browsers_recording_is_scored(client: TestClient, speech: np.ndarray) -> None:
    """webm with opus, as MediaRecorder writes it: without a duration in its header."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="webm", options={"live": "1"}) as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((speech[None, : 5 * RATE] * 32767).astype(np.int16), "s16", "mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler("s16", "mono", 48_000, frame_size=960)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))
    audio = "data:audio/webm;codecs=opus;base64," + base64.b64encode(file.getvalue()).decode()
    assert client.post("/api/predict/realtime", json={"audio": audio}).json()["prediction"] in ("real", "fake")


def test_an_evaluation_plot_beside_the_checkpoint_is_served(tmp_path: Path) -> None:
    detector = small_detector(tmp_path / "model")
    (tmp_path / "model" / "report").mkdir()
    (tmp_path / "model" / "report" / "roc.png").write_bytes(b"\x89PNG")
    (tmp_path / "model" / "README.md").write_text(
        "---\nlicense: mit\n---\n# Card\n<script>x</script>\n\n| a |\n|---|\n| b |\n"
    )
    with client_of(detector) as client:
        assert client.get("/api/graph/roc_curve").content == b"\x89PNG"
        assert client.get("/api/graph/confusion_matrix").content.startswith(b"\x89PNG\r\n")  # from results.json
        assert client.get("/api/graph/training_history").status_code == 404
        assert client.get("/v1/model/card").text.count("<img") == 2
        assert client.get("/api/graph/..%2Fconfig").status_code == 404
        card = client.get("/v1/model/card").text
        assert "<table>" in card
        assert "<script>" not in card
        assert "license" not in card


def test_nothing_in_the_pages_points_elsewhere(client: TestClient) -> None:
    for path in ("/", "/docs", "/static/app.js", "/static/app.css", "/static/style.css", "/v1/model/card"):
        answer = client.get(path)
        assert answer.status_code == 200
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        for place in ('src="http', 'href="http', "url(http", 'fetch("http', "//cdn"):
            assert place not in text, path
    document = client.get("/openapi.json").json()
    for routes in document["paths"].values():
        for route in routes.values():
            answers = [answer for status, answer in route["responses"].items() if status[0] == "2"]
            assert all(
                "$ref" in json.dumps(answer) or "content" not in answer or "image" in str(answer) for answer in answers
            )


def test_a_listener_ends_what_is_too_long_too_late_or_not_wanted_any_more() -> None:
    second = np.zeros(RATE, np.float32)
    listener = Listener(2.5)
    listener(second)
    listener(second)
    with pytest.raises(AudioError, match=r"too long: more than 2\.5 s"):
        listener(second)
    with pytest.raises(AudioError, match="too late"):
        Listener(10, time.monotonic() - 1)(second)
    listener = Listener(10)
    listener.cancelled.set()
    with pytest.raises(AudioError, match="cancelled"):
        listener(second)


def test_a_spectrogram_shows_where_the_sound_is_and_stays_small() -> None:
    time_s = np.arange(600 * RATE) / RATE
    tone = np.where(time_s < 300, np.sin(2 * np.pi * 500 * time_s), np.sin(2 * np.pi * 5000 * time_s)).astype("f4")
    spectrogram = Spectrogram()
    for start in range(0, len(tone), 7777):
        spectrogram.add(tone[start : start + 7777])
    levels = spectrogram.levels()
    assert MAX_COLUMNS / 2 <= len(levels) <= MAX_COLUMNS
    highest = levels.argmax(axis=1)
    assert (highest[: len(levels) // 2 - 2] < BANDS / 3).all()
    assert (highest[len(levels) // 2 + 2 :] > BANDS / 2).all()
