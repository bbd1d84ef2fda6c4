"""What every request passes first: size and speed of its body, the key, the host it is addressed to; and headers."""

from __future__ import annotations

import asyncio
import hmac
import json
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings import Settings

# Whoever watches a server, or lists what it can do, needs no key; the page asks for the key itself.
_OPEN = frozenset({"/", "/ping", "/v1/health", "/api/health", "/docs", "/openapi.json"})
_HOST = re.compile(r"(\[[^]]*\]|[^:]*)")  # without its port
_OPEN_BELOW = ("/static/", "/docs-static/")
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self'{extra}; worker-src 'self' blob:; base-uri 'none'; form-action 'self'; object-src 'none'"
)
_HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "x-robots-tag": "noindex"}


class Guard:
    """ASGI middleware. A body over the limit is 413, one that stops coming 408, a wrong or missing key 401, and a
    request addressed to another host 421.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(scope, receive, send, *refusal)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._app(scope, self._limited(receive), _with_headers(send, scope["path"]))

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        settings = self._settings
        host = _HOST.match(headers.get("host", ""))[1]
        if settings.hosts is not None and host.strip("[]") not in settings.hosts:
            return 421, f"this server is not {host[:80]!r}; start it with --allow-host to answer to that name"
        if scope["type"] == "websocket" and not self._known_origin(headers):
            return 403, "this page may not open live sockets here; start the server with --allow-origin"
        path = scope["path"]
        needs_key = settings.api_key is not None and path not in _OPEN and not path.startswith(_OPEN_BELOW)
        if needs_key and not hmac.compare_digest(_key(scope, headers).encode(), settings.api_key.encode()):
            return 401, "a valid key is needed: send it as `Authorization: Bearer KEY`"
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > settings.max_upload_bytes:
            return 413, f"the request holds {int(length):,} bytes; at most {settings.max_upload_bytes:,} are taken"
        return None

    def _known_origin(self, headers: Headers) -> bool:
        """Browsers send pages' origins and let any page open a socket; programs send none."""
        origin = headers.get("origin")
        return origin is None or origin.partition("://")[2] == headers.get("host") or origin in self._settings.origins

    def _limited(self, receive: Receive) -> Receive:
        left, more = self._settings.max_upload_bytes, True

        async def limited() -> Message:
            nonlocal left, more
            if not more:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._settings.body_timeout_s)
            except TimeoutError as error:
                raise HTTPException(408, "the request's body stopped coming") from error
            left -= len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)
            if left < 0:
                raise HTTPException(413, f"more than {self._settings.max_upload_bytes:,} bytes were sent")
            return message

        return limited


def _key(scope: Scope, headers: Headers) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    if scope["type"] == "websocket":  # a page cannot set headers of a socket, but can name protocols
        named = [word.strip() for word in headers.get("sec-websocket-protocol", "").split(",")]
        return next((word.removeprefix("key.") for word in named if word.startswith("key.")), "")
    return headers.get("x-api-key", "")


def _with_headers(send: Send, path: str) -> Send:
    policy = _POLICY.format(extra=" 'unsafe-inline'" if path == "/docs" else "")  # swagger's own start is inline

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = policy
            for name, value in _HEADERS.items():
                headers[name] = value
            if not path.startswith(_OPEN_BELOW):
                headers["cache-control"] = "no-store"
        await send(message)

    return sending


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": text[:120]})
        return
    body = json.dumps({"detail": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    headers += [(b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
