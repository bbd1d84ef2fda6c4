"""A process that has loaded PyTorch and the project, and forks for every command: imports are half of a short run.

A command runs in a process, a working folder and an environment of its own, as `python SCRIPT …` would. What depends on
a process that has imported nothing yet is tested with a real one; see `conftest.run`.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import select
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
TIME_LIMIT_S = 400
# What the commands import where it is needed, and what transformers and datasets do.
LATE = (
    "train_wav2vec2", "deepfake.scoring.command", "deepfake.scoring.clips", "deepfake.architectures.baselines",
    "deepfake.architectures.compact", "deepfake.models.forward", "deepfake.models.precision", "deepfake.models.layers",
    "deepfake.models.contract", "deepfake.training.model", "deepfake.training.trainer",
    "deepfake.judging.figures", "evaluation.commands", "model_card.__main__", "data_prep.build", "datasets",
    "transformers.models.wav2vec2.modeling_wav2vec2", "transformers.models.auto.modeling_auto", "scipy.stats",
    "sklearn.metrics", "onnxruntime",
)  # fmt: skip


class Preloaded:
    """The client's side. The process starts with the first command and ends with this one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._process: subprocess.Popen[str] | None = None

    def run(self, words: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run `python SCRIPT …` or `python -m MODULE …`, given without `python`.

        Raises:
            subprocess.TimeoutExpired: after `TIME_LIMIT_S`.
        """
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__], cwd=ROOT, env=self._environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            files = {name: os.path.join(folder, name) for name in ("stdout", "stderr")}
            self._process.stdin.write(json.dumps({"words": list(words), "cwd": str(cwd), **files}) + "\n")
            self._process.stdin.flush()
            if not select.select([self._process.stdout], [], [], TIME_LIMIT_S)[0]:
                self._process.kill()
                self._process = None
                raise subprocess.TimeoutExpired(list(words), TIME_LIMIT_S)
            status = json.loads(self._process.stdout.readline())
            texts = {name: Path(path).read_text(encoding="utf-8") for name, path in files.items()}
        return subprocess.CompletedProcess(list(words), status, **texts)


def serve() -> None:
    """Answer every line of stdin with the exit status of the command it describes."""
    sys.path[0] = str(ROOT)
    for name in LATE:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork would lose the other threads"
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(request: dict) -> None:
    """Be the process of that command, to its end."""
    status = 1
    try:
        os.chdir(request["cwd"])
        for number, name in enumerate((os.devnull, request["stdout"], request["stderr"])):
            place = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
            os.dup2(place, number)
            os.close(place)
        sys.argv = request["words"]
        if sys.argv[0] == "-m":
            sys.argv = sys.argv[1:]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    # End as the interpreter does, and not in the server's loop.
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    serve()
