"""One row a file, and the files such rows are written to."""

from __future__ import annotations

import csv
import json
import sys
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.errors import UserError


@dataclass(frozen=True)
class Score:
    """The result for one recording.

    Attributes:
        path: the file as it was found.
        fake_probability: P(fake) in [0, 1] from the mean logit over speech windows; None when there is an `error`.
        prediction: "fake" when fake_probability >= threshold, else "real" (or, by the operating point "abstain",
            "uncertain"); None when there is an `error`.
        threshold: the one applied, as a probability.
        duration_s: length of the recording in seconds; None when it could not be decoded.
        windows: how many windows with speech were scored.
        max_window: the highest fake_probability of a single window.
        error: why there is no score, in a few words.
    """

    path: str
    fake_probability: float | None
    prediction: str | None
    threshold: float
    duration_s: float | None
    windows: int
    max_window: float | None
    error: str | None = None


COLUMNS = tuple(field.name for field in fields(Score))
_PARQUET = pa.schema(
    [
        ("path", pa.string()),
        ("fake_probability", pa.float64()),
        ("prediction", pa.string()),
        ("threshold", pa.float64()),
        ("duration_s", pa.float64()),
        ("windows", pa.int32()),
        ("max_window", pa.float64()),
        ("error", pa.string()),
    ]
)


class ScoreWriter(AbstractContextManager):
    """Writes rows as they come, so that an interrupted run keeps what it scored.

    Args:
        path: a .csv, .jsonl or .parquet file; None writes CSV to stdout.

    Raises:
        UserError: another extension, or a folder that does not exist.
    """

    def __init__(self, path: Path | None) -> None:
        self._kind = "csv" if path is None else path.suffix.lower().lstrip(".")
        if self._kind not in ("csv", "jsonl", "parquet"):
            raise UserError(f"--output {path} ends in {path.suffix or 'nothing'}; expected .csv, .jsonl or .parquet")
        self._text: TextIO | None = None
        self._rows: list[dict[str, Any]] = []
        self._close = path is not None
        try:
            if path is None:
                self._text = sys.stdout
            elif self._kind == "parquet":
                self._parquet = pq.ParquetWriter(path, _PARQUET)
            else:  # file names need not be valid UTF-8
                self._text = path.open("w", newline="", encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise UserError(f"cannot write --output {path} ({error.strerror or error})") from error
        if self._kind == "csv":
            csv.writer(self._text).writerow(COLUMNS)

    def write(self, score: Score) -> None:
        row = asdict(score)
        if self._kind == "parquet":
            row["path"] = row["path"].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            self._rows.append(row)
            if len(self._rows) >= 1000:
                self._flush_parquet()
            return
        if self._kind == "csv":
            csv.writer(self._text).writerow(["" if row[c] is None else row[c] for c in COLUMNS])
        else:
            self._text.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._text.flush()

    def __exit__(self, *_: object) -> None:
        if self._kind == "parquet":
            self._flush_parquet()
            self._parquet.close()
        elif self._close:
            self._text.close()

    def _flush_parquet(self) -> None:
        if self._rows:
            self._parquet.write_table(pa.Table.from_pylist(self._rows, schema=_PARQUET))
            self._rows = []
