"""The output folder: started, gone on with, or refused; and what is saved in it at the end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import FeatureExtractionMixin, PreTrainedModel

from deepfake.architectures.compact import CompactForAudioClassification
from deepfake.errors import UserError
from deepfake.hub import first_line
from deepfake.judging.run import RESULTS, RunRecord, write_run
from deepfake.text import write_text
from deepfake.training.recipe import Recipe, plain, resolved_yaml
from deepfake.training.search.options import ARCHITECTURE_FILE, PICTURE_FILE, STATE_FILE
from deepfake.training.stacked.options import STATE as STACKED_STATE

# recipe.yaml names folders of this machine; results.json and the card hold the recipe without them.
_NOT_PUSHED = ["recipe.yaml", "checkpoint-*", "prefix_cache/*", "runs/*", "*.bin", "*.part", STATE_FILE, STACKED_STATE]
RECIPE_FILE = "recipe.yaml"


def prepare_output(recipe: Recipe) -> str | None:
    """Make the output folder and find where to go on from.

    Returns:
        The checkpoint to resume from, or None for a fresh start.

    Raises:
        UserError: the folder holds a finished run, or an unfinished one of another recipe.
    """
    folder = Path(recipe.training.output_dir)
    if recipe.arguments.overwrite:
        _discard(folder)
    if (folder / RESULTS).exists():
        raise UserError(f"{folder} holds a finished run; give another --output_dir, or --overwrite to discard it")
    checkpoint = _last_complete_checkpoint(folder)
    asked = recipe.training.resume_from_checkpoint
    if asked and str(asked).lower() not in ("true", "false"):
        if not Path(asked, "trainer_state.json").is_file():
            raise UserError(f"--resume_from_checkpoint {asked} is not a checkpoint (no trainer_state.json in it)")
        checkpoint = str(asked)
    elif (checkpoint or (folder / STACKED_STATE).is_file()) and _recorded(folder) != plain(recipe.values):
        raise UserError(
            f"{folder} holds an unfinished run of another recipe or dataset (see {RECIPE_FILE} there); "
            "give another --output_dir, or --overwrite to discard it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RECIPE_FILE, resolved_yaml(recipe.values))
    return checkpoint


def save_detector(
    folder: Path, model: PreTrainedModel, extractor: FeatureExtractionMixin, recipe: Recipe, results: RunRecord
) -> None:
    """Write weights, config with the decisions and windows, feature extractor, and results.json."""
    threshold = results.judgement.threshold
    model.config.detector = {
        "threshold": threshold.fake_probability,
        "threshold_rule": threshold.rule,
        "threshold_split": threshold.split,
        "window_s": recipe.arguments.window_s,
        "hop_s": recipe.arguments.hop_s,
        **results.judgement.decisions.to_config(),
    }
    model.save_pretrained(folder)
    if isinstance(model, CompactForAudioClassification):
        halve_losslessly(folder / "model.safetensors")
    extractor.save_pretrained(folder)
    write_run(folder / RESULTS, results)
    (folder / STACKED_STATE).unlink(missing_ok=True)  # gigabytes that nothing more is done with


def halve_losslessly(path: Path) -> None:
    """Store those tensors of a safetensors file in float16 that lose nothing by it; loading gives the same numbers."""
    tensors = {}
    for name, tensor in load_file(path).items():
        half = tensor.half()
        tensors[name] = half if torch.equal(half.to(tensor.dtype), tensor) else tensor
    save_file(tensors, path, metadata={"format": "pt"})


def push(folder: Path, repo_id: str | None) -> str:
    """Upload the detector and its card to the Hub, without checkpoints and optimizer states.

    Raises:
        UserError: the Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        repo = api.create_repo(repo_id or folder.name, exist_ok=True).repo_id
        api.upload_folder(repo_id=repo, folder_path=folder, ignore_patterns=_NOT_PUSHED)
    except Exception as error:
        raise UserError(
            f"everything is saved in {folder}, but pushing it to the Hub failed ({first_line(error)}); "
            "log in with `hf auth login`, or upload later with `hf upload`"
        ) from error
    return repo


def _discard(folder: Path) -> None:
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    for name in (RESULTS, RECIPE_FILE, ARCHITECTURE_FILE, PICTURE_FILE, STACKED_STATE):
        (folder / name).unlink(missing_ok=True)
    for state in folder.glob(STATE_FILE):
        state.unlink()


def _last_complete_checkpoint(folder: Path) -> str | None:
    # trainer_state.json is the last file Trainer writes: a checkpoint without it was cut off while being saved.
    complete = [p.parent for p in folder.glob("checkpoint-*/trainer_state.json")]
    return str(max(complete, key=lambda p: int(p.name.partition("-")[2]))) if complete else None


def _recorded(folder: Path) -> dict[str, Any] | None:
    path = folder / RECIPE_FILE
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None
