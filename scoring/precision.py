"""The same model, faster: oneDNN linear layers on a CPU, int8 or half precision, each only as far as scores agree."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from data_prep.errors import UserError
from scoring.forward import Forward, WindowScore

PRECISIONS = ("fp32", "int8", "bf16", "fp16")
MAX_PROBABILITY_CHANGE = 0.02  # of a reduced precision against fp32, on the first batches of every run
_GATED_BATCHES = 2


class OneDnnLinear(nn.Module):
    """A float32 linear layer through oneDNN, weights packed once.

    torch sends float32 `F.linear` to MKL, which on CPUs of other makers than Intel leaves most of the vector unit idle
    (measured on an AMD EPYC 9005: 60 against 140–400 GFLOP/s). `torch.compile` makes the same replacement.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("bias", linear.bias.detach() if linear.bias is not None else None, persistent=False)
        packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self._packed = packed  # an opaque tensor, which buffers cannot hold

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(hidden, self._packed, self.bias, "none", [], "")


def with_precision(model: PreTrainedModel, precision: str) -> PreTrainedModel:
    """A model that computes in `precision`; the one given is left as it is, and may be returned.

    Args:
        model: float32, in evaluation mode, on its device.
        precision: one of `PRECISIONS`. int8: dynamic quantisation of the linear layers (weights int8 per channel,
            activations uint8 per call) through oneDNN, on a CPU.

    Raises:
        UserError: int8 on another device than a CPU.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    if precision == "int8":
        if not on_cpu:
            raise UserError("--precision int8 is for CPUs; on this device give --precision bf16 or fp16")
        return _int8(model)
    if precision in ("bf16", "fp16"):
        return copy.deepcopy(model).to(torch.bfloat16 if precision == "bf16" else torch.float16)
    return _one_dnn(model) if on_cpu and torch.backends.mkldnn.is_available() else model


class Gated:
    """A reduced precision that has to agree with float32 on the first batches of the run, or is given up.

    Agreement means that no fake_probability differs by more than `MAX_PROBABILITY_CHANGE`; no decision can then change
    for a window further than that from the threshold. The rows of a batch that failed are those of float32.
    """

    def __init__(self, reduced: Forward, exact: Forward, name: str) -> None:
        self._forward = reduced
        self._exact: Forward | None = exact
        self._name = name
        self._left = _GATED_BATCHES
        self.largest_change = 0.0
        self.fell_back = False

    def __call__(self, waveforms: Sequence[np.ndarray]) -> list[WindowScore]:
        scores = self._forward(waveforms)
        if self._exact is None:
            return scores
        exact = self._exact(waveforms)
        changes = [abs(sigmoid(a.logit) - sigmoid(b.logit)) for a, b in zip(scores, exact, strict=True)]
        self.largest_change = max(self.largest_change, *(c if np.isfinite(c) else 1.0 for c in changes))
        if self.largest_change > MAX_PROBABILITY_CHANGE:
            print(
                f"warning: --precision {self._name} changes fake_probability by {self.largest_change:.3f} on these "
                f"recordings (at most {MAX_PROBABILITY_CHANGE} is allowed); scoring goes on in fp32",
                file=sys.stderr,
            )
            self._forward, self._exact, self.fell_back = self._exact, None, True
            return exact
        self._left -= 1
        if self._left == 0:
            self._exact = None  # and its weights are freed
        return scores


def sigmoid(logit: float) -> float:
    """P(fake) of a fake-minus-real logit, without overflow."""
    return float(np.exp(-np.logaddexp(0.0, -logit)))


def _one_dnn(model: PreTrainedModel) -> PreTrainedModel:
    model = _without_copying_weights(model)
    for name, linear in _replaceable(model):
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, OneDnnLinear(linear))
    return model


def _int8(model: PreTrainedModel) -> PreTrainedModel:
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    engine = torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of quantize_dynamic moving to torchao, whose CPU kernels are slower here
        try:
            if "onednn" in torch.backends.quantized.supported_engines:
                torch.backends.quantized.engine = "onednn"
            layers = {name: per_channel_dynamic_qconfig for name, _ in _replaceable(model)}
            return quantize_dynamic(_without_copying_weights(model), layers, dtype=torch.qint8, inplace=True)
        finally:
            torch.backends.quantized.engine = engine


def _replaceable(model: PreTrainedModel) -> list[tuple[str, nn.Linear]]:
    """The linear layers of the encoder; not the head, which stays exact, nor those whose weights others read."""
    parents = dict(model.named_modules())
    return [
        (name, module)
        for name, module in parents.items()
        if type(module) is nn.Linear
        and name.split(".")[-1] not in ("projector", "classifier")
        and not isinstance(parents[name.rpartition(".")[0]], WavLMAttention)  # gives them to torch's attention whole
    ]


def _without_copying_weights(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the modules that shares parameters and buffers with the original."""
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)
