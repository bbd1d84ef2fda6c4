"""Which parameters train: frozen by structure, shown as a table, counted exactly."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import nn

from data_prep.errors import UserError

_STACK_NAMES = ("layers", "layer")
_LAYER = re.compile(r"^(.*?\.layers?)\.(\d+)\.")


@dataclass(frozen=True)
class ModuleRow:
    """A run of parameters that are all trained or all frozen."""

    module: str
    parameters: int
    trained: bool


def freeze(model: nn.Module, *, feature_encoder: bool, encoder_layers: int) -> None:
    """Freeze the convolutional feature encoder and the lowest transformer layers in place, and nothing else.

    At the XLS-R 300M geometry with 12 layers this leaves 160,336,770 of 315,701,634 parameters trained, the figure
    of the published model card; feature projection, positional convolution and mask embedding stay trained there.

    Raises:
        UserError: the model has no such part, or fewer layers than asked for.
    """
    name = type(model).__name__
    if feature_encoder:
        if not hasattr(model, "freeze_feature_encoder"):
            raise UserError(f"{name} has no convolutional feature encoder; set freeze.feature_encoder: false")
        model.freeze_feature_encoder()
    if encoder_layers:
        layers = transformer_layers(model)
        if encoder_layers > len(layers):
            raise UserError(f"freeze.encoder_layers is {encoder_layers}, but {name} has {len(layers)} layers")
        for layer in layers[:encoder_layers]:
            layer.requires_grad_(False)


def transformer_layers(model: nn.Module) -> nn.ModuleList:
    """The stack of transformer layers, found by structure: the longest ModuleList called `layers` or `layer`.

    Raises:
        UserError: no such stack.
    """
    stacks = [m for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and n.split(".")[-1] in _STACK_NAMES]
    if not stacks:
        raise UserError(f"{type(model).__name__} has no stack of transformer layers; set freeze.encoder_layers: 0")
    return max(stacks, key=len)


def module_rows(model: nn.Module) -> list[ModuleRow]:
    """The model as runs of neighbouring modules, transformer layers folded into ranges, in the order of the weights."""
    rows: list[ModuleRow] = []
    for name, parameter in model.named_parameters():
        part, trained = _part(name), parameter.requires_grad
        if rows and rows[-1].trained == trained and _same_run(rows[-1].module, part):
            rows[-1] = ModuleRow(_join(rows[-1].module, part), rows[-1].parameters + parameter.numel(), trained)
        else:
            rows.append(ModuleRow(part, parameter.numel(), trained))
    return rows


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(trained, all) parameters."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)


def format_plan(model: nn.Module) -> str:
    """The table printed before training and by `--plan`."""
    rows = module_rows(model)
    width = max(len(row.module) for row in rows)
    trained, total = count_parameters(model)
    lines = [f"{'module':<{width}}  {'parameters':>12}  state"]
    lines += [f"{r.module:<{width}}  {r.parameters:>12,}  {'trained' if r.trained else 'frozen'}" for r in rows]
    lines.append(f"{'trained':<{width}}  {trained:>12,}  of {total:,} ({trained / total:.1%})")
    return "\n".join(lines)


def on_meta(build: type | object, *args: object) -> nn.Module:
    """Call `build(*args)` without allocating weights: enough to count them."""
    with torch.device("meta"):
        return build(*args)


def _part(name: str) -> str:
    """encoder.layers.3.attention.k_proj.weight -> encoder.layers.3; other names keep at most three levels."""
    layer = _LAYER.match(name)
    if layer:
        return f"{layer[1]}.{layer[2]}"
    parts = name.split(".")
    return ".".join(parts[: 2 if len(parts) <= 3 else 3][: len(parts) - 1]) or name


def _same_run(run: str, part: str) -> bool:
    stem, _, last = part.rpartition(".")
    return run == part or (last.isdigit() and run.rpartition(".")[0] == stem)


def _join(run: str, part: str) -> str:
    stem, _, last = part.rpartition(".")
    if run == part or not last.isdigit():
        return run
    first = run.rpartition(".")[2].partition("-")[0]
    return f"{stem}.{first}" if first == last else f"{stem}.{first}-{last}"
