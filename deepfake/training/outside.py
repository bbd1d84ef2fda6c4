"""Do no harm: sets from elsewhere, before and after fine-tuning, and a warning where it made the detector worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset, concatenate_datasets

from deepfake.dataset import read_splits
from deepfake.errors import UserError
from deepfake.judging.clips import ScoredClips
from deepfake.judging.judge import Judge
from deepfake.labels import LABELS
from deepfake.metrics.intervals import Difference
from deepfake.text import bracket, number
from deepfake.training.recipe import Recipe


@dataclass(frozen=True)
class Start:
    """The start checkpoint as it came: how it decides, and the clips of every set that it can score."""

    judge: Judge
    clips: Mapping[str, ScoredClips]


def load_outside(recipe: Recipe) -> dict[str, Dataset]:
    """The recipe's out-of-domain sets by their folders' own names: the test split where there is one, else all of it.

    Raises:
        UserError: see `read_splits`; two sets of one name, or one without both classes.
    """
    found: dict[str, Dataset] = {}
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


def warnings_of(differences: Mapping[str, Mapping[str, Difference]], outside: Sequence[str]) -> list[str]:
    """A sentence for each set of `outside` that fine-tuning ranks worse than the start checkpoint did."""
    sentences = []
    for name in outside:
        found = differences[name]["roc_auc"] if name in differences else None
        if found is None or found.difference.value is None or found.difference.value >= 0:
            continue
        low, high = found.difference.low, found.difference.high
        if low is None or high is None:
            sure = "too few recordings for an interval"
        else:
            verdict = "which excludes 0" if high < 0 else "which holds 0, so that it may be chance"
            sure = f"95 % interval of the difference {bracket(low, high)}, {verdict}"
        sentences.append(
            f"fine-tuning made it worse on {name}: ROC-AUC {number(found.a)} after, {number(found.b)} before ({sure}); "
            "do not use it there in place of the start checkpoint"
        )
    return sentences
