"""Leave-one-generator-out: train again without each generator, by the same recipe, and judge on what was left out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets import Dataset, DatasetDict, concatenate_datasets

from deepfake.dataset import labels_of
from deepfake.errors import UserError
from deepfake.judging.judge import SHOWN
from deepfake.judging.record import TEST, Part
from deepfake.judging.run import RESULTS, read_run

HUMAN = "human"
RECIPE = "recipe.yaml"


def leave_one_generator_out(model: str, splits: dict[str, Dataset], folder: Path) -> list[Part]:
    """One training per generator that the training split holds.

    What a finished training left in `folder` is kept, so that a run that was cut off goes on.

    Args:
        model: folder of a training run; its recipe.yaml is followed.
        splits: train, validation and test of the dataset it was trained on.
        folder: where the datasets and detectors of these trainings go.

    Returns:
        Per generator the real test clips and its fakes, judged.

    Raises:
        UserError: as `generators_to_leave_out`, or a training that fails.
    """
    recipe = Path(model) / RECIPE
    generators = generators_to_leave_out(model, splits)
    return [_without(generator, recipe, splits, folder / _safe(generator)) for generator in generators]


def generators_to_leave_out(model: str, splits: dict[str, Dataset]) -> list[str]:
    """The generators that the training split holds; found out at once, before anything is scored or trained.

    Raises:
        UserError: no recipe, one that holds generators out by itself, generators not recorded, or only one of them.
    """
    recipe = Path(model) / RECIPE
    if not recipe.is_file():
        raise UserError(f"{model} has no {RECIPE}; --leave-one-generator-out needs the folder of a training run")
    if (yaml.safe_load(recipe.read_text(encoding="utf-8")) or {}).get("stacked"):
        raise UserError(
            f"{model} was fitted by a recipe with `stacked:`, which holds out pages with every generator on them by "
            "itself; what that measured stands under Results in its README.md and clip by clip in scores_heldout.csv, "
            "and --leave-one-generator-out is for recipes that train one network"
        )
    missing = [split for split in ("train", "validation", "test") if split not in splits]
    if missing or "generator" not in splits["train"].column_names:
        lacking = f"the split {missing[0]}" if missing else "the column generator"
        raise UserError(f"--leave-one-generator-out needs a dataset with {lacking}")
    generators = sorted({g for g in splits["train"]["generator"] if g and g != HUMAN})
    if len(generators) < 2:
        raise UserError(f"the training split names {len(generators)} generators; to leave one out, two are needed")
    return generators


def without(generator: str, splits: dict[str, Dataset]) -> DatasetDict:
    """The dataset of one such training.

    Train and validation lose the generator's clips. Test becomes the real test clips and the generator's clips of all
    splits, but for those cut from a recording, or spoken by a speaker, that train or validation still hold.

    Raises:
        UserError: nothing is left to train or to judge on.
    """
    kept = {name: _chosen(splits[name], lambda g: g != generator) for name in ("train", "validation")}
    heard = {column: _values(kept.values(), column) for column in ("source", "speaker")}
    fakes = concatenate_datasets([_chosen(part, lambda g: g == generator) for part in splits.values()])
    new = np.ones(len(fakes), dtype=bool)
    for column, values in heard.items():
        if column in fakes.column_names:
            new &= np.array([value is None or value not in values for value in fakes[column]], dtype=bool)
    fakes = fakes.select(np.flatnonzero(new))
    test = splits["test"]
    real = test.select(np.flatnonzero(labels_of(test) == 0))
    result = DatasetDict(**kept, test=concatenate_datasets([real, fakes]))
    for name, part in result.items():
        if len(part) == 0 or len(set(labels_of(part))) < 2:
            raise UserError(f"without {generator} the {name} split has clips of one class only; it cannot be left out")
    return result


def _without(generator: str, recipe: Path, splits: dict[str, Dataset], folder: Path) -> Part:
    detector = folder / "detector"
    if not (detector / RESULTS).is_file():
        print(f"training without {generator}", file=sys.stderr)
        without(generator, splits).save_to_disk(str(folder / "dataset"))
        command = [
            sys.executable,
            "-m",
            "train_wav2vec2",
            "--config",
            str(recipe),
            "--dataset",
            str(folder / "dataset"),
        ]
        done = subprocess.run([*command, "--output_dir", str(detector)], stdout=subprocess.DEVNULL)
        if done.returncode:
            raise UserError(f"the training without {generator} failed (exit {done.returncode}); its messages are above")
    judged = read_run(detector / RESULTS).judgement.sets[TEST]
    return Part(generator, judged.facts.real, judged.facts.fake, {name: judged.metrics[name] for name in SHOWN})


def _chosen(part: Dataset, wanted: Any) -> Dataset:
    return part.select([i for i, g in enumerate(part["generator"]) if wanted(g)])


def _values(parts: Any, column: str) -> set[str]:
    return {v for part in parts if column in part.column_names for v in part[column] if v}


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
