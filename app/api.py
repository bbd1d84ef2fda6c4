"""The routes below /v1: health, model, score, jobs."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app.asking import client_of, in_thread, keep, points_of, rows_done, score_files, service_of, status_of
from app.facts import ModelFacts, facts_of
from app.jobs import Job, Jobs
from app.rows import job_of
from app.schemas import Channels, Detail, JobAnswer, OperatingPoint, Problem, ScoreAnswer, SpeechDetection
from app.uploads import Upload

router = APIRouter(prefix="/v1")

_PROBLEMS = {
    400: "the form cannot be read", 401: "no valid key", 408: "the body stopped coming",
    413: "too large, too many or too long", 415: "not multipart, or no file is audio",
    422: "a wrong field, or no file can be scored (no speech, too short, damaged)",
    429: "too much of yours is under way", 503: "no model yet, the queue is full, or it took too long",
}  # fmt: skip
PROBLEMS = {status: {"model": Problem, "description": text} for status, text in _PROBLEMS.items()}

Files = Annotated[list[UploadFile], File(description="audio or video files of any format", min_length=1)]
PointName = Annotated[str, Form(max_length=60, description="an operating point of /v1/model; default: the server's")]
ChannelsField = Annotated[Channels, Form(description="each: a row for each channel, as of a stereo call")]
SpeechField = Annotated[
    SpeechDetection | None,
    Form(description="off: score all of a file as if all of it were speech; default: the server's, auto in general"),
]
DetailField = Annotated[
    Detail,
    Form(description="score: the fastest, without segments; full: with curve, waveform and spectrogram for drawing"),
]


class Health(BaseModel):
    status: str = Field(description="ok, or loading")
    waiting: int = Field(description="recordings in the queue or being scored")
    streams: int = Field(description="live sockets open")


class Model(BaseModel):
    facts: ModelFacts
    operating_points: list[OperatingPoint]
    default: str = Field(description="the operating point used where none is named")
    limits: dict[str, float]


@router.get("/health", tags=["facts"])
def health(request: Request) -> Health:
    """Whether the server is up, and whether the model is loaded."""
    service = service_of(request)
    status = "ok" if service.detector is not None else "loading"
    return Health(status=status, waiting=service.waiting, streams=service.streams)


@router.get("/model", tags=["facts"], responses={k: PROBLEMS[k] for k in (401, 503)})
def model(request: Request) -> Model:
    """The detector: what it is, its operating points with their measured error rates, and the limits."""
    points = points_of(request)
    settings = service_of(request).settings
    limits = {
        "max_upload_mb": settings.max_upload_mb, "max_files": settings.max_files,
        "max_duration_s": settings.max_duration_s, "max_job_duration_s": settings.max_job_duration_s,
        "time_limit_s": settings.time_limit_s,
    }  # fmt: skip
    detector = service_of(request).ready()
    return Model(facts=facts_of(detector), operating_points=points.all, default=points.get()[1].name, limits=limits)


@router.post("/score", tags=["scoring"], responses=PROBLEMS, response_model=ScoreAnswer)
async def score(
    request: Request,
    files: Files,
    operating_point: PointName = "",
    channels: ChannelsField = "mix",
    speech_detection: SpeechField = None,
    detail: DetailField = "segments",
) -> Response | ScoreAnswer:
    """Score one or many files: a row for each, in order. A file that cannot be scored has an `error` in its row.

    The status is 200 when at least one file has a score.
    """
    rows = await score_files(
        request,
        files,
        decision_of=operating_point,
        each_channel=channels == "each",
        detail=detail,
        speech_detection=speech_detection,
    )
    status = status_of(rows)
    if status == 200:
        return ScoreAnswer(rows=rows)
    headers = {"Retry-After": "30"} if status == 503 else None
    problem = Problem(detail=rows[0].error or "", rows=rows)
    return JSONResponse(problem.model_dump(mode="json"), status, headers)


@router.post(
    "/jobs", tags=["jobs"], status_code=202, responses=PROBLEMS,
    openapi_extra={"responses": {"202": {"headers": {"Location": {"schema": {"type": "string"}}}}}},
)  # fmt: skip
async def start_job(
    request: Request,
    response: Response,
    files: Files,
    channels: ChannelsField = "mix",
    speech_detection: SpeechField = None,
    detail: DetailField = "segments",
) -> JobAnswer:
    """Take long recordings and batches; `Location` says where to ask how far they are."""
    service = service_of(request)
    points_of(request)
    uploads: list[Upload] = []
    try:
        await keep(service, files, uploads)
        submit = partial(
            _jobs(request).start,
            uploads,
            client_of(request),
            each_channel=channels == "each",
            detailed=detail != "score",
            speech_detection=speech_detection,
        )
        job = await in_thread(service, submit)
    except BaseException:
        service.uploads.drop(uploads)
        raise
    response.headers["Location"] = f"{router.prefix}/jobs/{job.key}"
    return job_of(job, [])


@router.get(
    "/jobs/{key}", tags=["jobs"], responses={k: PROBLEMS[k] for k in (401, 422, 503)} | {404: {"model": Problem}}
)
async def job(
    request: Request,
    key: str,
    operating_point: Annotated[str, Query(max_length=60)] = "",
    detail: Annotated[Detail, Query(description="full: only for jobs started with segments or full")] = "segments",
    wait_s: Annotated[float, Query(ge=0, le=20, description="answer when it is done, at the latest then")] = 0,
) -> JobAnswer:
    """How far a job is, and the rows that are done. Ask with another `operating_point` to have them decided by it."""
    service = service_of(request)
    decision, point = points_of(request).get(operating_point)
    found = _job(request, key)
    waiting = [asyncio.wrap_future(t.future) for t in found.tasks if not t.future.done()]
    if waiting and wait_s:
        await asyncio.wait(waiting, timeout=wait_s)
    rows = await in_thread(service, lambda: rows_done(service, found.tasks, decision, point, detail))
    return job_of(found, rows)


@router.delete("/jobs/{key}", tags=["jobs"], status_code=204, responses={401: PROBLEMS[401], 404: {"model": Problem}})
async def end_job(request: Request, key: str) -> None:
    """Give a job up and forget it, with its files and rows."""
    service = service_of(request)
    found = _job(request, key)
    await in_thread(service, lambda: _jobs(request).end(found))


def _jobs(request: Request) -> Jobs:
    return request.app.state.jobs


def _job(request: Request, key: str) -> Job:
    found = _jobs(request).get(key)
    if found is None:
        raise HTTPException(404, "there is no such job; jobs are forgotten some time after they are done")
    return found
