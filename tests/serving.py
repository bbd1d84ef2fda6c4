"""What the tests of the server share: a small detector with operating points, a client, a server with a real port."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from conftest import ROOT, save_tiny
from starlette.testclient import TestClient

from app.server import create_app
from app.settings import Settings
from app.sockets import config_of
from deepfake.judging.record import VALIDATION, ClassFacts, ClipFacts, Confusion, JudgedSet, Judgement
from deepfake.judging.run import RESULTS, DataFacts, ModelFacts, RunFacts, RunRecord, TrainingFacts, write_run
from deepfake.metrics.intervals import Estimate
from infer import Detector


def small_detector(folder: Path) -> Detector:
    """Untrained, with the operating points of the detector in the box and windows of 3 s."""
    stored = json.loads((ROOT / "checkpoints/compact/config.json").read_text())["detector"]
    save_tiny(folder, detector={**stored, "window_s": 3.0, "hop_s": 1.5})
    metrics = {name: Estimate(value) for name, value in (("fpr", 0.1), ("fnr", 0.5), ("accuracy", 0.77))}
    facts = ClipFacts(ClassFacts(200), ClassFacts(100))
    judged = JudgedSet(VALIDATION, 300, facts, Confusion(tp=50, tn=180, fp=20, fn=50), metrics)
    run = RunFacts(
        hub_model_id=None, license="apache-2.0", max_duration_s=13.0, recipe={}, surroundings={},
        model=ModelFacts(None, True, "Wav2Vec2ForSequenceClassification", "wav2vec2", 7, 7),
        data=DataFacts("made up", {}, None), training=TrainingFacts(),
    )  # fmt: skip
    write_run(folder / RESULTS, RunRecord(run, Judgement(None, None, {stored["threshold_split"]: judged})))
    return Detector.from_pretrained(folder)


@contextlib.contextmanager
def client_of(detector: Detector, **settings: object) -> Iterator[TestClient]:
    """The application without a network, with its model loaded."""
    with TestClient(create_app(lambda: detector, Settings(**settings))) as client:
        wait_for(lambda: client.get("/ping").status_code == 200)
        yield client


@contextlib.contextmanager
def server_of(detector: Detector, **settings: object) -> Iterator[tuple[str, int]]:
    """Host and port of a server in a thread of its own, as `python -m app` starts it."""
    app = create_app(lambda: detector, Settings(**settings))
    server = uvicorn.Server(config_of(app, "127.0.0.1", 0))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    wait_for(lambda: server.started and app.state.service.detector is not None)
    try:
        yield listening.getsockname()[:2]
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def wait_for(condition: object, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
