"""Work on a Ray cluster, or on Ray processes of this machine: a process or machine that dies costs time and no result.

Ray Core and not Ray Data: by default Ray Data restarts a process for ever on a file that crashes its decoder, and it
hands results back in blocks whose number is fixed beforehand. Here a batch is given to another process, and what kills
three processes gets the result of `died`.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from deepfake.errors import UserError
from deepfake.text import one_line

if TYPE_CHECKING:
    from types import ModuleType

Task = TypeVar("Task")
Result = TypeVar("Result")
Work = Callable[[list[Task]], list[Result]]  # one result for each task
_UNDER_WAY = 2  # batches a process has: one it works on, and the next
_MAX_DEATHS = 3  # of processes that worked on the same task
_ANSWER_S = 10.0
_STARTS = 3  # of Ray on this machine: it gives itself half a minute, which a busy one may exceed
_LOOK_AGAIN_S = 10.0  # for machines that came, and processes that are missing


@dataclass(frozen=True)
class ClusterOptions:
    """Where work is done, and by what.

    Attributes:
        address: of a running cluster, "auto" for the one that this machine belongs to; None starts Ray here.
        cores: CPU cores of each process; None: one, or what the work finds right.
        gpus: GPUs of each process.
    """

    address: str | None = None
    cores: int | None = None
    gpus: int = 0


def add_cluster_arguments(parser: argparse._ActionsContainer) -> None:
    """Add what says where work is done; `read_cluster_arguments` reads it."""
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="local (default): this machine alone; ray: as many processes as a Ray cluster has room for",
    )
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="with --engine ray: that of a running cluster, or auto for the one that this machine belongs to; default: "
        "Ray is started here, and ended again",
    )
    parser.add_argument(
        "--cores",
        type=int,
        metavar="N",
        help="with --engine ray: CPU cores of each process (default 1, and with GPUs a share of the cores for each)",
    )


def read_cluster_arguments(arguments: argparse.Namespace) -> ClusterOptions | None:
    """What was said of a cluster; None: this machine alone.

    Raises:
        UserError: options of a cluster without one, or no core for a process.
    """
    if arguments.engine == "ray":
        if arguments.cores is not None and arguments.cores < 1:
            raise UserError(f"--cores is {arguments.cores}; expected at least 1")
        return ClusterOptions(arguments.address, arguments.cores)
    for option, value in (("--address", arguments.address), ("--cores", arguments.cores)):
        if value is not None:
            raise UserError(f"{option} is for a cluster; add --engine ray")
    return None


@contextmanager
def connected(options: ClusterOptions) -> Iterator[ModuleType]:
    """Ray, started or connected to, as far as this process has not done so before.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
    try:
        import ray
    except ImportError as error:
        raise UserError("--engine ray needs Ray; run: pip install '.[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    try:
        _knock(options.address)
        _start(ray, options.address)
    except Exception as error:  # Ray has a class of its own for few of its troubles
        reason = one_line(error)
        if options.address is None:
            raise UserError(f"Ray cannot be started on this machine ({reason}); leave out --engine ray") from error
        raise UserError(
            f"there is no Ray cluster at {options.address} ({reason}); start one with: ray start --head"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _start(ray: ModuleType, address: str | None) -> None:
    # Processes find this library where this one did; on other machines it is installed, or lies in the same place.
    places = [str(Path(__file__).resolve().parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, places))}}
    for tries_left in reversed(range(1 if address else _STARTS)):
        try:
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env=environment,
            )
            return
        except Exception:
            ray.shutdown()
            if not tries_left:
                raise


def _knock(address: str | None) -> None:
    """Ask for what is at HOST:PORT: Ray itself would go on asking for minutes where nobody answers."""
    found = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", address or "")
    if found:
        socket.create_connection((found[1], int(found[2])), timeout=_ANSWER_S).close()


def resources(options: ClusterOptions) -> dict[str, float]:
    """What the cluster has, such as {"CPU": 64, "GPU": 8}."""
    with connected(options) as ray:
        return ray.cluster_resources()


def run_on_ray(
    make: Callable[[], Work],
    batches: Iterable[Sequence[Task]],
    died: Callable[[Task], Result],
    options: ClusterOptions,
) -> Iterator[tuple[list[Task], list[Result]]]:
    """Give batches to processes, and yield each with its results, as they come in.

    Args:
        make: called once in each process, for what then does the work; picklable.
        batches: taken as processes become free.
        died: gives the result of a task that kills the processes that work on it.
        options: how large a process is; there are as many as the cluster has room for, also when it grows.

    Raises:
        UserError: see `connected`, or what `make` raises.
        Exception: what the work itself raises.
    """
    with connected(options) as ray:
        yield from _Run(ray, make, iter(batches), died, options).results()


def run_ordered_on_ray(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    died: Callable[[Task], Result],
    options: ClusterOptions,
) -> Iterator[Result]:
    """`function(task)` for each task, in the order of `tasks`; see `run_on_ray`."""
    waiting: dict[int, Result] = {}
    due = 0
    numbered = ([(number, task)] for number, task in enumerate(tasks))
    for batch, results in run_on_ray(_Each(function), numbered, lambda pair: died(pair[1]), options):
        waiting.update(zip((number for number, _ in batch), results, strict=True))
        while due in waiting:
            yield waiting.pop(due)
            due += 1


@dataclass(frozen=True)
class _Each:
    """A function of one task as what does the work of a process."""

    function: Callable[[Any], Any]

    def __call__(self) -> Work:
        return lambda pairs: [self.function(task) for _, task in pairs]


class _Process:
    """What runs in a process of the cluster."""

    def __init__(self) -> None:
        self._work: Work | None = None

    def start(self, make: Callable[[], Work]) -> None:
        self._work = make()

    def run(self, tasks: list[Any]) -> list[Any]:
        return self._work(tasks)


@dataclass(eq=False)
class _Batch(Generic[Task]):
    tasks: list[Task]
    deaths: int = 0


@dataclass(eq=False)
class _Member:
    """A process as seen from here. `batches` are those it has, the oldest first."""

    handle: Any
    started: bool = False
    batches: list[_Batch] = field(default_factory=list)


class _Run(Generic[Task, Result]):
    def __init__(
        self,
        ray: ModuleType,
        make: Callable[[], Work],
        batches: Iterator[Sequence[Task]],
        died: Callable[[Task], Result],
        options: ClusterOptions,
    ) -> None:
        self._ray, self._make, self._batches, self._died, self._options = ray, make, batches, died, options
        # A process that dies is not restarted by Ray, which would give it the same tasks again.
        self._remote = ray.remote(_Process).options(
            num_cpus=options.cores or 1,
            num_gpus=options.gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=_UNDER_WAY if (options.cores or 1) > 1 or options.gpus else 1,
            scheduling_strategy="SPREAD",
        )
        self._members: set[_Member] = set()
        self._waiting: dict[Any, tuple[_Member, _Batch | None]] = {}  # by the reference of what is to come
        self._again: deque[_Batch] = deque()
        self._exhausted = False
        self._failed_starts = 0
        self._looked = -_LOOK_AGAIN_S

    def results(self) -> Iterator[tuple[list[Task], list[Result]]]:
        try:
            while True:
                self._recruit()
                self._give()
                if self._exhausted and not self._again and all(batch is None for _, batch in self._waiting.values()):
                    return
                done, _ = self._ray.wait(list(self._waiting), num_returns=1, timeout=1.0)
                if done and len(self._waiting) > 1:  # whatever else has come by now
                    done, _ = self._ray.wait(list(self._waiting), num_returns=len(self._waiting), timeout=0)
                for reference in done:
                    yield from self._take(reference)
        finally:
            for member in self._members:
                self._ray.kill(member.handle)

    def _recruit(self) -> None:
        """As many processes as there is room for; looked at from time to time, as machines come and go."""
        if time.monotonic() - self._looked < _LOOK_AGAIN_S and self._members:
            return
        self._looked = time.monotonic()
        has, options = resources(self._options), self._options
        room = has.get("CPU", 0) // (options.cores or 1)
        if options.gpus:
            room = min(room, has.get("GPU", 0) // options.gpus)
        for _ in range(max(1, int(room)) - len(self._members)):
            member = _Member(self._remote.remote())
            self._members.add(member)
            self._waiting[member.handle.start.remote(self._make)] = member, None

    def _give(self) -> None:
        """The next batches to the processes that have the fewest."""
        for level in range(_UNDER_WAY):
            for member in self._members:
                if member.started and len(member.batches) <= level:
                    batch = self._next()
                    if batch is None:
                        return
                    member.batches.append(batch)
                    self._waiting[member.handle.run.remote(batch.tasks)] = member, batch

    def _next(self) -> _Batch | None:
        if self._again:
            return self._again.popleft()
        tasks = None if self._exhausted else next(self._batches, None)
        self._exhausted = tasks is None
        return None if tasks is None else _Batch(list(tasks))

    def _take(self, reference: Any) -> Iterator[tuple[list[Task], list[Result]]]:
        member, batch = self._waiting.pop(reference)
        try:
            results = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            if batch is None and isinstance(cause, ImportError):
                raise UserError(
                    f"a machine of the Ray cluster lacks a package ({cause}); install this project on each of them"
                ) from error
            raise cause from error
        except self._ray.exceptions.RayError as error:  # the process, its machine or its answer is gone
            self._dismiss(member)
            if batch is not None:
                yield from self._bury(batch, member)
            elif not any(one.started for one in self._members):
                self._failed_starts += 1
                if self._failed_starts >= _MAX_DEATHS:
                    reason = one_line(error)
                    raise UserError(f"no process of the Ray cluster could be started ({reason})") from error
            return
        if batch is None:
            member.started = True
            return
        member.batches.remove(batch)
        yield batch.tasks, results

    def _dismiss(self, member: _Member) -> None:
        if member in self._members:
            self._members.discard(member)
            self._looked = -_LOOK_AGAIN_S  # somebody else is needed now
            self._ray.kill(member.handle)  # it may be alive and only out of reach

    def _bury(self, batch: _Batch, member: _Member) -> Iterator[tuple[list[Task], list[Result]]]:
        """What becomes of a batch whose process is gone: another process, or the end of a deadly task."""
        if (self._options.cores or 1) > 1 or self._options.gpus or member.batches[:1] == [batch]:
            batch.deaths += 1  # those behind the first one had not begun
        if batch.deaths < _MAX_DEATHS - 1:
            self._again.append(batch)
        elif len(batch.tasks) > 1:  # one of them may be deadly: each by itself, with one more death before it is
            self._again.extend(_Batch([task], batch.deaths) for task in batch.tasks)
        elif batch.deaths < _MAX_DEATHS:
            self._again.append(batch)
        else:
            yield batch.tasks, [self._died(task) for task in batch.tasks]
