"""The ASGI application: routes, guard, errors as sentences, the page and its files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from app import api, compatible, live
from app.asking import service_of
from app.facts import card_of, folder_of, graphs_of
from app.guard import Guard
from app.jobs import Jobs
from app.service import Refused, Service
from app.settings import Settings
from deepfake.errors import UserError
from deepfake.pages.style import css
from deepfake.scoring.detector import Detector

_HERE = Path(__file__).parent
EXAMPLES = _HERE.parent / "examples" / "recordings"
_SHOWN_EXAMPLES = (
    "real/vctk_p225.mp3",
    "fake/kokoro_bf_alice.mp3",
    "real/asterisk_june_fr.mp3",
    "fake/kokoro_am_onyx.m4a",
)
_DESCRIPTION = (
    "Is this speech human or AI-generated? `fake_probability` is P(fake) over the whole recording. "
    "`WS /v1/stream` is the live socket; docs/serve.md describes its messages."
)


def create_app(
    load: Callable[[], Detector], settings: Settings, failed: Callable[[Exception], None] | None = None
) -> FastAPI:
    """The application. The detector is loaded in the background when it starts; until then answers are 503.

    Args:
        load: gives the detector.
        settings: limits and access.
        failed: called with the exception when `load` raises.
    """
    service = Service(load, settings, failed)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        app.state.jobs.end_all()
        service.close()

    app = FastAPI(
        title="Speech deepfake detection", version="1.0", description=_DESCRIPTION,
        docs_url=None, redoc_url=None, lifespan=lifespan,
    )  # fmt: skip
    app.state.service = service
    app.state.jobs = Jobs(service)
    app.add_middleware(Guard, settings=settings)
    if settings.origins:  # around the guard: a browser asks whether it may before it sends the key
        app.add_middleware(
            CORSMiddleware, allow_origins=list(settings.origins), allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "x-api-key", "content-type"], expose_headers=["location"],
        )  # fmt: skip
    _add_errors(app)
    for router in (api.router, live.router, compatible.router):
        app.include_router(router)
    _add_page(app)
    _add_docs(app)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"detail": error.text}, error.status, {"Retry-After": str(error.retry_s)})

    @app.exception_handler(UserError)
    async def user_error(_: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        """One sentence; 415 where the body is not of the type that the route takes at all."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        expected = _expected_type(request)
        if expected is not None and kind != expected:
            return JSONResponse({"detail": f"the body is {kind[:60] or 'of no type'}; expected {expected}"}, 415)
        parts = ("{}: {}".format(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors()[:5])
        return JSONResponse({"detail": "; ".join(parts)[:500]}, 422)

    @app.exception_handler(StarletteHTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"detail": str(error.detail)}, error.status_code, error.headers)


def _expected_type(request: Request) -> str | None:
    if request.method != "POST" or request.url.path == "/invocations":
        return None
    return "application/json" if request.url.path == "/api/predict/realtime" else "multipart/form-data"


def _add_page(app: FastAPI) -> None:
    @app.get("/static/style.css", include_in_schema=False)  # before the folder, which would answer 404
    def style() -> Response:
        return Response(css(), media_type="text/css")

    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(_HERE / "page.html", media_type="text/html; charset=utf-8")

    @app.get("/v1/model/card", include_in_schema=False)
    def card(request: Request) -> HTMLResponse:
        """The model card and the places of the plots, which the page fetches with its key."""
        detector = service_of(request).ready()
        plots = "".join(
            f'<figure><img data-plot="/api/graph/{name}" alt="evaluation plot: {name.replace("_", " ")}">'
            f"<figcaption>{name.replace('_', ' ')}</figcaption></figure>"
            for name in graphs_of(detector)
        )
        return HTMLResponse((f'<div class="plots">{plots}</div>' if plots else "") + card_of(folder_of(detector)))

    @app.get("/v1/examples", include_in_schema=False)
    def examples() -> list[str]:
        return [name for name in _SHOWN_EXAMPLES if (EXAMPLES / name).is_file()]

    @app.get("/v1/examples/{kind}/{name}", include_in_schema=False)
    def example(kind: str, name: str) -> FileResponse:
        if f"{kind}/{name}" not in examples():
            raise HTTPException(404, "there is no such example")
        return FileResponse(EXAMPLES / kind / name)


def _add_docs(app: FastAPI) -> None:
    """Swagger's page from files of an installed package: FastAPI's own loads them from elsewhere."""
    package = find_spec("fastapi_offline")
    if package is None or package.origin is None:
        return
    app.mount("/docs-static", StaticFiles(directory=Path(package.origin).parent / "static"), name="docs-static")

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json", title=app.title,
            swagger_js_url="/docs-static/swagger-ui-bundle.js", swagger_css_url="/docs-static/swagger-ui.css",
            swagger_favicon_url="/static/icon.svg", swagger_ui_parameters={"validatorUrl": None},
        )  # fmt: skip
