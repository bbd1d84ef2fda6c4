"""Several processes on machines without an accelerator, as `accelerate launch --num_processes N` promises there."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from deepfake.errors import UserError


def usable_cores() -> int:
    """How many CPU cores this process may use, at least one."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def start_all_processes(environment: Mapping[str, str] = os.environ) -> None:
    """Replace this process by torchrun when accelerate was asked for several processes but started one.

    Without an accelerator device, `accelerate launch --num_processes 2` starts a single process and says nothing (more
    need mpirun there). It does leave an address for the processes to meet at, which is how this is noticed.

    Raises:
        UserError: the number of processes asked for cannot be found out.
    """
    alone = "RANK" not in environment and "OMPI_COMM_WORLD_RANK" not in environment and "PMI_RANK" not in environment
    if not alone or "MASTER_ADDR" not in environment or "ACCELERATE_MIXED_PRECISION" not in environment:
        return
    import psutil
    import torch  # here alone, as few commands come this far

    if torch.accelerator.is_available() and environment.get("ACCELERATE_USE_CPU", "False") != "True":
        return
    wanted = processes_asked_for(psutil.Process().parent().cmdline())
    if wanted is None:
        raise UserError(
            "accelerate started one process on this CPU though several were asked for; "
            "start them with `torchrun --nproc_per_node N train_wav2vec2.py …`"
        )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(wanted)]
    address = ["--master_addr", environment["MASTER_ADDR"], "--master_port", environment["MASTER_PORT"]]
    sys.stdout.flush()
    os.execv(sys.executable, [*torchrun, *address, *sys.argv])


def processes_asked_for(command: Sequence[str]) -> int | None:
    """N of `accelerate launch … --num_processes N …`, or of its `--config_file`; None when neither says."""
    options: dict[str, str] = {}
    for word, following in zip(command, [*command[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        options.setdefault(name.replace("-", "_"), value if equals else following)
    if "__num_processes" in options:
        return int(options["__num_processes"])
    if "__config_file" in options:
        import yaml

        with open(options["__config_file"], encoding="utf-8") as file:
            return yaml.safe_load(file).get("num_processes")
    return None
