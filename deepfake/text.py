"""What is written in many places is written here: P(fake) of a logit, a number with its interval, tables, files."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


def one_line(error: BaseException, length: int = 160) -> str:
    """What a library's exception says, on one line of at most `length` characters; its class where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else f"{text[: length - 1]}…"


@overload
def fake_probability(logit: float) -> float: ...
@overload
def fake_probability(logit: NDArray[np.floating]) -> NDArray[np.float64]: ...
def fake_probability(logit: float | NDArray[np.floating]) -> float | NDArray[np.float64]:
    """P(fake) in [0, 1] of fake-minus-real logits: the logistic function, which no logit overflows.

    Args:
        logit: a number, or an array of any shape; NaN stays NaN.
    """
    with np.errstate(invalid="ignore"):  # of NaN
        found = np.exp(-np.logaddexp(0.0, -np.asarray(logit, dtype=np.float64)))
    return float(found) if found.ndim == 0 else found


def number(value: float | None, digits: int = 3) -> str:
    """0.912; "undefined" where the data do not define the number."""
    if value is None:
        return "undefined"
    told = f"{value:.{digits}f}"
    return told if float(told) else told.removeprefix("-")  # never "-0.000"


def bracket(low: float | None, high: float | None, digits: int = 3) -> str:
    """[0.850, 0.960], or nothing where no interval can be given."""
    return "" if low is None or high is None else f"[{number(low, digits)}, {number(high, digits)}]"


def with_interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """0.912 [0.850, 0.960], without the bracket where no interval can be given."""
    return " ".join(filter(None, (number(value, digits), "" if value is None else bracket(low, high, digits))))


def markdown_table(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table, without a line break at its end."""
    head, *body = (f"| {' | '.join(map(str, cells))} |" for cells in (header, *rows))
    return "\n".join((head, "|" + "---|" * len(header), *body))


@contextmanager
def replacing(path: Path, work: Path | None = None) -> Iterator[Path]:
    """A place to write to, which becomes `path` in one step: whoever reads it finds all or nothing.

    The place ends as `path` does, because some writers go by the extension. After an exception nothing is left there,
    and `path` is as it was.

    Args:
        work: a folder on the same disk for the unfinished file, which a kill may leave there; else it lies beside
            `path`.
    """
    # Processes of several machines may have one number.
    draft = (work or path.parent) / f".{path.stem}.{socket.gethostname()}-{os.getpid()}{path.suffix}"
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one step."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON to `path` in one step.

    Raises:
        ValueError: NaN or infinity, which JSON has no word for.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
