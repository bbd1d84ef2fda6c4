"""How the server listens: uvicorn's settings in one place, and an end to connections on which no request begins."""

from __future__ import annotations

import asyncio

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_TIMEOUT_S = 20.0  # for the headers of a connection's first request; uvicorn itself waits for ever
_MAX_HEADER_BYTES = 32 << 10
_MAX_MESSAGE_BYTES = 1 << 20  # of a live socket: half a minute of audio


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which closes a connection whose first request has not begun after `HEADER_TIMEOUT_S`."""

    header_timeout_s = HEADER_TIMEOUT_S

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._waiting = self.loop.call_later(self.header_timeout_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.scope is None:  # made by the first request
            self.transport.close()


def config_of(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    """What `python -m app` runs uvicorn with."""
    return uvicorn.Config(
        app, host=host, port=port, http=TimedProtocol, ws="websockets-sansio", log_level="warning", access_log=False,
        server_header=False, ws_max_size=_MAX_MESSAGE_BYTES, ws_max_queue=32, timeout_keep_alive=15,
        timeout_graceful_shutdown=10, h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
    )  # fmt: skip
