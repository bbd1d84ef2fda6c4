"""Files of rows that survive being killed: whole rows are kept, a torn one is cut off, and a run can go on."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.errors import UserError
from scoring.result import COLUMNS, Score

KINDS = ("csv", "jsonl", "parquet")
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
_ROW_GROUP = 10_000
_ENCODING = {"encoding": "utf-8", "errors": "surrogateescape"}  # file names need not be valid UTF-8


class ScoreWriter(AbstractContextManager):
    """Writes rows as they come, each with one call, so that an interrupted run keeps what it scored.

    Parquet has no place for rows to come: they go to `PATH.partial.jsonl`, and on leaving become the file at once.

    Args:
        path: a .csv, .jsonl or .parquet file; None writes CSV to stdout.
        resume: keep the rows of an earlier run that was interrupted or had fewer files.

    Attributes:
        done: the paths whose rows were kept.

    Raises:
        UserError: another extension, a place that cannot be written, or rows of another shape to go on from.
    """

    def __init__(self, path: Path | None, resume: bool = False) -> None:
        kind = "csv" if path is None else path.suffix.lower().lstrip(".")
        if kind not in KINDS:
            raise UserError(f"--output {path} ends in {path.suffix or 'nothing'}; expected .csv, .jsonl or .parquet")
        self.done: set[str] = set()
        self._parquet = path if kind == "parquet" else None
        self._kind = "csv" if kind == "csv" else "jsonl"
        self._path = path if self._parquet is None else partial_path(path)
        self._file: BinaryIO | None = None
        try:
            if self._path is None:
                print(_csv_line(COLUMNS), end="", flush=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._open(resume)
        except OSError as error:
            raise UserError(f"cannot write --output {path} ({error.strerror or error})") from error

    def write(self, score: Score) -> None:
        """Add a row; what was written before survives whatever happens to this process."""
        row = asdict(score)
        line = _csv_line(_csv_values(row)) if self._kind == "csv" else json.dumps(row, ensure_ascii=False) + "\n"
        if self._file is None:
            sys.stdout.write(line)
            sys.stdout.flush()
        else:
            self._file.write(line.encode(**_ENCODING))  # unbuffered: one system call a row

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is None:
            return
        self._file.close()
        if self._parquet is not None and kind is None:
            write_parquet(self._path, self._parquet)
            self._path.unlink()

    def _open(self, resume: bool) -> None:
        if resume and self._parquet is not None and self._parquet.exists() and not self._path.exists():
            _unpack_parquet(self._parquet, self._path)
        kept = 0
        if resume and self._path.exists():
            for row, stop in read_rows(self._path):
                self.done.add(row["path"])
                kept = stop
        elif self._parquet is not None:
            self._parquet.open("ab").close()  # tells now, not after hours, when it cannot be written
        self._file = self._path.open("r+b" if kept or (resume and self._path.exists()) else "wb", buffering=0)
        self._file.truncate(kept)
        self._file.seek(kept)
        if kept == 0 and self._kind == "csv":
            self._file.write(_csv_line(COLUMNS).encode())


def partial_path(path: Path) -> Path:
    """Where the rows of a Parquet file wait until it is complete."""
    return path.with_name(path.name + ".partial.jsonl")


def read_rows(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The whole rows of a .csv or .jsonl file of scores, each with the byte at which the next one begins.

    Reading ends at a torn row, which a killed process leaves at the end of the file. A CSV file is rows of text only.

    Raises:
        UserError: the columns are not `COLUMNS`.
    """
    with path.open("rb") as file:
        for record, stop in _records(file, path.suffix.lower() == ".csv"):
            text = record.decode(**_ENCODING)
            if path.suffix.lower() != ".csv":
                row = _json_row(text)
            else:
                values = next(csv.reader(io.StringIO(text, newline="")))
                if stop == len(record):  # the first line
                    if tuple(values) != COLUMNS:
                        raise _not_ours(path)
                    continue
                row = dict(zip(COLUMNS, values, strict=False)) if len(values) == len(COLUMNS) else None
            if row is None:
                raise _not_ours(path)
            yield row, stop


def write_parquet(rows: Path, path: Path) -> None:
    """Turn a .jsonl file of rows into Parquet, replacing `path` in one step."""
    unfinished = path.with_name(path.name + ".tmp")
    with pq.ParquetWriter(unfinished, _PARQUET) as writer:
        group: list[dict[str, Any]] = []
        for row, _ in read_rows(rows):
            row["path"] = row["path"].encode(**_ENCODING).decode("utf-8", "replace")
            group.append(row)
            if len(group) == _ROW_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema=_PARQUET))
                group = []
        writer.write_table(pa.Table.from_pylist(group, schema=_PARQUET))
    os.replace(unfinished, path)


def _unpack_parquet(path: Path, rows: Path) -> None:
    """The reverse of `write_parquet`, for going on from a finished file."""
    if path.stat().st_size == 0:
        return
    unfinished = rows.with_name(rows.name + ".tmp")
    try:
        source = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise _not_ours(path) from error
    if tuple(source.schema_arrow.names) != COLUMNS:
        raise _not_ours(path)
    with unfinished.open("w", encoding="utf-8") as file:
        for batch in source.iter_batches():
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())
    os.replace(unfinished, rows)


def _records(file: BinaryIO, quoted: bool) -> Iterator[tuple[bytes, int]]:
    """Whole lines and the byte after each; with `quoted`, a line break inside quotes is part of the line."""
    record, stop = b"", 0
    for line in file:
        record += line
        stop += len(line)
        if not line.endswith(b"\n"):
            return
        if not quoted or record.count(b'"') % 2 == 0:
            yield record, stop
            record = b""


def _json_row(text: str) -> dict[str, Any] | None:
    try:
        row = json.loads(text)
    except ValueError:
        return None
    return row if isinstance(row, dict) and tuple(row) == COLUMNS else None


def _csv_values(row: dict[str, Any]) -> list[Any]:
    return ["" if row[column] is None else row[column] for column in COLUMNS]


def _csv_line(values: Any) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(values)
    return line.getvalue()


def _not_ours(path: Path) -> UserError:
    return UserError(
        f"{path} does not hold rows of {', '.join(COLUMNS)}; "
        "--resume goes on from a file that infer.py wrote, so name another --output"
    )
