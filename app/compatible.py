"""Routes of other systems, with their own keys, answered by the same detector; see docs/serve.md for which is whose."""

from __future__ import annotations

import base64
import binascii
import io
import json
from typing import Annotated, Any, Literal

import numpy as np
import soundfile
from fastapi import APIRouter, File, Request, Response, UploadFile
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app.api import PROBLEMS
from app.asking import in_thread, score_files, service_of, status_of
from app.facts import GRAPHS, facts_of, graph_of, graphs_of
from app.rows import confidence
from app.schemas import Probability, Row

router = APIRouter(responses=PROBLEMS)
_RATES_HZ = (100, 768_000)


class ModelStatus(BaseModel):
    """`accuracy` and the other metrics by their true names, of the split that `metrics_split` says."""

    loaded: bool
    device: str | None = None
    version: str = "1.0"
    accuracy: float | None = None
    f1: float | None = None
    roc_auc: float | None = None
    metrics_split: str | None = None


class Fakeness(BaseModel):
    fakeness_score: Probability
    prediction: Literal["fake", "real", "uncertain"]
    confidence: Probability


class Realtime(BaseModel):
    audio: str = Field(description="base64 of a file's bytes, or a data URL of them, e.g. a browser's audio/webm")


class Healthy(BaseModel):
    status: Literal["healthy", "loading"]


class Genuineness(BaseModel):
    label: Literal["Genuine", "Deepfake", "Uncertain"]
    confidence: Probability
    deepfake_probability: Probability
    threshold: Probability


class Invocation(BaseModel):
    audio_base64: str = Field(description="base64 of float32 samples, little endian, mono, full scale 1")
    sample_rate: int = Field(16_000, ge=_RATES_HZ[0], le=_RATES_HZ[1])


class Invoked(BaseModel):
    prediction: Literal["fake", "real", "uncertain"]
    confidence: Probability
    probabilities: dict[Literal["real", "fake"], Probability]


@router.get("/api/health", tags=["log-mel CNN"], response_model=Healthy)
def health(request: Request) -> Healthy:
    return Healthy(status="loading" if service_of(request).detector is None else "healthy")


@router.get("/api/model/status", tags=["log-mel CNN"], response_model=ModelStatus)
def status(request: Request) -> Response | ModelStatus:
    """503, and `loaded: false`, while there is no model."""
    detector = service_of(request).detector
    if detector is None:
        return JSONResponse(ModelStatus(loaded=False).model_dump(), 503)
    facts = facts_of(detector)
    values = {key: facts.metrics.get(name) for key, name in (("f1", "f1_fake"), ("roc_auc", "roc_auc"))}
    return ModelStatus(
        loaded=True,
        device=facts.device,
        accuracy=facts.metrics.get("accuracy"),
        metrics_split=facts.metrics_split,
        **values,
    )


@router.post("/api/predict/upload", tags=["log-mel CNN"])
async def upload(request: Request, file: Annotated[UploadFile, File()]) -> Fakeness:
    return _fakeness(await _row(request, file))


@router.post("/api/predict/realtime", tags=["log-mel CNN"])
async def realtime(request: Request, body: Realtime) -> Fakeness:
    kind, comma, data = body.audio.partition(",")
    if body.audio.startswith("data:") and not (comma and kind.endswith(";base64")):
        raise HTTPException(422, "audio is a data URL that is not base64; expected data:TYPE;base64,…")
    content = await in_thread(service_of(request), lambda: _decoded(data if comma else body.audio, "audio"))
    return _fakeness(await _row(request, ("realtime", content)))


@router.get(
    "/api/graph/{name}", tags=["log-mel CNN"], response_class=Response,
    responses={200: {"content": {"image/png": {}}}, 404: PROBLEMS[422]},
)  # fmt: skip
def graph(request: Request, name: str) -> Response:
    """An evaluation plot of the checkpoint as PNG; 404 where it has none of that name."""
    detector = service_of(request).ready()
    picture = graph_of(detector, GRAPHS.get(name, name))
    if picture is None:
        known = ", ".join(graphs_of(detector)) or "none; python -m evaluation report draws them"
        raise HTTPException(404, f"there is no such plot; this checkpoint has {known}")
    return Response(picture, media_type="image/png")


@router.post("/predict", tags=["audio_detection"])
async def predict(request: Request, file: Annotated[UploadFile, File()]) -> Genuineness:
    row = await _row(request, file)
    labels = {"real": "Genuine", "fake": "Deepfake", "uncertain": "Uncertain"}
    return Genuineness(
        label=labels[row.prediction],
        confidence=confidence(row.fake_probability, row.prediction),
        deepfake_probability=row.fake_probability,
        threshold=row.threshold,
    )


@router.get("/ping", tags=["SageMaker"], response_class=Response)
def ping(request: Request) -> Response:
    """200 when the model is loaded, else 503."""
    return Response(status_code=503 if service_of(request).detector is None else 200)


@router.post(
    "/invocations", tags=["SageMaker"], response_model=Invoked,
    openapi_extra={"requestBody": {"required": True, "content": {
        "application/json": {"schema": Invocation.model_json_schema()},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    }}},
)  # fmt: skip
async def invoke(request: Request) -> Invoked:
    """JSON with float32 samples, or the bytes of an audio file as `audio/…` or `application/octet-stream`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if kind == "application/json":
        content = await in_thread(service_of(request), lambda: _wav(_invocation(body)))
    elif kind.startswith("audio/") or kind == "application/octet-stream":
        content = body
    else:
        raise HTTPException(415, f"the body is {kind[:60] or 'of no type'}; expected application/json or audio/…")
    row = await _row(request, ("invocation", content))
    return Invoked(
        prediction=row.prediction,
        confidence=confidence(row.fake_probability, row.prediction),
        probabilities={"real": 1 - row.fake_probability, "fake": row.fake_probability},
    )


async def _row(request: Request, file: UploadFile | tuple[str, bytes]) -> Row:
    """The one file's row. Raises HTTPException when it has an error: these systems' answers have no place for it."""
    (row,) = await score_files(request, [file])
    if row.error is not None:
        raise HTTPException(status_of([row]), row.error)
    return row


def _fakeness(row: Row) -> Fakeness:
    share = confidence(row.fake_probability, row.prediction)
    return Fakeness(fakeness_score=row.fake_probability, prediction=row.prediction, confidence=share)


def _decoded(text: str, field: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise HTTPException(422, f"{field} is not base64") from error


def _invocation(body: bytes) -> Invocation:
    try:
        values: Any = json.loads(body)
        return Invocation.model_validate(values)
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, "expected JSON with audio_base64 and sample_rate") from error


def _wav(invocation: Invocation) -> bytes:
    data = _decoded(invocation.audio_base64, "audio_base64")
    if len(data) % 4:
        raise HTTPException(422, f"audio_base64 holds {len(data)} bytes; float32 samples need a multiple of 4")
    file = io.BytesIO()
    soundfile.write(file, np.frombuffer(data, "<f4"), invocation.sample_rate, format="WAV", subtype="FLOAT")
    return file.getvalue()
