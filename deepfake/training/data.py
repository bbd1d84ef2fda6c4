"""The prepared dataset as the trainer takes it: checked, labels by name, audio as bytes."""

from __future__ import annotations

from collections import Counter

from datasets import Dataset, DatasetDict

from deepfake.dataset import read_splits
from deepfake.errors import UserError
from deepfake.labels import LABELS
from deepfake.schema import SPLITS


def load_splits(name: str) -> DatasetDict:
    """Load a dataset folder or Hub id and check that a detector can be trained on it.

    Returns:
        The splits train, validation and, if there, test; `label` is ClassLabel(["real", "fake"]), `audio` undecoded.

    Raises:
        UserError: not found, a split or column missing, labels that do not name the classes, or one class only.
    """
    dataset = read_splits(name)
    missing = [split for split in ("train", "validation") if split not in dataset]
    if missing:
        raise UserError(
            f"{name} has the splits {', '.join(dataset)} but no {missing[0]}; prepare one with "
            "`python -m data_prep build RECORDINGS --output DIR`"
        )
    checked = {}
    for split in SPLITS:
        if split in dataset:
            _require_both_classes(dataset[split], name, split)
            checked[split] = dataset[split]
    return DatasetDict(checked)


def shared_sources(dataset: DatasetDict) -> int:
    """How many recordings occur in more than one split (0 also when the dataset does not know its recordings)."""
    seen: Counter[str] = Counter()
    for split in dataset.values():
        if "source" in split.column_names:
            seen.update({s for s in split["source"] if s})
    return sum(count > 1 for count in seen.values())


def _require_both_classes(split: Dataset, name: str, split_name: str) -> None:
    present = set(split["label"])
    if len(present) < len(LABELS):
        found = LABELS[present.pop()] if present else "no"
        raise UserError(
            f"{name} [{split_name}] holds {found} clips only ({len(split)} rows); a detector needs both real and fake "
            "in every split: add recordings of the other class and build the dataset again"
        )
