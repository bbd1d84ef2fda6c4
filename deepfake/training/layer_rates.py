"""Layer-wise learning-rate decay: the nearer to the input, the smaller the steps.

After Howard and Ruder, "Universal language model fine-tuning for text classification", ACL 2018 (discriminative
fine-tuning), with one factor a layer.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from deepfake.models.freeze import transformer_layers
from deepfake.training.packing import norm_comes_last

_ENCODER_NORM = re.compile(r"encoder\.layer_norm\.(weight|bias)$")


def layer_depths(model: PreTrainedModel) -> dict[str, int]:
    """How many steps below the head each parameter lies: 0 for the head and what follows the transformer layers, 1 for
    the top layer, …, one more than there are layers for all that precedes them.

    Raises:
        UserError: the model has no stack of transformer layers.
    """
    layers = transformer_layers(model)
    of_layer = {id(p): len(layers) - i for i, layer in enumerate(layers) for p in layer.parameters()}
    within = {id(p) for p in model.base_model.parameters()}
    depths: dict[str, int] = {}
    seen_layers = False
    for name, parameter in model.named_parameters():
        seen_layers |= id(parameter) in of_layer
        # Modules are defined in the order they run, but for the norm that closes a pre-norm wav2vec2.
        closing = seen_layers or (norm_comes_last(model) and _ENCODER_NORM.search(name) is not None)
        above = id(parameter) not in within or closing
        depths[name] = of_layer.get(id(parameter), 0 if above else len(layers) + 1)
    return depths


def decayed_groups(
    model: PreTrainedModel, learning_rate: float, decay: float, weight_decay: float, decayed_names: Collection[str]
) -> list[dict[str, Any]]:
    """Optimizer groups of the trained parameters, at learning_rate · decay^depth, the head's first.

    Args:
        weight_decay: of the parameters in `decayed_names` (no biases, no norms); the others have none.
    """
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    depths = layer_depths(model)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((depths[name], name not in decayed_names), []).append(parameter)
    return [
        {"params": parameters, "lr": learning_rate * decay**depth, "weight_decay": 0.0 if plain else weight_decay}
        for (depth, plain), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
