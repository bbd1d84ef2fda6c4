"""Files of rows that survive being killed: whole rows are kept, a torn one is cut off, and a run can go on."""

from __future__ import annotations

import contextlib
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

from deepfake.errors import UserError, give_up_stdout
from deepfake.scoring.outputs import files_of, output_kind, partial_path, record_path
from deepfake.scoring.record import Record
from deepfake.scoring.result import COLUMNS, Score, path_text, row_key

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
        ("operating_point", pa.string()),
        ("warnings", pa.list_(pa.string())),
        ("channel", pa.int32()),
    ]
)
_ROW_GROUP = 10_000
_ENCODING = {"encoding": "utf-8", "errors": "surrogateescape"}  # what earlier versions wrote need not be valid UTF-8


class ScoreWriter(AbstractContextManager):
    """Writes rows as they come, each with one call, so that an interrupted run keeps what it scored.

    Parquet has no place for rows to come: they go to `PATH.partial.jsonl`, and on leaving become the file at once.

    Args:
        path: a .csv, .jsonl or .parquet file; None writes CSV to stdout.
        resume: keep the scored rows of an earlier run, and take out those with an error, whose files are to be tried
            again.
        record: what makes the rows, written beside the file; rows are only added to those it made before.

    Attributes:
        done: the keys of the rows that were kept, see `deepfake.scoring.result.row_key`.
        failed: the keys of the rows that were taken out. A row that is not replaced until the end is put back.

    Raises:
        UserError: another extension, a place that cannot be written, rows of another shape to go on from, or rows that
            another detector or other options made.
    """

    def __init__(self, path: Path | None, resume: bool = False, record: Record | None = None) -> None:
        kind = "csv" if path is None else output_kind(path)
        self.done: set[str] = set()
        self.failed: dict[str, bytes] = {}
        self._parquet = path if kind == "parquet" else None
        self._kind = "csv" if kind == "csv" else "jsonl"
        self._path = path if self._parquet is None else partial_path(path)
        self._file: BinaryIO | None = None
        try:
            if self._path is None:
                _say(_csv_line(COLUMNS))
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                if record is not None:
                    _keep_record(path, resume, record)
                self._open(resume)
                if not resume:
                    _remove_others(path)
        except OSError as error:
            raise UserError(f"cannot write --output {path} ({error.strerror or error})") from error

    def write(self, score: Score) -> None:
        """Add a row; what was written before survives whatever happens to this process.

        Raises:
            UserError: the disk is full, or gone. The rows before are whole.
        """
        row = asdict(score)
        line = _csv_line(_csv_values(row)) if self._kind == "csv" else _json_line(row)
        if self._file is None:
            _say(line)
            return
        self._append(line.encode("utf-8"))
        self.failed.pop(score.key, None)
        self.failed.pop(row_key(score.path, None), None)  # a file that could not even be asked for its channels

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is None:
            return
        try:
            if kind is None:
                for line in self.failed.values():
                    self._append(line)
        finally:
            self._file.close()
        if self._parquet is not None and kind is None:
            try:
                write_parquet(self._path, self._parquet)
            except OSError as error:
                raise self._stopped(self._parquet, error) from error
            self._path.unlink()

    def _append(self, line: bytes) -> None:
        """One row, unbuffered and as a rule by one system call; a disk that is nearly full takes a part of it."""
        try:
            start = self._file.tell()
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(start)
            raise self._stopped(self._path, error) from error

    @staticmethod
    def _stopped(path: Path, error: OSError) -> UserError:
        return UserError(
            f"cannot write {path} any more ({error.strerror or error}); what was scored so far is kept: make room, and "
            "go on with --resume"
        )

    def _open(self, resume: bool) -> None:
        if resume and self._parquet is not None and self._parquet.exists() and not self._path.exists():
            _unpack_parquet(self._parquet, self._path)
        kept = 0
        if resume and self._path.exists():
            kept = self._keep_scored()
        elif self._parquet is not None:
            self._parquet.open("ab").close()  # tells now, not after hours, when it cannot be written
        self._file = self._path.open("r+b" if kept or (resume and self._path.exists()) else "wb", buffering=0)
        self._file.truncate(kept)
        self._file.seek(kept)
        if kept == 0 and self._kind == "csv":
            self._file.write(_csv_line(COLUMNS).encode())

    def _keep_scored(self) -> int:
        """Take rows with an error out of the file, if there are any; returns where its last whole row ends."""
        header = _csv_line(COLUMNS).encode() if self._kind == "csv" else b""
        taken_out: list[tuple[str, int, int]] = []
        start, stop = len(header), 0
        for row, stop in read_rows(self._path):
            if row["error"]:
                taken_out.append((row_key(row["path"], row["channel"]), start, stop))
            else:
                self.done.add(row_key(row["path"], row["channel"]))
            start = stop
        if not taken_out:
            return stop
        unfinished = self._path.with_name(self._path.name + ".tmp")
        with self._path.open("rb") as old, unfinished.open("wb") as new:
            kept_from = 0
            for key, begin, end in taken_out:
                _copy(old, new, begin - kept_from)
                line = old.read(end - begin)
                if key not in self.done:
                    self.failed[key] = line
                kept_from = end
            _copy(old, new, stop - kept_from)
            kept = new.tell()
        os.replace(unfinished, self._path)
        return kept


def _say(line: str) -> None:
    try:
        sys.stdout.write(line)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has enough
        raise
    except OSError as error:
        give_up_stdout()
        raise UserError(f"cannot write to the screen or pipe ({error.strerror or error})") from error


def _keep_record(path: Path, resume: bool, record: Record) -> None:
    rows = next((p for p in (path, partial_path(path)) if resume and p.is_file() and p.stat().st_size), None)
    if rows is not None:
        record.require_same(path)
    record.write(path)


def _remove_others(path: Path) -> None:
    """What an earlier run left beside an output that is written anew."""
    for leftover in files_of(path):
        if leftover not in (path, partial_path(path), record_path(path)):
            leftover.unlink(missing_ok=True)


def _copy(old: BinaryIO, new: BinaryIO, count: int) -> None:
    while count:
        block = old.read(min(count, 1 << 20))
        new.write(block)
        count -= len(block)


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


def scored_keys(path: Path) -> set[str]:
    """Of the rows with a score in a .csv, .jsonl or .parquet file, see `deepfake.scoring.result.row_key`.

    Raises:
        UserError: the columns are not `COLUMNS`.
    """
    if path.suffix.lower() != ".parquet":
        rows = (row for row, _ in read_rows(path))
    elif path.stat().st_size == 0:
        return set()
    else:
        rows = _open_parquet(path).read(["path", "channel", "error"]).to_pylist()
    return {row_key(row["path"], row["channel"]) for row in rows if not row["error"]}


def write_parquet(rows: Path, path: Path) -> None:
    """Turn a .jsonl file of rows into Parquet, replacing `path` in one step."""
    unfinished = path.with_name(path.name + ".tmp")
    with pq.ParquetWriter(unfinished, _PARQUET) as writer:
        group: list[dict[str, Any]] = []
        for row, _ in read_rows(rows):
            row["path"] = path_text(row["path"])
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
    unfinished, source = rows.with_name(rows.name + ".tmp"), _open_parquet(path)
    with unfinished.open("w", encoding="utf-8") as file:
        for batch in source.iter_batches():
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())
    os.replace(unfinished, rows)


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        source = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise _not_ours(path) from error
    if tuple(source.schema_arrow.names) != COLUMNS:
        raise _not_ours(path)
    return source


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
    row = row | {"path": path_text(row["path"]), "warnings": "; ".join(row["warnings"])}
    return ["" if row[column] is None else row[column] for column in COLUMNS]


def _json_line(row: dict[str, Any]) -> str:
    """JSON itself has escapes for bytes of a path that are no UTF-8: reading gives the very path."""
    odd = row["path"] != path_text(row["path"])
    return json.dumps(row, ensure_ascii=odd) + "\n"


def _csv_line(values: Any) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(values)
    return line.getvalue()


def _not_ours(path: Path) -> UserError:
    return UserError(
        f"{path} does not hold rows of {', '.join(COLUMNS)}; "
        "--resume goes on from a file that infer.py wrote, so name another --output"
    )
