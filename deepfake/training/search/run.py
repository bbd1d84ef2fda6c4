"""The search of a recipe with `search:`, before its training: OUT/architecture.json and a picture of it."""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from torch.utils.data import DataLoader
from transformers import set_seed

from deepfake.channels.augment import load_augmentation
from deepfake.errors import UserError
from deepfake.text import write_json
from deepfake.training.collator import Collator
from deepfake.training.model import load_feature_extractor, load_model
from deepfake.training.objective import Objective, balanced_weights
from deepfake.training.recipe import Recipe
from deepfake.training.search.options import (
    ARCHITECTURE_FILE,
    PICTURE_FILE,
    STATE_FILE,
    Found,
    Genotype,
    SearchOptions,
    search_options,
)
from deepfake.training.search.picture import draw_architecture
from deepfake.training.search.search import Batch, Batches, search, split_in_halves
from deepfake.training.search.supernet import Supernet

BACKBONE = "darts_lstm"
# What the outcome depends on; a found architecture is used again only where all of this is as it was.
_ASKED = ("architecture", "feature_extractor", "search", "seed", "augmentation", "class_weights", "max_duration_s")


def with_architecture(recipe: Recipe, dataset: DatasetDict) -> Recipe:
    """The recipe with the genotype that the search finds; one found before by the same recipe is read instead.

    Raises:
        UserError: another backbone, options that make no sense, or too few recordings.
    """
    options = search_options(recipe.search)
    if recipe.architecture.get("backbone") != BACKBONE:
        raise UserError(f"`search:` is for the backbone {BACKBONE}; found {recipe.architecture.get('backbone')}")
    folder = Path(recipe.training.output_dir)
    asked = _asked(recipe, dataset["train"])
    found = _read(folder / ARCHITECTURE_FILE)
    if found is None or found["asked"] != asked:
        state = folder / STATE_FILE.replace("*", f"{zlib.crc32(json.dumps(asked).encode()):08x}")
        found = _search(recipe, options, dataset["train"], state, asked)
        write_json(folder / ARCHITECTURE_FILE, found)
        draw_architecture(folder / PICTURE_FILE, found, options)
    return _with_genotype(recipe, found["genotype"])


def search_facts(recipe: Recipe, folder: Path) -> dict[str, Any] | None:
    """What results.json says about the search; None for a recipe without one."""
    if not recipe.search:
        return None
    found = _read(folder / ARCHITECTURE_FILE)
    return {key: found[key] for key in ("genotype", "weights", "halves", "seconds")}


def _search(recipe: Recipe, options: SearchOptions, train: Dataset, state: Path, asked: dict[str, Any]) -> Found:
    begun = time.perf_counter()
    training, own = recipe.training, recipe.arguments
    set_seed(training.seed)
    model = load_model(_with_genotype(recipe, {"width": options.width, "layers": [], "dropout": 0.0}))
    model.backbone = supernet = Supernet(model.backbone.stem.project.in_features, options)
    model.to(training.device)
    extractor = load_feature_extractor(recipe, model.config)
    collator = Collator(extractor, own.max_duration_s, training.seed, load_augmentation(own.augmentation))
    columns = {name: train[name] if name in train.column_names else [None] * len(train)
               for name in ("label", "source", "speaker")}  # fmt: skip
    halves = split_in_halves(columns["label"], columns["source"], columns["speaker"], training.seed)
    objective = Objective(balanced_weights(columns["label"]) if own.class_weights == "balanced" else None)
    _say(f"searching an architecture: weights on {len(halves[0])} clips, architecture on {len(halves[1])} others")
    loaders = tuple(_batches(train.select(rows), collator, options, training.seed, number, training.device)
                    for number, rows in enumerate(halves))  # fmt: skip
    result = search(model, supernet, loaders, objective, options, training.seed, state, _say)
    _say(f"found {json.dumps(result.genotype)}")
    sizes = {
        name: {"clips": len(rows), "recordings": len({columns["source"][row] or row for row in rows})}
        for name, rows in zip(("weights", "architecture"), halves, strict=True)
    }
    return Found(**asdict(result), halves=sizes, asked=asked, seconds=round(time.perf_counter() - begun, 1))


def _batches(
    rows: Dataset, collator: Collator, options: SearchOptions, seed: int, half: int, device: torch.device
) -> Batches:
    def of_epoch(epoch: int) -> Iterable[Batch]:
        collator.epoch = epoch
        order = torch.Generator().manual_seed(2 * (seed + epoch) + half)
        for batch in DataLoader(rows, options.batch_size, shuffle=True, generator=order, collate_fn=collator):
            # The collator says of which clips a batch is, and how padded, beside the tensors.
            yield {name: value.to(device) for name, value in batch.items() if isinstance(value, torch.Tensor)}

    return of_epoch


def _with_genotype(recipe: Recipe, genotype: Genotype) -> Recipe:
    return replace(recipe, architecture=recipe.architecture | {"genotype": genotype})


def _asked(recipe: Recipe, train: Dataset) -> dict[str, Any]:
    sources = train["source"] if "source" in train.column_names else []
    clips = zlib.crc32(json.dumps([list(train["label"]), list(sources)]).encode())
    values = {key: recipe.values.get(key) for key in _ASKED}
    return json.loads(json.dumps(values, default=str)) | {"clips": len(train), "clips_crc32": clips}


def _read(path: Path) -> Found | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _say(text: str) -> None:
    print(text, file=sys.stderr)
