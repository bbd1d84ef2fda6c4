"""A prepared dataset, from a folder or the Hub: split names, undecoded audio, labels by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from datasets import Audio, ClassLabel, Dataset, DatasetDict, DownloadConfig, load_dataset, load_from_disk

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.errors import UserError
from deepfake.hub import cache_only, check_name, first_line
from deepfake.labels import LABELS, label_of_tokens

_HOW = "make one with `python -m data_prep build RECORDINGS --output DIR`"
_MARKS = ("dataset_dict.json", "dataset_info.json")  # what save_to_disk writes for splits, and for a single table


def read_splits(name: str) -> dict[str, Dataset]:
    """A dataset folder or Hub id as splits; a single table is the split "all".

    Returns:
        datasets whose `label` is ClassLabel(["real", "fake"]), whatever order or names they had (AudioFolder, for one,
        sorts fake before real), and whose `audio` is not decoded.

    Raises:
        UserError: there is none, a column is missing, or labels do not say which class they are.
    """
    loaded = _load(name)
    splits = dict(loaded) if isinstance(loaded, DatasetDict) else {"all": loaded}
    return {split: _prepared(rows, f"{name} [{split}]") for split, rows in splits.items()}


def labels_of(rows: Dataset) -> np.ndarray:
    """0 real, 1 fake, by the labels' names whatever their order; int64 of shape (rows,).

    Raises:
        UserError: names that do not say which class they are.
    """
    return _labels(rows, "the dataset")


def _load(name: str) -> Dataset | DatasetDict:
    if os.path.exists(name):
        if not any(Path(name, mark).is_file() for mark in _MARKS):
            raise UserError(f"{name} is not a prepared dataset (no {_MARKS[0]} in it); {_HOW}")
        return load_from_disk(name)
    check_name(name, "dataset")
    try:
        return load_dataset(name, download_config=DownloadConfig(local_files_only=cache_only()))
    except Exception as error:  # offline, unknown or private: datasets raises a dozen classes here
        raise UserError(
            f"no dataset at {name}: not a folder here, and not loadable from the Hub ({first_line(error)}); {_HOW}"
        ) from error


def _prepared(rows: Dataset, where: str) -> Dataset:
    missing = [column for column in ("audio", "label") if column not in rows.column_names]
    if missing:
        raise UserError(f"{where} has no column {missing[0]}; expected the columns audio and label")
    feature = rows.features["label"]
    if not isinstance(feature, ClassLabel) or feature.names != list(LABELS):
        labels = _labels(rows, where).tolist()
        rows = rows.remove_columns("label").add_column("label", labels, feature=ClassLabel(names=list(LABELS)))
    return rows.cast_column("audio", Audio(SAMPLING_RATE, decode=False))


def _labels(rows: Dataset, where: str) -> np.ndarray:
    feature, values = rows.features["label"], rows["label"]
    names = [feature.names[v] if isinstance(feature, ClassLabel) else str(v) for v in values]
    classes = {name: label_of_tokens(name) for name in sorted(set(names))}
    if any(len(found) != 1 for found in classes.values()):
        raise UserError(f"{where} has the labels {', '.join(classes)}; expected names for real and fake")
    index = {name: LABELS.index(next(iter(found))) for name, found in classes.items()}
    return np.array([index[name] for name in names], dtype=np.int64)
