"""Do no harm: sets from elsewhere, before and after fine-tuning, and a warning where it made the detector worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from data_prep.errors import UserError
from data_prep.labels import LABELS
from data_prep.read_dataset import read_splits
from evaluation.intervals import Difference, paired_difference
from training.recipe import Recipe

COMPARED = ("roc_auc", "eer", "accuracy", "balanced_accuracy")


@dataclass(frozen=True)
class Start:
    """The start checkpoint as it came: its threshold on the fake logit, and its fake logits (clips,) of every set.

    NaN stands for a clip without a score.
    """

    threshold: float
    scores: Mapping[str, np.ndarray]


def load_outside(recipe: Recipe) -> dict[str, Dataset]:
    """The recipe's out-of-domain sets by their folders' own names: the test split where there is one, else all of it.

    Raises:
        UserError: see `read_splits`; two sets of one name, or one without both classes; a convex fit.
    """
    found: dict[str, Dataset] = {}
    if recipe.convex and recipe.arguments.ood_dataset:
        raise UserError(
            "--ood_dataset goes with gradient training; give --ood to `python -m evaluation report` instead"
        )
    for given in recipe.arguments.ood_dataset or []:
        name = Path(given).resolve().name if Path(given).exists() else given
        if name in found or name in ("train", "validation", "test"):
            raise UserError(f"--ood_dataset {given} has the name of another set, {name}; rename its folder")
        splits = read_splits(given)
        rows = splits["test"] if "test" in splits else concatenate_datasets(list(splits.values()))
        present = {LABELS[label] for label in set(rows["label"])}
        if len(present) < len(LABELS):
            raise UserError(
                f"--ood_dataset {given} holds {' and '.join(present) or 'no'} clips only; ranking needs real and fake"
            )
        found[name] = rows
    return found


def compare(
    rows: Dataset, groups: np.ndarray, after: np.ndarray, threshold: float, before: np.ndarray, start_threshold: float
) -> dict[str, dict[str, Any]]:
    """Fine-tuned minus start checkpoint on the same clips, by metric, each with a paired 95 % interval over `groups`.

    Args:
        groups: recording of each clip. after, before: fake logits, all of shape (clips,).
    """
    labels = np.asarray(rows["label"])
    found: dict[str, Difference] = paired_difference(
        after, before, labels, groups, threshold, start_threshold, metrics=COMPARED
    )
    return {name: asdict(difference) for name, difference in found.items()}


def warnings_of(differences: Mapping[str, Mapping[str, Any]], outside: Sequence[str]) -> list[str]:
    """A sentence for each set of `outside` that fine-tuning ranks worse than the start checkpoint did."""
    sentences = []
    for name in outside:
        found = differences[name]["roc_auc"] if name in differences else None
        if found is None or found["difference"] is None or found["difference"] >= 0:
            continue
        low, high = found["interval"]["low"], found["interval"]["high"]
        if low is None:
            sure = "too few recordings for an interval"
        else:
            verdict = "which excludes 0" if high < 0 else "which holds 0, so that it may be chance"
            sure = f"95 % interval of the difference [{low:.3f}, {high:.3f}], {verdict}"
        sentences.append(
            f"fine-tuning made it worse on {name}: ROC-AUC {found['a']:.3f} after, {found['b']:.3f} before ({sure}); "
            "do not use it there in place of the start checkpoint"
        )
    return sentences
