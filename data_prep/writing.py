"""Rows into a `DatasetDict` on disk that is either finished or not there."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
from datasets import Dataset, DatasetDict
from datasets.arrow_writer import ArrowWriter

from data_prep.layouts import Row
from data_prep.parts import read_chunks
from deepfake.audio.decode import SAMPLING_RATE
from deepfake.errors import UserError
from deepfake.labels import LABELS
from deepfake.schema import FEATURES, SPLITS
from deepfake.text import write_json, write_text

REPORT_NAME, CARD_NAME = "report.json", "README.md"
_FINISHED_MARK = "dataset_dict.json"  # what load_from_disk looks for; moved into place last
_WORK_FOLDER = ".building"
_ROWS_PER_WRITE = 64


@dataclass(frozen=True)
class PreparedRecording:
    """A recording that goes into the dataset. `part` holds its chunks; `row` is what its corpus says about it."""

    row: Row
    sha256: str
    split: str
    part: Path

    @property
    def name(self) -> str:
        return self.row.file.name

    @property
    def source(self) -> str:
        return source_id(self.sha256, self.name)


def source_id(sha256: str, name: str) -> str:
    """The value of the column `source`."""
    return f"{sha256[:16]}:{name}"


class OutputFolder:
    """The folder a build writes: work in progress in a hidden subfolder, the finished dataset beside it.

    Raises:
        UserError: it holds a finished dataset and `overwrite` is false, or files that no build put there.
    """

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        self.path = path
        if (path / _FINISHED_MARK).exists():
            if not overwrite:
                raise UserError(f"{path} already holds a finished dataset; name another --output or add --overwrite")
        elif path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file, expected a folder to write the dataset to; name another --output")
        elif path.exists() and any(path.iterdir()) and not self.work.exists():
            raise UserError(f"{path} holds other files; name a new or empty folder as --output")

    @property
    def work(self) -> Path:
        return self.path / _WORK_FOLDER

    @property
    def parts(self) -> Path:
        """Where the parts of finished recordings lie until the dataset is complete."""
        return self.work / "parts"

    def write(self, recordings: Iterable[PreparedRecording], report: dict, card: str) -> None:
        """Write the dataset, `report` and `card` (README.md), put them in place, and remove the work in progress."""
        draft = self.work / "dataset"
        shutil.rmtree(draft, ignore_errors=True)
        _write_dataset(list(recordings), self.work / "rows", draft)
        write_json(draft / REPORT_NAME, report)
        write_text(draft / CARD_NAME, card)
        (self.path / _FINISHED_MARK).unlink(missing_ok=True)
        for name in (*SPLITS, REPORT_NAME, CARD_NAME):
            shutil.rmtree(self.path / name, ignore_errors=True)
            if (draft / name).exists():
                (draft / name).replace(self.path / name)
        (draft / _FINISHED_MARK).replace(self.path / _FINISHED_MARK)
        shutil.rmtree(self.work, ignore_errors=True)


def _write_dataset(recordings: list[PreparedRecording], rows_folder: Path, target: Path) -> None:
    """Stream the parts into one Arrow file per split, then let datasets write its portable layout from those."""
    rows_folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split in [name for name in SPLITS if any(r.split == name for r in recordings)]:
        chosen = [recording for recording in recordings if recording.split == split]
        path = rows_folder / f"{split}.arrow"
        with ArrowWriter(path=str(path), features=FEATURES) as writer:
            for table in _tables(chosen):
                writer.write_table(table)
            writer.finalize()
        rows = Dataset.from_file(str(path))
        # datasets would derive the fingerprint from the file's time, and two equal builds would differ in it.
        content = hashlib.sha256("\n".join([split, *(f"{r.source} {r.part.name}" for r in chosen)]).encode())
        splits[split] = Dataset(rows.data, info=rows.info, split=split, fingerprint=content.hexdigest()[:16])
    DatasetDict(splits).save_to_disk(str(target))


def _tables(recordings: list[PreparedRecording]) -> Iterator[pa.Table]:
    held: list[dict] = []
    for recording in recordings:
        for row in _rows(recording):
            held.append(row)
            if len(held) == _ROWS_PER_WRITE:
                yield pa.Table.from_pylist(held, schema=FEATURES.arrow_schema)
                held = []
    if held:
        yield pa.Table.from_pylist(held, schema=FEATURES.arrow_schema)


def _rows(recording: PreparedRecording) -> Iterator[dict]:
    """The rows of one recording, with the columns of `FEATURES`."""
    stem = re.sub(r"[^\w.-]+", "_", PurePosixPath(recording.name).stem)
    for chunk, flac in read_chunks(recording.part):
        yield {
            "audio": {"bytes": flac, "path": f"{stem}-{recording.sha256[:8]}-{chunk.start_sample:09d}.flac"},
            "label": LABELS.index(recording.row.label),
            "source": recording.source,
            "start_s": chunk.start_sample / SAMPLING_RATE,
            "duration_s": chunk.n_samples / SAMPLING_RATE,
            "gap_removed_s": chunk.removed_samples / SAMPLING_RATE,
            "speaker": recording.row.speaker,
            "generator": recording.row.generator,
            "language": recording.row.language,
            "corpus": recording.row.corpus,
            "split": recording.split,
            "group_id": recording.row.group,
            "page": recording.row.page,
            "kind": recording.row.kind,
            "family": recording.row.family,
            "year": recording.row.year,
            "licence": recording.row.licence,
        }
