"""The clips of a dataset and its same-clip pairs as the convex fit takes them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets

from compact import CompactForAudioClassification
from data_prep.errors import UserError
from data_prep.pairs import FOLDER, Pair, read_pairs
from data_prep.provenance import Provenance, read_provenance
from data_prep.schema import SPLITS
from training.convex import FAKE, REAL, Clips
from training.convex_options import ConvexOptions
from training.statistics import Clip, Cut, Statistics, measure_clips


@dataclass(frozen=True)
class ClipTable:
    """Rows of all splits, in order, without the recordings that `leave_out` names; arrays of shape (rows,).

    Attributes:
        split: of each row. fold: that it is held out in. usable: may be fitted on, or choose a threshold.
        pair_rows: the row that each pair was made from, shape (pairs,).
    """

    rows: Dataset
    clips: Clips
    split: np.ndarray
    fold: np.ndarray
    usable: np.ndarray
    pairs: list[Pair]
    pair_rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Measured:
    """Statistics of the windows of a `ClipTable`, of its pairs' human crops and of their copies.

    Attributes:
        row: the row of the table that each window of `clips` is from, rising, shape (windows,). A row in which nobody
            speaks has none.
    """

    clips: Statistics
    row: np.ndarray
    real: Statistics
    fake: Statistics

    def heard(self, rows: int) -> np.ndarray:
        """Which of so many rows have a window, bool of shape (rows,)."""
        return np.bincount(self.row, minlength=rows) > 0


def read_table(dataset: DatasetDict, folder: Path, options: ConvexOptions) -> ClipTable:
    """Sort the rows of a dataset.

    Args:
        folder: of the dataset, for its report.json and pairs.

    Raises:
        UserError: no report.json, no pairs where some are asked for, or a fold without real or fake clips.
    """
    provenance = read_provenance(folder)
    dropped = provenance.matching(options.leave_out) if options.leave_out else set()
    related = provenance.related(options.leave_out) if options.leave_out else set()
    parts = {split: dataset[split] for split in SPLITS if split in dataset}
    kept = {s: rows.select([i for i, source in enumerate(rows["source"]) if source not in dropped])
            for s, rows in parts.items()}  # fmt: skip
    rows = concatenate_datasets(list(kept.values()))
    clips, fold = _sorted(rows, provenance, options)
    pairs = read_pairs(folder)[: options.pairs] if options.pairs else []
    if len(pairs) < options.pairs:
        raise UserError(
            f"{folder} has {len(pairs)} pairs and the recipe asks for {options.pairs}; make more with "
            f"python -m data_prep pairs {folder} --count {options.pairs}, or lower --set convex.pairs"
        )
    first = {source: i for i, source in reversed(list(enumerate(rows["source"])))}
    pairs = [pair for pair in pairs if pair.source in first]
    table = ClipTable(
        rows,
        clips,
        np.concatenate([np.full(len(part), split) for split, part in kept.items()]),
        fold,
        np.array([source not in related for source in rows["source"]]),
        pairs,
        np.array([first[pair.source] for pair in pairs], dtype=int),
    )
    for number in range(len(options.folds)):
        held = table.usable & (fold == number)
        if len(set(clips.label[held])) < 2:
            raise UserError(
                f"fold {number + 1} of convex.folds ({', '.join(options.folds[number])}) lacks real or fake clips in "
                f"{folder}; join it with another"
            )
    return table


def measure_table(
    model: CompactForAudioClassification,
    table: ClipTable,
    folder: Path,
    seed: int,
    cut: Cut,
    workers: int | None = None,
) -> Measured:
    """The statistics of everything in the table, its rows in windows of `cut`; kept in `folder`/statistics."""
    cache = folder / "statistics"
    clips = [(row["audio"]["path"], row["audio"]["path"], row["audio"]["bytes"]) for row in table.rows]
    found, row = measure_clips(model, clips, cache, seed, cut, workers)
    if not table.pairs:
        empty = {head: {c: a[:0] for c, a in channels.items()} for head, channels in found.items()}
        return Measured(found, row, empty, empty)
    halves: list[Clip] = [
        (name, pair.real, (folder / FOLDER / name).read_bytes())  # both halves under one name: the same channel
        for pair in table.pairs
        for name in (pair.real, pair.fake)
    ]
    both, _ = measure_clips(model, halves, cache, seed, None, workers)  # crops of speech, shorter than any window
    parts = [
        {head: {c: a[first::2] for c, a in channels.items()} for head, channels in both.items()} for first in (0, 1)
    ]
    return Measured(found, row, *parts)


def _sorted(rows: Dataset, provenance: Provenance, options: ConvexOptions) -> tuple[Clips, np.ndarray]:
    labels = np.array(rows["label"])
    kinds = np.array(
        [
            options.family(generator) if label == FAKE else options.campaign(speaker)
            for label, generator, speaker in zip(labels, rows["generator"], rows["speaker"], strict=True)
        ]
    )
    groups = np.array([provenance.group(source) for source in rows["source"]])
    folds = [options.fold(kind) for kind in kinds]
    dealt = [zlib.crc32((group if label == REAL else kind).encode()) % len(options.folds)
             for group, kind, label in zip(groups, kinds, labels, strict=True)]  # fmt: skip
    fold = np.array([d if f is None else f for f, d in zip(folds, dealt, strict=True)])
    return Clips(labels, kinds, groups), fold
