"""One folder over several processes: each scores every N-th recording into its own file, the first one joins them."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from deepfake.audio.remote import RemoteFile
from deepfake.errors import UserError
from deepfake.scoring.outputs import files_of, parts, record_path
from deepfake.scoring.record import Record
from deepfake.scoring.result import COLUMNS, Score, path_text, row_key
from deepfake.scoring.writers import ScoreWriter, read_rows

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """This process among the others: number `index` of `count`."""

    index: int
    count: int

    def of(self, items: Iterable[Item]) -> Iterator[Item]:
        """Every `count`-th item; neighbours go to different processes, as folders hold files of like length."""
        return itertools.islice(items, self.index, None, self.count)


def this_shard(environment: Mapping[str, str] = os.environ) -> Shard | None:
    """The place given by torchrun or `accelerate launch`; None in a process that is alone."""
    count = int(environment.get("WORLD_SIZE", "1"))
    if count == 1:
        return None
    return Shard(int(environment["RANK"]), count)


def local_device(shard: Shard, environment: Mapping[str, str] = os.environ) -> str | None:
    """The accelerator of this process on its machine; None for the default."""
    import torch

    if not torch.cuda.is_available():
        return None
    return f"cuda:{int(environment.get('LOCAL_RANK', shard.index)) % torch.cuda.device_count()}"


def part_path(output: Path, shard: Shard) -> Path:
    """Where a process leaves its rows."""
    return output.with_name(f"{output.name}.part-{shard.index:05d}-of-{shard.count:05d}.jsonl")


def earlier_rows(output: Path) -> list[Path]:
    """The files in which any process of an earlier run left rows, the output itself included."""
    return [path for path in (*parts(output), output) if path.exists() and path.stat().st_size]


def meet(shard: Shard) -> None:
    """Wait here for the other processes, for as long as they take; one that dies ends all through its launcher."""
    from torch import distributed  # here alone: a process that is alone need not wait for PyTorch

    if not distributed.is_initialized():
        distributed.init_process_group("gloo", rank=shard.index, world_size=shard.count, timeout=timedelta(days=30))
    distributed.barrier()


def join(output: Path, paths: Iterable[str]) -> None:
    """Write the rows of all parts to `output`, in the order of `paths`, and remove the parts.

    Only the places of rows are held in memory. Rows of files that are no longer listed come last. Of a file that was
    tried twice, the row with a score is written.

    Raises:
        UserError: the output cannot be written, or its parts were not made in the same way.
    """
    rows: dict[str, dict[str, tuple[Path, int]]] = {}  # of each path as text, by their keys
    failed: set[str] = set()
    for part in parts(output):
        start = 0
        for row, stop in read_rows(part):
            key = row_key(row["path"], row["channel"])
            of_file = rows.setdefault(path_text(row["path"]), {})
            if key not in of_file or key in failed:
                of_file[key] = part, start
                (failed.add if row["error"] else failed.discard)(key)
            start = stop
    records = [Record.read(part) for part in parts(output) if record_path(part).is_file()]
    for part in parts(output)[1:] if records else ():
        records[0].require_same(part)
    files = {part: part.open("rb") for part in parts(output)}
    try:
        with ScoreWriter(output, resume=True, record=records[0] if records else None) as writer:
            for path in itertools.chain(map(path_text, paths), rows):
                of_file = rows.get(path, {})
                if len(of_file) > 1 and path in failed:  # what failed as a whole has its channels by now
                    of_file.pop(path, None)
                for key, (part, start) in sorted(of_file.items()):
                    if key not in writer.done:
                        files[part].seek(start)
                        writer.write(_score(files[part].readline()))
                        writer.done.add(key)
    finally:
        for file in files.values():
            file.close()
    for part in files:
        part.unlink()
        record_path(part).unlink(missing_ok=True)


def clear(output: Path) -> None:
    """Remove what an earlier run left, for a run that does not go on from it."""
    for leftover in files_of(output):
        leftover.unlink(missing_ok=True)


def require_shareable(output: Path | RemoteFile | None, inputs: Sequence[str]) -> None:
    """Refuse what several processes cannot share.

    Raises:
        UserError: no output file, one elsewhere, or a list on stdin.
    """
    if output is None:
        raise UserError("several processes cannot share the screen; name a file with --output")
    if isinstance(output, RemoteFile):
        raise UserError(
            f"several processes cannot share --output {output}; name a file on storage that all of them see"
        )
    if "-" in inputs:
        raise UserError("several processes cannot share a list on stdin; name folders or patterns")


def _score(line: bytes) -> Score:
    values = json.loads(line.decode("utf-8", "surrogateescape"))
    return Score(**{column: values[column] for column in COLUMNS} | {"warnings": tuple(values["warnings"])})
