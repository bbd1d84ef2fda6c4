"""Serve the page and the API: `python -m app --model M`."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.settings import DEFAULT_PORT, LOCAL_HOSTS, Settings
from deepfake.errors import UserError, run_command
from deepfake.scoring.options import ScoringOptions
from deepfake.version import add_version

if TYPE_CHECKING:
    from deepfake.scoring.detector import Detector

_EPILOG = """\
  python -m app                                        the shipped detector, at http://127.0.0.1:7860
  python -m app --model OUT --operating-point fpr_0.01
  DEEPFAKE_API_KEY=… python -m app --host 0.0.0.0      for other machines, which have to send the key

/ is the page, /docs lists the routes, /v1/stream is the live socket. Recordings are removed as soon as they are scored,
nothing is sent anywhere, and no address that a client names is ever fetched. exit status: 0 ended, 2 not started (wrong
model, option or port), 130 Ctrl-C"""


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: a number out of range.
    """
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m app", description="Serve a speech deepfake detector: a page, a REST API and a live socket.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_version(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1: this machine)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"default {DEFAULT_PORT}; 0: a free one")
    parser.add_argument(
        "--api-key", help="ask it of every client; better in the environment as DEEPFAKE_API_KEY, unseen by others"
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL",
        help="let pages of this origin call the API (CORS)",
    )
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="answer to requests for this host name too"
    )
    parser.add_argument(
        "--max-upload-mb",
        type=float,
        default=default.max_upload_mb,
        metavar="MB",
        help=f"largest request (default {default.max_upload_mb:g}); more is answered 413",
    )
    parser.add_argument(
        "--max-duration-s",
        type=float,
        default=default.max_duration_s,
        metavar="S",
        help=f"longest recording of a request (default {default.max_duration_s:g}); longer ones are answered 413",
    )
    parser.add_argument(
        "--max-job-duration-s",
        type=float,
        default=default.max_job_duration_s,
        metavar="S",
        help=f"longest recording of a job (default {default.max_job_duration_s:g})",
    )
    parser.add_argument(
        "--time-limit-s",
        type=float,
        default=default.time_limit_s,
        metavar="S",
        help=f"from a request to its answer (default {default.time_limit_s:g}); later it is 503",
    )
    parser.add_argument(
        "--max-waiting",
        type=int,
        default=default.max_waiting,
        metavar="N",
        help=f"recordings in the queue (default {default.max_waiting}); more are answered 503",
    )
    parser.add_argument(
        "--max-per-client",
        type=int,
        default=default.max_per_client,
        metavar="N",
        help=f"of them of one client (default {default.max_per_client}); more are answered 429",
    )
    ScoringOptions.add_to(
        parser.add_argument_group("scoring"),
        model={
            "default": os.environ.get("DEEPFAKE_MODEL") or None,
            "help": "model folder or Hub id; default: DEEPFAKE_MODEL of the environment, else the shipped detector",
        },
    )
    arguments = parser.parse_args(words)
    for name in (
        "max_upload_mb",
        "max_duration_s",
        "max_job_duration_s",
        "time_limit_s",
        "max_waiting",
        "max_per_client",
    ):
        if getattr(arguments, name) <= 0:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(arguments, name):g}; expected more than 0")
    if not 0 <= arguments.port <= 65535:
        raise UserError(f"--port is {arguments.port}; expected 0 to 65535")
    return arguments


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings asked for; listening at this machine alone, only its own names are answered to."""
    local = arguments.host in LOCAL_HOSTS
    hosts = (*LOCAL_HOSTS, *arguments.allow_host) if local or arguments.allow_host else None
    return Settings(
        max_upload_mb=arguments.max_upload_mb,
        max_duration_s=arguments.max_duration_s,
        max_job_duration_s=arguments.max_job_duration_s,
        time_limit_s=arguments.time_limit_s,
        max_waiting=arguments.max_waiting,
        max_per_client=arguments.max_per_client,
        api_key=arguments.api_key or os.environ.get("DEEPFAKE_API_KEY") or None,
        origins=tuple(arguments.allow_origin),
        hosts=hosts,
    )


def serve(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes.

    Raises:
        UserError: the model cannot be loaded, the port is taken, or a package of the extra is missing.
    """
    options = ScoringOptions.read(arguments)
    listening = _listen(arguments.host, arguments.port)
    try:
        import fastapi_offline  # noqa: F401
        import markdown_it  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn
        import websockets  # noqa: F401

        from app.server import create_app
        from app.sockets import config_of
    except ImportError as error:
        raise UserError(f"the server needs {error.name}; run: pip install 'speech-deepfake-detection[app]'") from error
    problems: list[Exception] = []

    def failed(error: Exception) -> None:
        problems.append(error)
        server.should_exit = True

    app = create_app(_loader(options), settings_of(arguments), failed)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    server = uvicorn.Server(config_of(app, arguments.host, arguments.port))
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{port}  (page; /docs: API)", file=sys.stderr, flush=True)
    server.run([listening])
    if problems:
        raise (
            problems[0]
            if isinstance(problems[0], UserError)
            else UserError(f"the model cannot be loaded: {problems[0]}")
        )
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """Before anything is loaded, which takes seconds.

    Raises:
        UserError: the port is taken, or the address is not one of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UserError(f"cannot listen at {host}:{port} ({error.strerror or error}); try --port 0") from error


def _loader(options: ScoringOptions) -> Callable[[], Detector]:
    def load() -> Detector:
        from deepfake.scoring.detector import Detector

        return Detector.from_options(options)

    return load


def main(words: list[str] | None = None) -> int:
    return run_command(lambda: serve(parse_arguments(words)))


if __name__ == "__main__":
    sys.exit(main())
