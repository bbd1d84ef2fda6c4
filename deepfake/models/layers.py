"""The first N layers of a detector, as a detector of its own."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from transformers import FeatureExtractionMixin, PreTrainedModel

from deepfake.errors import UserError
from deepfake.models.freeze import transformer_layers

_COUNTS = ("num_hidden_layers", "encoder_layers")  # what configs call the number of encoder layers


def keep_layers(model: PreTrainedModel, layers: int) -> None:
    """Drop all but the lowest `layers` transformer layers of the encoder, in place; the head then reads the last kept.

    The config says so too: saved and loaded again, the model is the shorter one. A head trained above all layers has
    never seen these, so the result is to be fine-tuned, or at least measured, before its scores mean anything.

    Raises:
        UserError: no such number of layers, a model without a stack of layers, or one that mixes all of them.
    """
    try:
        stack = transformer_layers(model)
    except UserError as error:  # which advises on freezing
        raise UserError(
            f"--layers cannot shorten a {type(model).__name__}: it has no stack of encoder layers"
        ) from error
    if not 1 <= layers <= len(stack):
        raise UserError(f"--layers is {layers}; {type(model).__name__} has {len(stack)} layers")
    if getattr(model.config, "use_weighted_layer_sum", False):
        raise UserError("--layers cannot shorten a model whose head weighs all its layers (use_weighted_layer_sum)")
    names = [name for name in _COUNTS if name in model.config.to_dict()]
    if not names or any(
        isinstance(m, nn.ModuleList) and m is not stack and len(m) == len(stack) for m in _lists(model)
    ):
        raise UserError(f"--layers cannot tell where {type(model).__name__} says how many layers it has")
    del stack[layers:]
    for name in names:
        setattr(model.config, name, layers)


def save_shortened(model: PreTrainedModel, extractor: FeatureExtractionMixin, folder: Path) -> None:
    """Write an ordinary checkpoint: config, weights and feature extractor.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        model.save_pretrained(folder)
        extractor.save_pretrained(folder)
    except OSError as error:
        raise UserError(f"cannot write {folder} ({error.strerror or error})") from error


def _lists(model: nn.Module) -> list[nn.Module]:
    return [m for n, m in model.named_modules() if n.endswith(("layers", "layer"))]
