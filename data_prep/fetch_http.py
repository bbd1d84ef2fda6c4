"""Files of public repositories over HTTPS: few connections, patient with a busy server, every file proved by its id."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from urllib.parse import quote, urlsplit

import requests

from data_prep.fetch_clip import ListedFile, Problem, Reason
from data_prep.fetch_source import BLOCK_BYTES, Brought, NotBrought, complete_copy, write_copy
from deepfake.errors import UserError

RAW_FILES_URL = "https://raw.githubusercontent.com"
_USER_AGENT = "speech-deepfake-detection data_prep fetch"
_GONE = frozenset({401, 403, 404, 410, 451})  # asking again would not help
_BUSY = frozenset({403, 429, 503})  # where they come with Retry-After, the server says when to ask again
_AHEAD = 4  # files brought ahead of the oldest that is still awaited, for each connection


@dataclass(frozen=True)
class HttpOptions:
    """How files are asked for.

    Attributes:
        base_url: files are at BASE/OWNER/NAME/COMMIT/PATH.
        connections: requests under way at once.
        attempts: for one file, before it counts as missing.
        first_wait_s: before the second attempt, doubled before each further one, half of it at random.
        max_wait_s: no wait is longer; a server that asks for more is asked nothing further.
        timeout_s: without a byte, before an attempt counts as failed.
        max_failures: files in a row for which every attempt failed, before nothing further is asked.

    Raises:
        UserError: an address that is none, or numbers out of range.
    """

    base_url: str = RAW_FILES_URL
    connections: int = 4
    attempts: int = 5
    first_wait_s: float = 1.0
    max_wait_s: float = 600.0
    timeout_s: float = 60.0
    max_failures: int = 20

    def __post_init__(self) -> None:
        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise UserError(f"--base-url is {self.base_url}; expected an address such as {RAW_FILES_URL}")
        if not 1 <= self.connections <= 32:
            raise UserError(f"--connections is {self.connections}; expected 1 to 32")


class _Retry(Exception):
    """An attempt that failed in a way that may pass; `after_s` is what the server asks to wait."""

    def __init__(self, what: str, after_s: float | None = None) -> None:
        super().__init__(what)
        self.after_s = after_s


class HttpSource:
    """Raw files of a web server, copied into `folder`. Proxies are those of the environment."""

    def __init__(self, folder: Path, options: HttpOptions | None = None) -> None:
        self._folder = folder
        self._options = options or HttpOptions()
        self._local = threading.local()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._not_before = 0.0  # of time.monotonic(): a server that is busy is busy for all connections
        self._closed: Problem | None = None  # once it makes no sense to ask for anything more
        self._failures = 0

    def bring(self, files: Iterable[ListedFile]) -> Iterator[Brought]:
        """See `Source.bring`."""
        files = iter(files)
        pool = ThreadPoolExecutor(self._options.connections, thread_name_prefix="fetch")
        pending: deque[Future[Brought]] = deque()
        try:
            while True:
                room = _AHEAD * self._options.connections - len(pending)
                pending.extend(pool.submit(self._bring_one, file) for file in islice(files, room))
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            self._stopped.set()
            pool.shutdown(cancel_futures=True)

    def _bring_one(self, file: ListedFile) -> Brought:
        held = complete_copy(self._folder, file)
        if held is not None:
            return Brought(file, held)
        try:
            return Brought(file, self._download(file))
        except NotBrought as error:
            return Brought(file, None, error.problem)

    def _download(self, file: ListedFile) -> Path:
        """Ask until it comes, `HttpOptions.attempts` times at most.

        Raises:
            NotBrought: it did not come.
        """
        attempt = 1
        while True:
            self._await_turn()
            try:
                path = self._attempt(file)
            except NotBrought as error:
                # An answer without a length can be cut short unnoticed: content is doubted once.
                if error.problem.reason is not Reason.CONTENT or attempt > 1:
                    self._note(None)
                    raise
            except _Retry as error:
                if error.after_s is not None:
                    self._hold_all(error.after_s, str(error))
                if attempt >= self._options.attempts:
                    self._note(str(error))
                    raise NotBrought(Reason.SOURCE, f"{error}, {attempt} times") from error
                if error.after_s is None:
                    wait_s = self._options.first_wait_s * 2 ** (attempt - 1)
                    self._stopped.wait(min(wait_s, self._options.max_wait_s) * random.uniform(0.5, 1.0))
            else:
                self._note(None)
                return path
            attempt += 1

    def _attempt(self, file: ListedFile) -> Path:
        """Ask once.

        Raises:
            NotBrought: it is not there, or is other content. _Retry: another attempt may succeed.
        """
        address = "/".join((self._options.base_url.rstrip("/"), file.page, file.commit, quote(file.path)))
        try:
            with self._session().get(address, stream=True, timeout=self._options.timeout_s) as answer:
                self._check(answer)
                return write_copy(self._folder, file, self._blocks(answer))
        except requests.RequestException as error:
            # Not the error's own text, which quotes addresses and objects in memory.
            raise _Retry(f"the connection failed ({type(error).__name__})") from error

    def _check(self, answer: requests.Response) -> None:
        status = f"the server answered {answer.status_code} {answer.reason}".rstrip()
        after_s = _retry_after_s(answer.headers.get("Retry-After"))
        if answer.status_code == 200:
            return
        if answer.status_code in _BUSY and after_s is not None:
            raise _Retry(status, after_s)
        if answer.status_code in _GONE:
            raise NotBrought(Reason.FILE, status)
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            raise _Retry(status)
        raise NotBrought(Reason.SOURCE, status)

    def _blocks(self, answer: requests.Response) -> Iterator[bytes]:
        """The content, in pieces; ends early once the fetch is over, and the copy is then refused by its id."""
        for block in answer.iter_content(BLOCK_BYTES):
            if self._stopped.is_set():
                return
            yield block

    def _session(self) -> requests.Session:
        """One a thread, which keeps its connection open from file to file."""
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.headers.update({"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"})
        return session

    def _await_turn(self) -> None:
        while not self._stopped.is_set():
            if self._closed is not None:
                raise NotBrought(self._closed.reason, self._closed.detail)
            wait_s = self._not_before - time.monotonic()
            if wait_s <= 0:
                return
            self._stopped.wait(wait_s)
        raise NotBrought(Reason.SOURCE, "the fetch was ended")

    def _hold_all(self, after_s: float, what: str) -> None:
        """Let nobody ask for the next `after_s` seconds, or, when that is too long, ever again."""
        with self._lock:
            if after_s > self._options.max_wait_s:
                self._closed = Problem(Reason.SOURCE, f"{what} and asks to come back in {after_s:.0f} s")
            self._not_before = max(self._not_before, time.monotonic() + after_s)

    def _note(self, failure: str | None) -> None:
        """Count files in a row that the server failed; thousands more would fail alike, each after all the waits."""
        with self._lock:
            self._failures = 0 if failure is None else self._failures + 1
            if self._failures >= self._options.max_failures:
                self._closed = Problem(Reason.SOURCE, f"{failure}, for {self._failures} files in a row")


def _retry_after_s(text: str | None) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3: seconds or a date); None for none or nonsense."""
    if text is None:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
