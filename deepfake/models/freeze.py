"""Which parameters train: frozen by structure, the same for every transformers class that has the parts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from deepfake.errors import UserError

_STACK_NAMES = ("layers", "layer")
# What lies between the feature encoder and the first transformer layer, by the names transformers uses. The encoder's
# layer norm belongs here only where it comes before the layers.
_INPUT_STACK = ("feature_projection", "pos_conv_embed", "masked_spec_embed", "embeddings", "embed_positions")
_CONVOLUTIONS = ("conv1", "conv2")  # Whisper's feature encoder


@dataclass(frozen=True)
class FreezePlan:
    """What stays as it is.

    Attributes:
        feature_encoder: the convolutions that turn samples or a spectrogram into frames.
        encoder_layers: how many transformer layers.
        input_stack: feature projection, positional convolution or embedding, mask embedding. Without it, backward
            runs through every frozen layer above to reach these few parameters.
        train_layers: which layers are left to train: "top" (the lowest `encoder_layers` are frozen), "bottom" (the
            highest are), or a range such as "4-9" (counted from 0, ends included; all others are frozen).
    """

    feature_encoder: bool = False
    encoder_layers: int = 0
    input_stack: bool = False
    train_layers: str = "top"


def freeze(model: nn.Module, plan: FreezePlan) -> None:
    """Freeze what `plan` names, in place, and nothing else.

    At the XLS-R 300M geometry, feature encoder and 12 layers leave 160,336,770 of 315,701,634 parameters trained, the
    figure of the published model card; with the input stack as well it is 151,419,650.

    Raises:
        UserError: the model has no such part, or fewer layers than asked for.
    """
    if plan.feature_encoder:
        _freeze_feature_encoder(model)
    if plan.encoder_layers or "-" in plan.train_layers:
        layers = transformer_layers(model)
        for index in _frozen_layers(plan, len(layers), type(model).__name__):
            layers[index].requires_grad_(False)
    if plan.input_stack:
        _freeze_input_stack(model)


def transformer_layers(model: nn.Module) -> nn.ModuleList:
    """The stack of transformer layers, found by structure: the ModuleList `layers` or `layer` whose members attend.

    Raises:
        UserError: no such stack.
    """
    stacks = [
        m
        for n, m in model.named_modules()
        if isinstance(m, nn.ModuleList) and len(m) and n.split(".")[-1] in _STACK_NAMES
    ]
    stacks = [s for s in stacks if any("att" in n for n, _ in s[0].named_modules())]
    if not stacks:
        raise UserError(f"{type(model).__name__} has no stack of transformer layers; set freeze.encoder_layers: 0")
    return max(stacks, key=len)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(trained, all) parameters."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)


def on_meta(build: Callable[..., nn.Module], *args: Any) -> nn.Module:
    """Call `build(*args)` without allocating weights: enough to count them and their operations."""
    with torch.device("meta"):
        return build(*args)


def _freeze_feature_encoder(model: nn.Module) -> None:
    if hasattr(model, "freeze_feature_encoder"):
        model.freeze_feature_encoder()
        return
    convolutions = [m for n, m in model.named_modules() if n.split(".")[-1] in _CONVOLUTIONS]
    if not convolutions:
        raise UserError(
            f"{type(model).__name__} has no convolutional feature encoder; set freeze.feature_encoder: false"
        )
    for module in convolutions:
        module.requires_grad_(False)


def _freeze_input_stack(model: nn.Module) -> None:
    names = set(_INPUT_STACK)
    found = [p for n, p in model.named_parameters() if names & set(n.split("."))]
    waveform_model = any("feature_projection" in n for n, _ in model.named_modules())
    if waveform_model and not getattr(model.config, "do_stable_layer_norm", False):
        found += [p for n, p in model.named_parameters() if re.search(r"encoder\.layer_norm\.(weight|bias)$", n)]
    if not found:
        raise UserError(f"{type(model).__name__} has no input stack that is known; set freeze.input_stack: false")
    for parameter in found:
        parameter.requires_grad_(False)


def _frozen_layers(plan: FreezePlan, count: int, name: str) -> range | list[int]:
    if plan.encoder_layers > count:
        raise UserError(f"freeze.encoder_layers is {plan.encoder_layers}, but {name} has {count} layers")
    if plan.train_layers == "top":
        return range(plan.encoder_layers)
    if plan.train_layers == "bottom":
        return range(count - plan.encoder_layers, count)
    bounds = re.fullmatch(r"(\d+)-(\d+)", plan.train_layers)
    if not bounds or not int(bounds[1]) <= int(bounds[2]) < count:
        raise UserError(
            f"freeze.train_layers is {plan.train_layers}; expected top, bottom or a range within 0-{count - 1}"
        )
    return [index for index in range(count) if not int(bounds[1]) <= index <= int(bounds[2])]
