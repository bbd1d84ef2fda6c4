"""What a server is started with: whom it answers, and how much it takes on."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PORT = 7860
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Settings:
    """Limits and access.

    Attributes:
        max_upload_mb: of one request's body; more is answered 413.
        max_files: of one request; more is answered 413.
        max_duration_s: of one recording in `/v1/score` and its relatives; longer ones are answered 413.
        max_job_duration_s: of one recording in `/v1/jobs`.
        time_limit_s: from the upload to the answer; later it is 503. Jobs have no such limit.
        body_timeout_s: without a byte of a request's body; then 408.
        max_waiting: recordings in the queue of all clients; more are answered 503.
        max_per_client: recordings of one client in the queue or being scored; more are answered 429.
        batch_files: recordings of all clients that are scored together.
        max_jobs: kept at a time, with at most max_kept_s of audio together; more are answered 503. An hour of them
            takes 2 MB of memory.
        job_keep_s: how long a finished one is kept.
        max_streams: live sockets open at a time. stream_idle_s: without a message before one is closed.
        max_stream_s: of audio in one live socket.
        api_key: asked of every client; None: of none.
        origins: of pages elsewhere that may call the API (CORS) and open live sockets; none by default.
        hosts: names that a request may be addressed to; None: any. A page elsewhere could otherwise have its own name
            resolve to 127.0.0.1 and so reach a server that only listens there.
    """

    max_upload_mb: float = 200.0
    max_files: int = 50
    max_duration_s: float = 600.0
    max_job_duration_s: float = 4 * 3600.0
    time_limit_s: float = 120.0
    body_timeout_s: float = 30.0
    max_waiting: int = 256
    max_per_client: int = 64
    batch_files: int = 16
    max_jobs: int = 200
    max_kept_s: float = 200 * 3600.0
    job_keep_s: float = 1800.0
    max_streams: int = 16
    stream_idle_s: float = 30.0
    max_stream_s: float = 4 * 3600.0
    api_key: str | None = None
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] | None = None

    @property
    def max_upload_bytes(self) -> int:
        return round(self.max_upload_mb * 1_000_000)
