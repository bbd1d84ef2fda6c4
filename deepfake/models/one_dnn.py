"""Float32 linear layers of a model in training on a CPU, forward and backward through oneDNN instead of MKL.

torch gives float32 products to MKL, which on CPUs of other makers than Intel leaves most of the vector unit idle
(measured on an AMD EPYC 9005: half of oneDNN's rate). Sums come out in another order, so that results differ in the
last digits.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import nn


def _linear(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """What torch.compile replaces F.linear by."""
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


def one_dnn_linear(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """F.linear of float32 rows (rows, in) on a CPU, with gradients; torch's own where it was built without oneDNN."""
    if not torch.backends.mkldnn.is_available():
        return nn.functional.linear(rows, weight, bias)
    return _OneDnnProduct.apply(rows, weight, bias)


def use_one_dnn(model: nn.Module) -> None:
    """Let every linear layer of `model` take this way, in place; weights and names stay.

    Changes nothing on other devices, under autocast (whose half-precision products go to oneDNN anyway), or in a torch
    built without oneDNN.
    """
    if not torch.backends.mkldnn.is_available():
        return
    for module in model.modules():
        if type(module) is nn.Linear or getattr(module, "always_float32", False):
            module.forward = types.MethodType(_forward, module)


def _forward(self: nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
    plain = hidden.device.type == "cpu" and hidden.dtype == self.weight.dtype == torch.float32
    if not plain or torch.is_autocast_enabled("cpu"):
        return type(self).forward(self, hidden)
    # A view made outside may be written into, as SpecAugment does; one made inside may not.
    product = _OneDnnProduct.apply(hidden.reshape(-1, hidden.shape[-1]), self.weight, self.bias)
    return product.view(*hidden.shape[:-1], product.shape[-1])  # of no rows as well


class _OneDnnProduct(torch.autograd.Function):
    """y = x Wᵀ + b for x (rows, in), W (out, in), b (out) or None."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(hidden, weight)
        return _linear(hidden, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, weight = ctx.saved_tensors
        of_hidden = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_hidden = _linear(gradient, weight.t())
        if ctx.needs_input_grad[1]:
            of_weight = _linear(gradient.t(), hidden.t())
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum(0)
        return of_hidden, of_weight, of_bias
