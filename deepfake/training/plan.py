"""The plan of a run as a table: what trains, what is frozen, where backward has to go and what a step costs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count
from transformers import PreTrainedConfig

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.models.freeze import count_parameters, on_meta
from deepfake.training.lora import limit_training
from deepfake.training.model import build_model, load_feature_extractor
from deepfake.training.recipe import Recipe, resolved_yaml

_ADAPTER, _ADAPTED = ".lora_", ".base_layer."  # parts of their names that peft gives the parameters
_LAYER = re.compile(r"^((?:.*\.)?layers?)\.(\d+)\.")


@dataclass(frozen=True)
class ModuleRow:
    """A run of neighbouring parameters that are all trained or all frozen, transformer layers folded into a range."""

    module: str
    parameters: int
    trained: bool


@dataclass(frozen=True)
class StepCost:
    """Floating point operations of one forward and backward pass, and the modules backward passes through."""

    forward: int
    backward: int
    on_path: frozenset[str]


def describe_plan(config: PreTrainedConfig, recipe: Recipe) -> str:
    """The table for a model of `config` under the recipe's freeze plan, without allocating its weights."""
    model = on_meta(build_model, config)
    limit_training(model, recipe)
    clips = recipe.training.per_device_train_batch_size * recipe.training.gradient_accumulation_steps
    seconds = recipe.arguments.max_duration_s
    try:
        cost = step_cost(model, _inputs_of_a_step(recipe, config, clips, seconds))
    except (RuntimeError, NotImplementedError, TypeError, ValueError):  # an architecture that needs real numbers
        cost = None
    text = format_plan(model, cost, f"one step of {clips} clips of at most {seconds:g} s")
    if recipe.search and "genotype" not in recipe.architecture:
        text += "\nits layers are searched for first; shown are those that a model without a search gets"
    whole = resolved_yaml(recipe.values).rstrip()
    return f"{text}\n\nthe whole recipe, with what it extends and every override:\n\n{whole}"


def module_rows(model: nn.Module) -> list[ModuleRow]:
    """The model in the order of its weights; LoRA's matrices, which lie between them, in rows of their own below."""
    named = list(model.named_parameters())
    adapters = _folded([(n, p) for n, p in named if _ADAPTER in n])
    return _folded([(n, p) for n, p in named if _ADAPTER not in n]) + [
        ModuleRow(f"{row.module} (LoRA)", row.parameters, row.trained) for row in adapters
    ]


def _folded(named: Sequence[tuple[str, nn.Parameter]]) -> list[ModuleRow]:
    rows: list[ModuleRow] = []
    adapted = {_part(n) for n, _ in named if _ADAPTED in n}
    for name, parameter in named:
        part, trained = _part(name), parameter.requires_grad
        alike = bool(rows) and rows[-1].trained == trained and (part in adapted) == (_last(rows[-1].module) in adapted)
        if alike and _same_run(rows[-1].module, part):
            rows[-1] = ModuleRow(_join(rows[-1].module, part), rows[-1].parameters + parameter.numel(), trained)
        else:
            rows.append(ModuleRow(part, parameter.numel(), trained))
    return rows


def step_cost(model: nn.Module, inputs: torch.Tensor) -> StepCost:
    """Count the operations of one step on `inputs`, the model's main input for all clips of the step.

    Args:
        model: frozen as it will be trained, on the meta device as `inputs`: shapes are computed, numbers are not.
    """
    on_path: set[str] = set()

    def note(name: str) -> object:
        # An output that requires grad is one that backward comes through.
        return lambda _module, _inputs, output: on_path.add(name) if _requires_grad(output) else None

    hooks = [m.register_forward_hook(note(n)) for n, m in model.named_modules() if n]
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward_flops}
    )
    was_training = model.training
    model.eval()  # dropout and masking cost nothing worth counting and draw random numbers
    with counter:
        logits = model(inputs).logits
        forward = counter.get_total_flops()
        if logits.requires_grad:
            logits.sum().backward()
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return StepCost(forward, counter.get_total_flops() - forward, frozenset(on_path))


def dummy_input(config: PreTrainedConfig, clips: int, duration_s: float) -> torch.Tensor:
    """The main input of a transformers model for `clips` clips of `duration_s` seconds, on the meta device."""
    if config.model_type == "whisper":
        shape = (clips, config.num_mel_bins, 2 * config.max_source_positions)
    elif config.model_type == "audio-spectrogram-transformer":
        shape = (clips, config.max_length, config.num_mel_bins)
    else:
        shape = (clips, round(duration_s * SAMPLING_RATE))
    return torch.zeros(shape, device="meta")


def format_plan(model: nn.Module, cost: StepCost | None = None, step: str = "") -> str:
    """The table printed before training and by `--plan`; `step` says what the cost was counted for."""
    rows = module_rows(model)
    width = max(len(row.module) for row in rows)
    trained, total = count_parameters(model)
    lines = [f"{'module':<{width}}  {'parameters':>12}  {'state':<8}" + ("backward" if cost else "")]
    for row in rows:
        line = f"{row.module:<{width}}  {row.parameters:>12,}  {'trained' if row.trained else 'frozen':<8}"
        if cost:
            line += "through" if row.trained or _first_module(row.module) in cost.on_path else "-"
        lines.append(line.rstrip())
    lines.append(f"{'trained':<{width}}  {trained:>12,}  of {total:,} ({trained / total:.1%})")
    if cost:
        lines.append(f"{step}: {_operations(cost.forward)} forward, {_operations(cost.backward)} backward")
    return "\n".join(lines)


def _operations(count: int) -> str:
    """8.146 TFLOP for a large model, 4.31 GFLOP for a small one: three digits that say something."""
    for unit, size, digits in (("TFLOP", 1e12, 3), ("GFLOP", 1e9, 2)):
        if count >= 0.1 * size:
            return f"{count / size:.{digits}f} {unit}"
    return f"{count / 1e6:.2f} MFLOP"


def _inputs_of_a_step(recipe: Recipe, config: PreTrainedConfig, clips: int, duration_s: float) -> torch.Tensor:
    if config.model_type != "spectrogram":
        return dummy_input(config, clips, duration_s)
    # Its shape is the feature extractor's choice.
    extractor = load_feature_extractor(recipe, config)
    one = extractor(np.zeros(round(duration_s * SAMPLING_RATE)), sampling_rate=SAMPLING_RATE)["input_features"]
    return torch.zeros((clips, *one.shape[1:]), device="meta")


def _convolution_backward_flops(
    gradient: Sequence[int], inputs: Sequence[int], weight: Sequence[int], *_: Any, out_shape: Any = None, **__: Any
) -> int:
    """Each gradient costs what forward did. torch's own formula counts that of a grouped convolution's weights once
    for each group: 16 times in XLS-R's positional convolution, a quarter of the whole backward pass."""
    wanted = sum(shape is not None and len(shape) > 0 for shape in out_shape[:2])
    return wanted * conv_flop_count(inputs, weight, gradient)


def _requires_grad(output: object) -> bool:
    if isinstance(output, dict):
        output = tuple(output.values())
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    return isinstance(first, torch.Tensor) and first.requires_grad


def _part(name: str) -> str:
    """encoder.layers.3.attention.k_proj.weight -> encoder.layers.3; other names keep three levels at most."""
    layer = _LAYER.match(name)
    if layer:
        return f"{layer[1]}.{layer[2]}"
    *modules, last = name.split(".")
    return ".".join(modules[:3]) if last in ("weight", "bias") or len(modules) > 2 else name


def _first_module(run: str) -> str:
    """encoder.layers.0-11 -> encoder.layers.0"""
    return re.sub(r"\.(\d+)-\d+$", r".\1", run)


def _last(run: str) -> str:
    """encoder.layers.0-11 -> encoder.layers.11"""
    return re.sub(r"\.\d+-(\d+)$", r".\1", run)


def _same_run(run: str, part: str) -> bool:
    stem, _, last = part.rpartition(".")
    return run == part or (last.isdigit() and run.rpartition(".")[0] == stem)


def _join(run: str, part: str) -> str:
    stem, _, last = part.rpartition(".")
    if run == part or not last.isdigit():
        return run
    first = run.rpartition(".")[2].partition("-")[0]
    return f"{stem}.{first}" if first == last else f"{stem}.{first}-{last}"
