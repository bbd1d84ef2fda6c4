"""Where the rows of a run are, and what lies beside them: known before PyTorch is loaded."""

from __future__ import annotations

import glob
from pathlib import Path

from deepfake.audio.remote import RemoteFile, is_url
from deepfake.errors import UserError

_WINDOWS = ".windows-"
KINDS = ("csv", "jsonl", "parquet")


def output_place(text: str) -> Path | RemoteFile:
    """What was named as an output: a file on this machine, or by its URL one elsewhere."""
    return RemoteFile(text) if is_url(text) else Path(text)


def output_kind(output: Path | RemoteFile) -> str:
    """One of `KINDS`, from the name.

    Raises:
        UserError: another ending.
    """
    suffix = Path(str(output)).suffix
    kind = suffix.lower().lstrip(".")
    if kind not in KINDS:
        raise UserError(f"--output {output} ends in {suffix or 'nothing'}; expected .csv, .jsonl or .parquet")
    return kind


def partial_path(output: Path) -> Path:
    """Where the rows of a Parquet file wait until it is complete."""
    return output.with_name(output.name + ".partial.jsonl")


def record_path(rows: Path) -> Path:
    """Where it stands what made a file of rows."""
    return rows.with_name(rows.name + ".meta.json")


def kept_path(rows: Path, key: str) -> Path:
    """Where the scored windows of a long recording wait until it has its row; `key` stands for the recording."""
    return rows.with_name(f"{rows.name}{_WINDOWS}{key}.jsonl")


def kept_files(rows: Path) -> list[Path]:
    """All that `kept_path` gave for a file of rows and that exist."""
    return sorted(rows.parent.glob(f"{glob.escape(rows.name)}{_WINDOWS}*.jsonl"))


def parts(output: Path) -> list[Path]:
    """What the processes of a run left beside an output, whatever their number."""
    found = output.parent.glob(f"{glob.escape(output.name)}.part-*.jsonl")
    return sorted(path for path in found if _WINDOWS not in path.name[len(output.name) :])


def files_of(output: Path) -> list[Path]:
    """All files of an output that exist: its rows, wherever they are, what made them, and windows without a row."""
    rows = [output, partial_path(output), *parts(output)]
    windows = (path for place in rows for path in kept_files(place))
    return [path for path in (*rows, *map(record_path, rows), *windows) if path.exists()]


def require_new(output: Path) -> None:
    """Refuse to write over the rows of an earlier run.

    Raises:
        UserError: there are some.
    """
    for path in (output, partial_path(output), *parts(output)):
        if path.is_file() and path.stat().st_size:
            raise UserError(
                f"{path} exists already; give --resume to go on from it, --overwrite to replace it, or another --output"
            )
