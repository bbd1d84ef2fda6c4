"""From a request to rows: uploads kept and removed, tasks waited for, and given up when the client goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from fastapi import Request, UploadFile
from fastapi.exceptions import HTTPException

from app.rows import Points, plain_row, row_of
from app.schemas import Detail, Row, SpeechDetection
from app.service import Analysis, Refused, Service, Task
from app.uploads import Upload
from deepfake.scoring.decision import Decision
from deepfake.scoring.result import Score

T = TypeVar("T")
_LOOK_S = 0.25  # how often it is asked whether the client is still there
_NOT_AUDIO = ("not decodable", "no audio stream", "holds no audio", "file is empty", "is a ")
_TOO_LONG = "too long"
_TOO_LATE = "too late"


async def in_thread(service: Service, function: Callable[[], T]) -> T:
    """Run what blocks (disks, headers, headers of files) beside the event loop."""
    return await asyncio.get_running_loop().run_in_executor(service.pool, function)


def service_of(request: Request) -> Service:
    return request.app.state.service


def points_of(request: Request) -> Points:
    """The operating points of the detector that is loaded.

    Raises:
        Refused: none is.
    """
    detector = service_of(request).ready()
    state = request.app.state
    if getattr(state, "points", None) is None:
        state.points = Points(detector)
    return state.points


def client_of(request: Request) -> str:
    return request.client.host if request.client else "unknown"


@asynccontextmanager
async def kept(service: Service, files: list[UploadFile | tuple[str, bytes]]) -> AsyncIterator[list[Upload]]:
    """The files in the server's folder; they are removed at the end, whatever happened.

    Raises:
        HTTPException: 413 for too many.
    """
    uploads: list[Upload] = []
    try:
        await keep(service, files, uploads)
        yield uploads
    finally:
        service.uploads.drop(uploads)


async def keep(service: Service, files: list[UploadFile | tuple[str, bytes]], into: list[Upload]) -> None:
    """As `kept`, for uploads that outlive the request."""
    most = service.settings.max_files
    if len(files) > most:
        raise HTTPException(413, f"the request holds {len(files)} files; at most {most} are taken")
    for file in files:
        name, held = file if isinstance(file, tuple) else (file.filename, file.file)
        into.append(await in_thread(service, lambda held=held, name=name: service.uploads.keep(held, name)))


async def answered(request: Request, tasks: list[Task]) -> list[Analysis]:
    """Wait for tasks; give them up when the client goes away or the time limit passes.

    Raises:
        Refused: 503, the time limit passed.
        HTTPException: 499, which nobody is there to read.
    """
    service = service_of(request)
    futures = [asyncio.wrap_future(task.future) for task in tasks]
    left_s = service.settings.time_limit_s
    try:
        while True:
            _, waiting = await asyncio.wait(futures, timeout=_LOOK_S)
            if not waiting:
                return [future.result() for future in futures]
            left_s -= _LOOK_S
            if left_s <= 0:
                raise Refused(503, f"not done within {service.settings.time_limit_s:g} s; try /v1/jobs", 30)
            if await request.is_disconnected():
                raise HTTPException(499, "the client went away")
    finally:
        for task in tasks:
            task.cancel()  # does nothing to those that are done


async def score_files(
    request: Request,
    files: list[UploadFile | tuple[str, bytes]],
    *,
    decision_of: str | None = None,
    each_channel: bool = False,
    detail: Detail = "score",
    speech_detection: SpeechDetection | None = None,
) -> list[Row]:
    """Score what a request brought.

    Raises:
        Refused, HTTPException: see `Service.submit`, `kept` and `answered`.
        UserError: there is no such operating point.
    """
    service = service_of(request)
    decision, point = points_of(request).get(decision_of)
    async with kept(service, files) as uploads:
        tasks = await in_thread(
            service,
            lambda: service.submit(
                uploads,
                client_of(request),
                each_channel=each_channel,
                detailed=detail != "score",
                time_limit_s=service.settings.time_limit_s,
                speech_detection=speech_detection,
            ),
        )
        analyses = await answered(request, tasks)
    detector = service.ready()
    return [await in_thread(service, lambda a=a: row_of(a, detector, decision, point, detail)) for a in analyses]


def rows_done(service: Service, tasks: list[Task], decision: Decision, point: object, detail: Detail) -> list[Row]:
    """The rows of those tasks that are done; one that the model failed on has its error."""
    rows = []
    for task in tasks:
        if not task.future.done():
            continue
        failure = task.future.exception()
        if failure is None:
            rows.append(row_of(task.future.result(), service.ready(), decision, point, detail))
        else:
            error = f"the model failed ({type(failure).__name__})"
            score = Score(task.name, None, None, decision.threshold, None, 0, None, error)
            rows.append(plain_row(score, decision, point, None))
    return rows


def status_of(rows: list[Row]) -> int:
    """200 when any file has a score; else what its errors have in common: 413, 415, 422 or 503."""
    if any(row.error is None for row in rows):
        return 200
    for status, starts in ((415, _NOT_AUDIO), (413, (_TOO_LONG,)), (503, (_TOO_LATE,))):
        if rows and all(row.error.startswith(starts) for row in rows):
            return status
    return 422
