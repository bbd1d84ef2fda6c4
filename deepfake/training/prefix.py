"""The frozen prefix, computed once: its activations on disk, and a model that starts from them.

Holds for wav2vec2, HuBERT, data2vec-audio and their kin, whose layers above the prefix need nothing but the hidden
states below. What would make the prefix differ from epoch to epoch (augmentation, crops, SpecAugment, dropout in frozen
layers) must be off; `require_cacheable` says which is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from torch import nn
from tqdm import tqdm
from transformers import FeatureExtractionMixin, PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput

from deepfake.audio.decode import load_audio
from deepfake.errors import UserError
from deepfake.models.freeze import transformer_layers
from deepfake.models.inputs import featurise, uses_padding_mask
from deepfake.training.packing import SUPPORTED, norm_comes_last, packs_clips, through_packed
from deepfake.training.recipe import Recipe

_CLIPS_AT_ONCE = 8


class _Reached(Exception):
    """Raised at the first trained layer: nothing above it is wanted."""


@dataclass(frozen=True)
class PrefixCache:
    """Activations below layer `depth`, float32 of shape (frames, hidden size) for each clip of each split.

    Attributes:
        folder: where `<split>.npy` (all clips end to end) and `<split>.offsets.npy` lie.
        datasets: the splits without audio, with the clip's position in `clip`.
    """

    folder: Path
    depth: int
    datasets: DatasetDict

    def collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """As `deepfake.training.collator.Collator`, with hidden states (clips, frames, size) in place of samples."""
        states = [torch.from_numpy(self._read(row["split_name"], row["clip"])) for row in rows]
        mask = nn.utils.rnn.pad_sequence([torch.ones(len(s), dtype=torch.long) for s in states], batch_first=True)
        return {
            "input_values": nn.utils.rnn.pad_sequence(states, batch_first=True),
            "attention_mask": mask,
            "labels": torch.tensor([row["label"] for row in rows]),
            "clips": [f"{row['split_name']} {row['clip']}" for row in rows],
            "lengths": [len(s) for s in states],
        }

    def _read(self, split: str, clip: int) -> np.ndarray:
        offsets = np.load(self.folder / f"{split}.offsets.npy", mmap_mode="r")
        states = np.load(self.folder / f"{split}.npy", mmap_mode="r")
        return np.array(states[offsets[clip] : offsets[clip + 1]])


def require_cacheable(model: PreTrainedModel, recipe: Recipe, dataset: DatasetDict) -> int:
    """The number of layers in the prefix.

    Raises:
        UserError: the prefix is not wholly frozen, or something would change its activations between epochs.
    """
    own, config = recipe.arguments, model.config
    depth = own.freeze_encoder_layers
    longest_s = max(dataset["train"]["duration_s"], default=0.0)
    problems = [
        (config.model_type not in SUPPORTED, f"model_type {config.model_type} (it works for {', '.join(SUPPORTED)})"),
        (not uses_padding_mask(config), "a model without padding mask, whose activations depend on the batch"),
        (
            not (own.freeze_feature_encoder and own.freeze_input_stack and depth and own.freeze_train_layers == "top"),
            "a prefix that is not frozen whole; set freeze: feature_encoder, encoder_layers and input_stack",
        ),
        (own.augmentation != "none", f"augmentation {own.augmentation}"),
        (getattr(config, "use_weighted_layer_sum", False), "use_weighted_layer_sum"),
        (getattr(config, "layerdrop", 0.0) > 0, "layerdrop; set model_overrides: {layerdrop: 0.0}"),
        (own.prefix_dropout, "dropout in frozen layers; set prefix_dropout: false"),
        (
            getattr(config, "apply_spec_augment", True)
            and max(getattr(config, "mask_time_prob", 0), getattr(config, "mask_feature_prob", 0)) > 0,
            "SpecAugment; set model_overrides: {apply_spec_augment: false}",
        ),
        (
            longest_s > own.max_duration_s + 1e-6,
            f"random crops: clips reach {longest_s:.1f} s; set max_duration_s, now {own.max_duration_s:g}, to that",
        ),
    ]
    for wrong, what in problems:
        if wrong:
            raise UserError(f"cache_prefix cannot go with {what}")
    return depth


def build_cache(
    folder: Path, model: PreTrainedModel, extractor: FeatureExtractionMixin, dataset: DatasetDict, recipe: Recipe
) -> PrefixCache:
    """Compute the activations below the trained layers for train and validation, or take those already there.

    Args:
        folder: caches lie in it under a key of prefix weights, feature extractor and data.

    Raises:
        UserError: see `require_cacheable`, or more disk space than `cache_max_gb` would be needed.
    """
    depth = require_cacheable(model, recipe, dataset)
    splits = DatasetDict({name: dataset[name] for name in ("train", "validation")})
    frames = {name: _frame_counts(model, split) for name, split in splits.items()}
    size_gb = sum(int(counts.sum()) for counts in frames.values()) * model.config.hidden_size * 4 / 1e9
    if size_gb > recipe.arguments.cache_max_gb:
        raise UserError(
            f"the prefix cache needs {size_gb:.1f} GB, more than cache_max_gb {recipe.arguments.cache_max_gb:g}; allow "
            "more with --cache_max_gb, or train without cache_prefix"
        )
    place = folder / _key(model, extractor, splits, depth)
    place.mkdir(parents=True, exist_ok=True)
    for name, split in splits.items():
        if not (place / f"{name}.offsets.npy").exists():  # written last
            _write(place, name, split, frames[name], model, extractor, depth)
    return PrefixCache(place, depth, DatasetDict({name: _without_audio(split, name) for name, split in splits.items()}))


@contextlib.contextmanager
def starting_from_cache(model: PreTrainedModel, depth: int) -> Iterator[None]:
    """Within it, `model` takes hidden states and a frame mask for samples and a sample mask.

    Weights, names and checkpoints stay those of the whole model.
    """
    base, layers = model.base_model, transformer_layers(model)
    stable = norm_comes_last(model)

    def forward(input_values: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any) -> BaseModelOutput:
        hidden = input_values
        if packs_clips(model):
            hidden = through_packed(layers[depth:], hidden, attention_mask)
        else:
            mask = create_bidirectional_mask(config=model.config, inputs_embeds=hidden, attention_mask=attention_mask)
            for layer in layers[depth:]:
                hidden = layer(hidden, attention_mask=mask)
        return BaseModelOutput(last_hidden_state=base.encoder.layer_norm(hidden) if stable else hidden)

    base.forward = forward
    model._get_feature_vector_attention_mask = lambda _frames, mask, **__: mask.bool()
    try:
        yield
    finally:
        del base.forward, model._get_feature_vector_attention_mask


def silence_prefix_dropout(model: PreTrainedModel, depth: int) -> None:
    """Set dropout to zero in everything below the first trained layer, in place."""
    layers = transformer_layers(model)
    above = {id(m) for layer in layers[depth:] for m in layer.modules()}
    for module in model.base_model.modules():
        if id(module) in above:
            continue
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):  # attention modules keep their rate as a number
            module.dropout = 0.0


def _write(
    place: Path, name: str, split: Dataset, frames: np.ndarray, model: PreTrainedModel, extractor: Any, depth: int
) -> None:
    offsets = np.concatenate([[0], np.cumsum(frames)])
    shape = (int(offsets[-1]), model.config.hidden_size)
    states = np.lib.format.open_memmap(place / f"{name}.npy", mode="w+", dtype=np.float32, shape=shape)
    order = np.argsort(frames, kind="stable")  # clips of a batch are of like length, so that little is padded
    with tqdm(total=len(split), desc=f"frozen prefix, {name}", unit="clip", file=sys.stderr, disable=None) as bar:
        for start in range(0, len(order), _CLIPS_AT_ONCE):
            chosen = order[start : start + _CLIPS_AT_ONCE]
            hidden = _below(model, extractor, [load_audio(split[int(i)]["audio"]["bytes"]) for i in chosen], depth)
            for i, clip in zip(chosen, hidden, strict=True):
                states[offsets[i] : offsets[i + 1]] = clip[: frames[i]]
            bar.update(len(chosen))
    states.flush()
    np.save(place / f"{name}.offsets.npy", offsets)


def _below(model: PreTrainedModel, extractor: Any, waveforms: list[np.ndarray], depth: int) -> np.ndarray:
    """Hidden states entering layer `depth`, float32 of shape (clips, frames, size)."""
    reached: list[torch.Tensor] = []

    def stop(_module: nn.Module, arguments: tuple, named: dict) -> None:
        hidden = arguments[0] if arguments else named["hidden_states"]
        if packs_clips(model):  # all clips in one row, and their lengths for a mask
            hidden = nn.utils.rnn.pad_sequence(hidden[0].split(named["attention_mask"]), batch_first=True)
        reached.append(hidden)
        raise _Reached

    layers, was_training = transformer_layers(model), model.training
    hook = layers[depth].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with torch.inference_mode(), contextlib.suppress(_Reached):
            model.eval()(**featurise(extractor, waveforms).to(model.device))
    finally:
        hook.remove()
        model.train(was_training)
    return reached[0].float().cpu().numpy()


def _frame_counts(model: PreTrainedModel, split: Dataset) -> np.ndarray:
    samples = torch.tensor([round(seconds * 16_000) for seconds in split["duration_s"]])
    return model._get_feat_extract_output_lengths(samples).numpy().astype(np.int64)


def _key(model: PreTrainedModel, extractor: FeatureExtractionMixin, splits: DatasetDict, depth: int) -> str:
    digest = hashlib.sha256(json.dumps([depth, extractor.to_dict()], sort_keys=True, default=str).encode())
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            digest.update(name.encode() + parameter.detach().cpu().float().numpy().tobytes())
    for name, split in splits.items():
        digest.update(f"{name} {split._fingerprint}".encode())
    return digest.hexdigest()[:20]


def _without_audio(split: Dataset, name: str) -> Dataset:
    kept = [c for c in ("label", "generator", "duration_s") if c in split.column_names]
    rows = split.select_columns(kept).add_column("clip", list(range(len(split))))
    return rows.add_column("split_name", [name] * len(split))
