"""The prepared dataset as the trainer takes it: checked, labels by name, audio as bytes."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from datasets import Audio, ClassLabel, Dataset, DatasetDict, DownloadConfig, load_dataset, load_from_disk

from data_prep.audio import SAMPLING_RATE
from data_prep.errors import UserError
from data_prep.hub import cache_only, check_name, first_line
from data_prep.labels import LABELS, label_of_tokens
from data_prep.schema import SPLITS


def load_splits(name: str) -> DatasetDict:
    """Load a dataset folder or Hub id and check that a detector can be trained on it.

    Returns:
        The splits train, validation and, if there, test; `label` is ClassLabel(["real", "fake"]), `audio` undecoded.

    Raises:
        UserError: not found, a split or column missing, labels that do not name the classes, or one class only.
    """
    dataset = _load(name)
    missing = [split for split in ("train", "validation") if split not in dataset]
    if missing:
        raise UserError(
            f"{name} has the splits {', '.join(dataset)} but no {missing[0]}; prepare one with "
            "`python -m data_prep build RECORDINGS --output DIR`"
        )
    checked = {}
    for split in SPLITS:
        if split in dataset:
            checked[split] = _by_name(dataset[split], name, split)
            _require_both_classes(checked[split], name, split)
    return DatasetDict(checked)


def shared_sources(dataset: DatasetDict) -> int:
    """How many recordings occur in more than one split (0 also when the dataset does not know its recordings)."""
    seen: Counter[str] = Counter()
    for split in dataset.values():
        if "source" in split.column_names:
            seen.update({s for s in split["source"] if s})
    return sum(count > 1 for count in seen.values())


def _load(name: str) -> DatasetDict:
    if os.path.exists(name):
        if not Path(name, "dataset_dict.json").is_file():
            raise UserError(
                f"{name} is not a prepared dataset (no dataset_dict.json in it); make one with "
                "`python -m data_prep build RECORDINGS --output DIR`"
            )
        return load_from_disk(name)
    try:
        check_name(name, "dataset")
        return load_dataset(name, download_config=DownloadConfig(local_files_only=cache_only()))
    except UserError:
        raise
    except Exception as error:  # offline, unknown or private: datasets raises a dozen classes here
        raise UserError(
            f"no dataset at {name}: not a folder here, and not loadable from the Hub ({first_line(error)}); "
            "make one with `python -m data_prep build RECORDINGS --output DIR`"
        ) from error


def _by_name(split: Dataset, name: str, split_name: str) -> Dataset:
    """Labels as ClassLabel(["real", "fake"]) whatever their order was; AudioFolder, for one, sorts fake before real."""
    for column in ("audio", "label"):
        if column not in split.column_names:
            raise UserError(f"{name} [{split_name}] has no column {column}; expected the columns audio and label")
    feature = split.features["label"]
    names = feature.names if isinstance(feature, ClassLabel) else sorted({str(v) for v in split.unique("label")})
    classes = [label_of_tokens(str(n)) for n in names]
    if any(len(c) != 1 for c in classes):
        raise UserError(f"{name} [{split_name}] has the labels {', '.join(map(str, names))}; expected real and fake")
    if not isinstance(feature, ClassLabel) or names != list(LABELS):
        index = {str(n): LABELS.index(next(iter(c))) for n, c in zip(names, classes, strict=True)}
        values = split["label"]
        texts = [names[v] for v in values] if isinstance(feature, ClassLabel) else [str(v) for v in values]
        column = [index[text] for text in texts]
        split = split.remove_columns("label").add_column("label", column, feature=ClassLabel(names=list(LABELS)))
    return split.cast_column("audio", Audio(SAMPLING_RATE, decode=False))


def _require_both_classes(split: Dataset, name: str, split_name: str) -> None:
    present = set(split["label"])
    if len(present) < len(LABELS):
        found = LABELS[present.pop()] if present else "no"
        raise UserError(
            f"{name} [{split_name}] holds {found} clips only ({len(split)} rows); a detector needs both real and fake "
            "in every split: add recordings of the other class and build the dataset again"
        )
