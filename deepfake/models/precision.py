"""The same model, faster: int8 or half precision, each only as far as its scores agree with float32."""

from __future__ import annotations

import copy
import functools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from deepfake.errors import UserError
from deepfake.models.linear import Int8Linear, OneDnnLinear, TokenQuantiser, has_bf16, why_not_fp32, why_not_int8
from deepfake.models.windows import Forward, WindowScore
from deepfake.text import fake_probability

MAX_PROBABILITY_CHANGE = 0.02  # of a reduced precision against fp32, on the first batches of every run
_GATED_BATCHES = 2
_HEAD = ("projector", "classifier", "head")  # what comes after the encoder, in transformers' classifiers and ours


def with_precision(model: PreTrainedModel, precision: str) -> PreTrainedModel:
    """A model that computes in `precision`; the one given is left as it is, and may be returned.

    Args:
        model: float32, in evaluation mode, on its device.
        precision: one of `deepfake.models.choices.PRECISIONS`. int8: linear layers of the encoder on int8 products, see
            `Int8Linear`; the rest in bfloat16 where the processor multiplies it, else float32. Under all but fp32 the
            head keeps float32.

    Raises:
        UserError: int8 on another device than a CPU.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    if precision == "int8":
        if not on_cpu:
            raise UserError("--precision int8 is for CPUs; on this device give --precision bf16 or fp16")
        reason = why_not_int8() if _replaceable(model) else "the model has no linear layers to quantise"
        if reason is None:
            return _int8(model)
        _say(f"--precision int8 is not possible: {reason}; fp32 is used")
    if precision in ("bf16", "fp16"):
        return _reduced(model, torch.bfloat16 if precision == "bf16" else torch.float16)
    if not on_cpu or not _replaceable(model, exactly=True):
        return model
    reason = why_not_fp32()
    if reason is None:
        return _one_dnn(model)
    _say_once(f"linear layers run in torch's own, often slower way: {reason}")
    return model


class Gated:
    """Reduced precisions that have to agree with float32 on the first batches of the run, or are given up.

    Agreement means that no fake_probability differs by more than `MAX_PROBABILITY_CHANGE`; no decision can then change
    for a window further than that from the threshold. The rows of a batch on which all failed are those of float32.

    Args:
        reduced: name and maker of each candidate, the one asked for first; one is made when those before it failed.
        exact: float32.

    Attributes:
        largest_change: of a fake_probability, by the candidate in use.
        running: its name, or "fp32".
    """

    def __init__(self, reduced: Sequence[tuple[str, Callable[[], Forward]]], exact: Forward) -> None:
        self._waiting = deque(reduced)
        self._exact: Forward | None = exact
        self._next()

    def __call__(self, waveforms: Sequence[np.ndarray]) -> list[WindowScore]:
        if self._exact is None:
            return self._forward(waveforms)
        exact = self._exact(waveforms)
        while self._forward is not self._exact:
            scores = self._forward(waveforms)
            pairs = zip(scores, exact, strict=True)
            changes = [abs(fake_probability(a.logit) - fake_probability(b.logit)) for a, b in pairs]
            self.largest_change = max(self.largest_change, *(c if np.isfinite(c) else 1.0 for c in changes))
            if self.largest_change <= MAX_PROBABILITY_CHANGE:
                self._left -= 1
                if self._left == 0:
                    self._exact = None  # and its weights are freed
                return scores
            failed, change = self.running, self.largest_change
            self._next()
            _say(
                f"--precision {failed} changes fake_probability by {change:.3f} on these recordings (at most "
                f"{MAX_PROBABILITY_CHANGE} is allowed); scoring goes on in {self.running}"
            )
        self._exact = None
        return exact

    def _next(self) -> None:
        self._left, self.largest_change = _GATED_BATCHES, 0.0
        if self._waiting:
            self.running, make = self._waiting.popleft()
            self._forward = make()
        else:
            self.running, self._forward = "fp32", self._exact


def _one_dnn(model: PreTrainedModel) -> PreTrainedModel:
    model = _without_copying_weights(model)
    for name, linear in _replaceable(model, exactly=True):
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, OneDnnLinear(linear))
    return model


def _int8(model: PreTrainedModel) -> PreTrainedModel:
    dtype = torch.bfloat16 if has_bf16() else torch.float32
    linears, quantiser = dict(_replaceable(model)), TokenQuantiser()
    reduced = _reduced(model, dtype, leave=linears)
    for name, linear in linears.items():
        parent, _, leaf = name.rpartition(".")
        setattr(reduced.get_submodule(parent), leaf, Int8Linear(linear, quantiser, dtype))
    return reduced


def _reduced(model: PreTrainedModel, dtype: torch.dtype, leave: Iterable[str] = ()) -> PreTrainedModel:
    """A copy in `dtype` whose head, what comes after the encoder, stays float32; without copying modules to `leave`."""
    shared = {id(tensor): tensor for name in leave for tensor in model.get_submodule(name).parameters()}
    reduced = copy.deepcopy(model, shared)
    heads = [child for name, child in reduced.named_children() if name in _HEAD]
    left = set(shared) | {id(tensor) for head in heads for tensor in (*head.parameters(), *head.buffers())}
    for tensor in (*reduced.parameters(), *reduced.buffers()):
        if id(tensor) not in left and tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
    for head in heads:
        head.register_forward_pre_hook(lambda _, inputs: tuple(i.float() for i in inputs))
    return reduced


def _replaceable(model: PreTrainedModel, exactly: bool = False) -> list[tuple[str, nn.Linear]]:
    """The linear layers of the encoder; not the head, which stays exact, nor those whose weights others read.

    Args:
        model: whose layers they are.
        exactly: the replacement computes in float32, so that layers that insist on it are included.
    """
    parents = dict(model.named_modules())
    return [
        (name, module)
        for name, module in parents.items()
        if (type(module) is nn.Linear or (exactly and getattr(module, "always_float32", False)))
        and name.split(".")[0] not in _HEAD
        and not isinstance(parents[name.rpartition(".")[0]], WavLMAttention)  # gives them to torch's attention whole
    ]


def _without_copying_weights(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the modules that shares parameters and buffers with the original."""
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def _say(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr)


_say_once = functools.cache(_say)
