"""Work for processes of a cluster: some of it kills them. Imports nothing, as each new process waits for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def deadly(deaths: Path) -> Callable[[list[int]], list[int]]:
    """Squares numbers; 5 kills every process that works on it, and 2 the first. `deaths` gets a file for each."""

    def work(tasks: list[int]) -> list[int]:
        for task in tasks:
            if task == 5 or (task == 2 and not (deaths / "2").exists()):
                (deaths / f"{task}").touch()
                (deaths / f"death-{time.time_ns()}").touch()
                os._exit(1)
        return [task * task for task in tasks]

    return work
