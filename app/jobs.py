"""Recordings that are scored while their client does something else."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from app.schemas import SpeechDetection
from app.service import Refused, Service, Task
from app.uploads import Upload


@dataclass
class Job:
    """Files that are scored while the client does something else. Its `key` is the only way to it."""

    key: str
    client: str
    uploads: list[Upload]
    tasks: list[Task]
    ended: float | None = None  # by time.monotonic

    @property
    def done(self) -> bool:
        return all(task.future.done() for task in self.tasks)


class Jobs:
    """The jobs of a service, by key."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._jobs: dict[str, Job] = {}

    def start(
        self,
        uploads: list[Upload],
        client: str,
        *,
        each_channel: bool,
        detailed: bool,
        speech_detection: SpeechDetection | None = None,
    ) -> Job:
        """Queue files; they are removed when the job is done. Arguments and errors as for `Service.submit`."""
        settings = self._service.settings
        self._forget_old(settings.job_keep_s)
        kept_s = sum(task.reading.duration_s for job in list(self._jobs.values()) for task in job.tasks)
        if len(self._jobs) >= settings.max_jobs or kept_s > settings.max_kept_s:
            raise Refused(503, f"busy: {len(self._jobs)} jobs are kept; delete yours, or come again later", 60)
        tasks = self._service.submit(
            uploads,
            client,
            each_channel=each_channel,
            detailed=detailed,
            max_duration_s=settings.max_job_duration_s,
            speech_detection=speech_detection,
        )
        job = Job(secrets.token_urlsafe(24), client, uploads, tasks)
        self._jobs[job.key] = job
        for task in tasks:
            task.future.add_done_callback(lambda _: self._close(job))
        return job

    def get(self, key: str) -> Job | None:
        return self._jobs.get(key)

    def end(self, job: Job) -> None:
        """Forget a job, finished or not."""
        self._jobs.pop(job.key, None)
        for task in job.tasks:
            task.cancel()
        self._service.uploads.drop(job.uploads)

    def end_all(self) -> None:
        for job in list(self._jobs.values()):
            self.end(job)

    def _close(self, job: Job) -> None:
        if job.done and job.ended is None:
            job.ended = time.monotonic()
            self._service.uploads.drop(job.uploads)

    def _forget_old(self, keep_s: float) -> None:
        before = time.monotonic() - keep_s
        for job in [job for job in self._jobs.values() if job.ended is not None and job.ended < before]:
            self.end(job)
