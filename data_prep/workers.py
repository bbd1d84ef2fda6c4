"""Run a function over tasks in worker processes: results in order, a dying worker costs one task."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
_SPAWN = multiprocessing.get_context("spawn")  # fork is unsafe with the threads that av and onnxruntime start
_AHEAD = 256


def run_ordered(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    died: Callable[[Task], Result],
    ahead: int = _AHEAD,
) -> Iterator[Result]:
    """Yield `function(task)` for each task, in the order of `tasks`.

    Args:
        function: a picklable module-level function.
        workers: processes; 1 runs everything in this one.
        died: gives the result of a task that kills its process (a crash in a decoder, out of memory).
        ahead: tasks taken and submitted before the oldest has been yielded. Fewer where tasks come slowly, because no
            result is yielded before so many were taken; more so that one long task does not idle the other processes.

    Closing the iterator, an exception of `function` and Ctrl-C end the worker processes at once.
    """
    if workers == 1:
        yield from map(function, tasks)
        return
    tasks = iter(tasks)
    pending: deque[tuple[Task, Future]] = deque()
    known = set(multiprocessing.active_children())
    pool, finished = _pool(workers), False
    try:
        while True:
            pending.extend((task, pool.submit(function, task)) for task in islice(tasks, ahead - len(pending)))
            if not pending:
                break
            task, future = pending.popleft()
            try:
                result = future.result()
            except BrokenProcessPool:
                result = _run_alone(function, task, died)
                pool = _pool(workers)
                pending = deque((t, f if _succeeded(f) else pool.submit(function, t)) for t, f in pending)
            yield result
        finished = True
    finally:
        pool.shutdown(wait=finished, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - known:
            process.terminate()


def _run_alone(function: Callable[[Task], Result], task: Task, died: Callable[[Task], Result]) -> Result:
    """A pool does not say which task broke it: the one that also dies alone did."""
    with _pool(1) as pool:
        try:
            return pool.submit(function, task).result()
        except BrokenProcessPool:
            return died(task)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=_SPAWN, initializer=_start_worker)


def _succeeded(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it even when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
