"""The live socket: audio in frames of any size, a running verdict every second, and at the end the file's row."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Query, WebSocket
from pydantic import BaseModel, Field
from starlette.websockets import WebSocketDisconnect, WebSocketState

from app.rows import Points, plain_row, warning_answers
from app.schemas import OperatingPoint, Probability, Row, SpeechDetection
from app.service import Refused, Service
from deepfake.audio.decode import AudioError
from deepfake.errors import UserError
from deepfake.scoring.decision import Decision
from deepfake.scoring.result import Score
from deepfake.scoring.stream import StreamingDetector, Verdict

router = APIRouter()
PROTOCOL = "deepfake-stream"  # named beside `key.KEY` by pages, which cannot send headers
_MAX_HELD_S = 30.0  # of audio that came faster than it is scored; then the socket is read no further
_FORMATS = {"s16le": (16_000, 2), "mulaw": (8_000, 1)}  # rate in hertz, bytes a sample
Encoding = Literal["s16le", "mulaw"]


class StreamVerdict(BaseModel):
    """A running verdict: `fake_probability` of everything heard, `window_fake_probability` of the newest window."""

    type: Literal["verdict"] = "verdict"
    heard_s: float
    fake_probability: Probability
    prediction: Literal["fake", "real", "uncertain"]
    windows: int
    start_s: float
    stop_s: float
    window_fake_probability: Probability
    provisional: bool = Field(description="the newest window is still being heard")


class StreamFinal(BaseModel):
    """The last message: the row that the same audio gets as a file."""

    type: Literal["final"] = "final"
    row: Row


@dataclass(frozen=True)
class _Rule:
    decision: Decision
    point: OperatingPoint


class _Inbox:
    """Bytes between the socket and the detector; whoever sends faster than is scored has to wait."""

    def __init__(self, most: int) -> None:
        self._held, self._most = bytearray(), most
        self._changed = asyncio.Condition()
        self.ended = False

    async def put(self, data: bytes) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._held) < self._most)
            self._held += data
            self._changed.notify_all()

    async def end(self) -> None:
        async with self._changed:
            self.ended = True
            self._changed.notify_all()

    async def take(self, unit: int) -> bytes:
        """Everything held, in whole samples; empty when the stream has ended."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._held) >= unit or self.ended)
            whole = len(self._held) // unit * unit
            data = bytes(self._held[:whole])
            del self._held[:whole]
            self._changed.notify_all()
            return data


def decode(data: bytes, encoding: Encoding) -> np.ndarray:
    """Bytes of whole samples as float32 of shape (samples,), full scale 1, as FFmpeg decodes them in a file."""
    if encoding == "s16le":
        return np.frombuffer(data, "<i2").astype(np.float32) / 32768
    return _MULAW[np.frombuffer(data, np.uint8)]


@router.websocket("/v1/stream")
async def stream(
    socket: WebSocket,
    encoding: Annotated[Encoding, Query()] = "s16le",
    operating_point: Annotated[str, Query(max_length=60)] = "",
    speech_detection: Annotated[SpeechDetection | None, Query()] = None,
) -> None:
    """`encoding`: s16le, 16 kHz, or mulaw, 8 kHz, both mono. An empty text frame ends the stream."""
    service: Service = socket.app.state.service
    named = socket.headers.get("sec-websocket-protocol", "")
    await socket.accept(PROTOCOL if PROTOCOL in named else None)
    try:
        detector = service.ready()
        rule = _Rule(*Points(detector).get(operating_point))
        if service.streams >= service.settings.max_streams:
            raise Refused(503, f"busy: {service.streams} live sockets are open; come again later")
    except Refused as error:
        await socket.close(1013, error.text)
        return
    except UserError as error:
        await socket.close(1008, str(error)[:120])
        return
    service.streams += 1
    try:
        hearing = StreamingDetector(detector, _FORMATS[encoding][0], speech_detection=speech_detection)
        await _converse(socket, service, hearing, encoding, rule)
    finally:
        service.streams -= 1


async def _converse(
    socket: WebSocket, service: Service, detector: StreamingDetector, encoding: Encoding, rule: _Rule
) -> None:
    rate, unit = _FORMATS[encoding]
    inbox = _Inbox(round(_MAX_HELD_S * rate) * unit)
    listening = asyncio.create_task(_listen(socket, inbox, service.settings.stream_idle_s))
    scoring = asyncio.create_task(_score(socket, service, inbox, detector, encoding, rule))
    done, left = await asyncio.wait({listening, scoring}, return_when=asyncio.FIRST_COMPLETED)
    if listening in done and listening.exception() is None:  # the end was asked for
        done, left = await asyncio.wait({scoring})
    for task in left:
        task.cancel()
    await asyncio.gather(listening, scoring, return_exceptions=True)
    problem = next((t.exception() for t in (listening, scoring) if not t.cancelled() and t.exception()), None)
    if isinstance(problem, Refused) and socket.client_state is WebSocketState.CONNECTED:
        await socket.close(problem.status, problem.text)
    elif problem is not None and not isinstance(problem, (WebSocketDisconnect, RuntimeError)):
        raise problem


async def _listen(socket: WebSocket, inbox: _Inbox, idle_s: float) -> None:
    """Until an empty text frame."""
    while True:
        try:
            message = await asyncio.wait_for(socket.receive(), idle_s)
        except TimeoutError as error:
            raise Refused(1001, f"no audio came for {idle_s:g} s") from error
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        if message.get("bytes") is not None:
            await inbox.put(message["bytes"])
        elif message.get("text"):
            raise Refused(1003, "a text frame that is not empty; audio comes in binary frames")
        else:
            await inbox.end()
            return


async def _score(
    socket: WebSocket, service: Service, inbox: _Inbox, detector: StreamingDetector, encoding: Encoding, rule: _Rule
) -> None:
    loop = asyncio.get_running_loop()
    while data := await inbox.take(_FORMATS[encoding][1]):
        for verdict in await loop.run_in_executor(service.pool, partial(detector.feed, decode(data, encoding))):
            await socket.send_text(_message(verdict, rule).model_dump_json())
        if detector.heard_s > service.settings.max_stream_s:
            raise Refused(1009, f"longer than {service.settings.max_stream_s:g} s")
    score = await loop.run_in_executor(service.pool, _finish, detector, rule.decision)
    row = plain_row(score, rule.decision, rule.point, detector.speech_s)
    row.warnings = [] if row.error is not None else warning_answers(detector.warnings)
    await socket.send_text(StreamFinal(row=row).model_dump_json())
    await socket.close()


def _finish(detector: StreamingDetector, decision: Decision) -> Score:
    try:
        return detector.finish()
    except AudioError as error:
        duration_s = round(detector.heard_s, 3) or None
        return Score("stream", None, None, decision.threshold, duration_s, 0, None, str(error))


def _message(verdict: Verdict, rule: _Rule) -> StreamVerdict:
    probability = verdict.score.fake_probability
    return StreamVerdict(
        heard_s=verdict.score.duration_s,
        fake_probability=probability,
        prediction=rule.decision.prediction(probability),
        windows=verdict.score.windows,
        start_s=verdict.start_s,
        stop_s=verdict.stop_s,
        window_fake_probability=verdict.window_fake_probability,
        provisional=verdict.provisional,
    )


def _mulaw_table() -> np.ndarray:
    """The 256 values of G.711 µ-law in 16 bits, full scale 1."""
    codes = ~np.arange(256, dtype=np.uint8)
    magnitudes = ((((codes & 0x0F).astype(np.int32) << 3) + 0x84) << ((codes & 0x70) >> 4)) - 0x84
    return (np.where(codes & 0x80, -magnitudes, magnitudes) / 32768).astype(np.float32)


_MULAW = _mulaw_table()
