"""How far a run is, on a terminal: a bar for the files, and one more within a file that is long."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager

from tqdm import tqdm

from deepfake.audio.files import readable_name
from deepfake.scoring.engine import Result

_LONG_S = 120.0  # of a recording; what is shorter is done before a bar could be read
_NAME = 32  # characters
_WITHIN = "{desc} {percentage:3.0f} %|{bar}| {postfix[0]} [{elapsed}<{remaining}]"
_WITHIN_OPEN = "{desc} {postfix[0]} [{elapsed}]"  # of a file that does not say how long it is


class Progress(AbstractContextManager):
    """Bars on stderr, which leave nothing behind; nothing at all where stderr is no terminal.

    Args:
        silent: show nothing, say because rows go to the same terminal and would tear the bars.
    """

    def __init__(self, silent: bool = False) -> None:
        off = True if silent else None  # None: not on a terminal
        self._files = tqdm(unit=" files", file=sys.stderr, leave=False, disable=off)
        self._within: tqdm | None = None
        self._shown: Result | None = None

    def scored(self, result: Result) -> None:
        """Some windows of a recording were scored."""
        stated_s = result.reading.stated_s
        if self._files.disable or max(stated_s or 0.0, result.reading.duration_s) < _LONG_S:
            return
        if self._shown is not result:
            self._end_within()
            self._shown = result
            name = readable_name(os.path.basename(str(result.reading.source)))
            self._within = tqdm(
                desc=name if len(name) <= _NAME else name[: _NAME - 1] + "…",
                total=stated_s, file=sys.stderr, leave=False, position=1, postfix=[""],
                bar_format=_WITHIN if stated_s else _WITHIN_OPEN,
            )  # fmt: skip
        reached_s = result.reached_s
        self._within.postfix[0] = _clock(reached_s) + (f" of {_clock(stated_s)}" if stated_s else "")
        self._within.update(max(0.0, min(reached_s, stated_s or reached_s) - self._within.n))

    def finished(self) -> None:
        """A recording has its row."""
        self._end_within()
        self._files.update()

    def __exit__(self, *_: object) -> None:
        self._end_within()
        self._files.close()

    def _end_within(self) -> None:
        if self._within is not None:
            self._within.close()
        self._within = self._shown = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
