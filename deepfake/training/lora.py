"""LoRA through peft: low-rank updates in the trained layers, merged into ordinary weights at the end.

After Hu et al., "LoRA: Low-rank adaptation of large language models", ICLR 2022. The adapters are put into the model
itself, not around it: its class, its checkpoints and everything that finds layers by structure stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from deepfake.errors import UserError
from deepfake.models.freeze import freeze, transformer_layers
from deepfake.training.layer_rates import layer_depths
from deepfake.training.recipe import Recipe, freeze_plan


@dataclass(frozen=True)
class LoraOptions:
    """The `lora:` mapping of a recipe: rank, scale (alpha / r), dropout before the update, names of linear layers."""

    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")

    @classmethod
    def of(cls, mapping: dict[str, Any]) -> LoraOptions:
        """Read the mapping.

        Raises:
            UserError: an unknown key, or a value of another kind.
        """
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(mapping) - set(known))
        if unknown:
            raise UserError(f"unknown key lora.{unknown[0]}; known are {', '.join(known)}")
        try:
            targets = mapping.get("target_modules", cls.target_modules)
            options = cls(
                int(mapping.get("r", cls.r)),
                float(mapping.get("alpha", cls.alpha)),
                float(mapping.get("dropout", cls.dropout)),
                (targets,) if isinstance(targets, str) else tuple(targets),
            )
        except (TypeError, ValueError) as error:
            raise UserError(f"lora is {mapping}; expected numbers r, alpha, dropout and a list of names") from error
        if options.r < 1 or not 0 <= options.dropout < 1:
            raise UserError(
                f"lora has r {options.r} and dropout {options.dropout:g}; expected r >= 1, 0 <= dropout < 1"
            )
        return options


def limit_training(model: PreTrainedModel, recipe: Recipe) -> None:
    """Freeze what the recipe freezes and, where it asks for LoRA, put adapters into the layers that are left.

    Raises:
        UserError: see `deepfake.models.freeze.freeze` and `add_lora`.
    """
    freeze(model, freeze_plan(recipe.arguments))
    if recipe.lora:
        add_lora(model, LoraOptions.of(recipe.lora))


def add_lora(model: PreTrainedModel, options: LoraOptions) -> None:
    """Adapters into the layers of `model` that train, in place; the head trains as before, all else is frozen.

    Layers that are frozen whole get none, so that a frozen prefix stays one, and can be cached.

    Raises:
        UserError: peft is not installed, or no trained layer has a linear layer of such a name.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("the recipe has lora, which needs peft; run: pip install peft") from error
    names = {id(module): name for name, module in model.named_modules()}
    trained = [layer for layer in transformer_layers(model) if any(p.requires_grad for p in layer.parameters())]
    linear = [m for layer in trained for m in layer.modules() if isinstance(m, nn.Linear)]
    chosen = [names[id(m)] for m in linear if names[id(m)].rpartition(".")[2] in options.target_modules]
    if not chosen:
        there = sorted({names[id(m)].rpartition(".")[2] for m in linear})
        found = f"have {', '.join(there)}" if there else "are all frozen"
        raise UserError(
            f"lora.target_modules is {', '.join(options.target_modules)}, but the layers of {type(model).__name__} "
            f"{found}; name some that are there, in layers that are trained"
        )
    within = {id(p) for p in model.base_model.parameters()}
    if model.base_model is model:  # a class without a base model: its head is what comes after the layers
        depths = layer_depths(model)
        within = {id(p) for name, p in model.named_parameters() if depths[name] > 0}
    head = [p for p in model.parameters() if p.requires_grad and id(p) not in within]
    settings = {"r": options.r, "lora_alpha": options.alpha, "lora_dropout": options.dropout}
    inject_adapter_in_model(LoraConfig(target_modules=chosen, **settings), model)  # freezes all but the adapters
    for parameter in head:
        parameter.requires_grad_(True)


def merge_lora(model: PreTrainedModel) -> None:
    """Add the updates to the weights they belong to, in place: an ordinary model, which loads without peft."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in adapted:
        parent, _, leaf = name.rpartition(".")
        module.merge()
        setattr(model.get_submodule(parent), leaf, module.get_base_layer())
