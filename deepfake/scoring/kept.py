"""Windows of long recordings that were scored, kept beside the rows until the recording's own row is written."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.audio.windows import Window
from deepfake.models.windows import WindowScore
from deepfake.scoring.outputs import kept_files, kept_path
from deepfake.scoring.reading import Reading
from deepfake.scoring.record import Record
from deepfake.scoring.result import row_key

_FORMAT = 1
_LONG_S = 180.0  # of a recording; what is shorter is scored again in seconds, and many short files leave nothing here


class KeptWindows:
    """The scored windows of one recording.

    The file begins with a line that says what was scored with what, and has a line for each window. It is begun when
    `_LONG_S` have been scored. Lines are added by single calls, so that a killed run leaves at most one torn line,
    and what follows one is not believed.

    Args:
        path: of the file.
        header: what the windows depend on; a file that says anything else is of no use and is replaced.
    """

    def __init__(self, path: Path, header: dict[str, object]) -> None:
        self._path, self._header = path, json.dumps(header, ensure_ascii=True)
        self._known: dict[tuple[int, int], WindowScore] = {}
        self._waiting: list[str] = []
        self._begun = self._broken = False
        self._read()

    def get(self, window: Window) -> WindowScore | None:
        """Its score, where an earlier run left one."""
        return self._known.get((window.start, window.stop))

    def put(self, window: Window, score: WindowScore) -> None:
        """Add a window that was scored just now. A disk that is full ends the keeping, and not the scoring."""
        if not self._broken:
            self._waiting.append(_line(window, score))
        if self._broken or (not self._begun and window.stop < _LONG_S * SAMPLING_RATE):
            return
        lines = self._waiting if self._begun else [self._header + "\n", *self._waiting]
        try:
            with self._path.open("ab", buffering=0) as file:
                file.write("".join(lines).encode("ascii"))
        except OSError as error:
            print(f"warning: {self._path} cannot be written ({error.strerror or error})", file=sys.stderr)
            self._broken = True
        self._begun, self._waiting = True, []

    def remove(self) -> None:
        """The recording has its row."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        try:
            content = self._path.read_bytes()
        except OSError:
            return
        header, *lines = content[: content.rfind(b"\n") + 1].decode("ascii", "replace").splitlines() or [""]
        stop = len(header) + 1
        if header != self._header:
            self.remove()
            return
        for line in lines:
            entry = _entry(line)
            if entry is None:
                break
            self._known[entry[0]] = entry[1]
            stop += len(line) + 1
        os.truncate(self._path, stop)
        self._begun = True


class WindowStore:
    """The kept windows of all recordings of a run.

    Args:
        rows: the file of rows beside which they lie.
        record: what makes the rows.
        resume: use what an earlier run left; otherwise it is removed.
    """

    def __init__(self, rows: Path, record: Record, resume: bool) -> None:
        self._rows = rows
        self._record = hashlib.sha256(json.dumps(asdict(record)).encode()).hexdigest()
        if not resume:
            self.clear()

    def of(self, reading: Reading) -> KeptWindows | None:
        """For a recording that is a file; None for any other."""
        path = str(reading.source)
        try:
            status = os.stat(path)
        except OSError:  # which its row will say
            return None
        key = hashlib.sha256(os.fsencode(row_key(path, reading.channel))).hexdigest()[:16]
        header = {
            "format": _FORMAT, "path": os.fsencode(path).decode("utf-8", "replace"), "channel": reading.channel,
            "bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "made_by": self._record,
        }  # fmt: skip
        return KeptWindows(kept_path(self._rows, key), header)

    def clear(self) -> None:
        """Remove all."""
        for path in kept_files(self._rows):
            path.unlink(missing_ok=True)


def _line(window: Window, score: WindowScore) -> str:
    values: dict[str, object] = {"start": window.start, "stop": window.stop, "logit": score.logit}
    if score.frames is not None:
        values["frames"] = base64.b64encode(np.asarray(score.frames, "<f8").tobytes()).decode("ascii")
    return json.dumps(values) + "\n"


def _entry(line: str) -> tuple[tuple[int, int], WindowScore] | None:
    """None for a torn line."""
    try:
        values = json.loads(line)
        frames = None
        if "frames" in values:
            frames = np.frombuffer(base64.b64decode(values["frames"], validate=True), "<f8")
        return (int(values["start"]), int(values["stop"])), WindowScore(float(values["logit"]), frames)
    except (ValueError, KeyError, TypeError):
        return None
