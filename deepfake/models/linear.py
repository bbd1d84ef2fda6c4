"""Linear layers through oneDNN, in float32 and in int8, where this torch and this processor have them."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

_ZERO = 128  # what stands for 0.0 in uint8
_TOLERANCE = {"fp32": 1e-4, "int8": 0.05}  # of the probe's outputs, which are about 1


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

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(hidden, self._packed, self.bias, "none", [], "")


class TokenQuantiser:
    """Activations as uint8 with a scale for each token, so that one loud frame does not coarsen all others.

    The last answer is kept, as query, key and value projections are given the same tensor in turn.
    """

    def __init__(self) -> None:
        self._last: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None)

    def __call__(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Float (…, features) to uint8 of that shape and scales (…, 1); hidden ≈ (uint8 - 128) · scale."""
        given, steps, scale = self._last
        if given is not hidden:
            scale = hidden.abs().amax(-1, keepdim=True).float().clamp_min(1e-12) / 127
            steps = (hidden.float() * scale.reciprocal()).round_().to(torch.int8).view(torch.uint8).bitwise_xor_(_ZERO)
            self._last = (hidden, steps, scale)
        return steps, scale


class Int8Linear(nn.Module):
    """A linear layer on int8 products: weights with a scale for each output, activations with one for each token.

    Args:
        linear: in float32.
        quantiser: shared by the layers of one model.
        dtype: of what comes in and goes out, float32 or bfloat16.
    """

    def __init__(self, linear: nn.Linear, quantiser: TokenQuantiser, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(1).clamp_min(1e-12) / 127
        self.register_buffer("_scales", scales, persistent=False)
        self.register_buffer("_zeros", torch.zeros(len(scales), dtype=torch.int32), persistent=False)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().to(dtype), persistent=False)
        steps = (weight / scales[:, None]).round_().to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(steps, None)
        self._quantiser, self._dtype = quantiser, dtype

    def forward(self, hidden: Tensor) -> Tensor:
        steps, scale = self._quantiser(hidden)
        product = torch.ops.onednn.qlinear_pointwise(
            steps, 1.0, _ZERO, self._packed, self._scales, self._zeros, None, 1.0, 0, self._dtype, "none", [], ""
        )
        scale = scale.to(self._dtype)
        return product.mul_(scale) if self.bias is None else torch.addcmul(self.bias, product, scale, out=product)


@functools.cache
def why_not_fp32() -> str | None:
    """What keeps `OneDnnLinear` from working here; None when nothing does."""
    if not torch.backends.mkldnn.is_available():
        return "this torch was built without oneDNN"
    return _probe("fp32", OneDnnLinear)


@functools.cache
def why_not_int8() -> str | None:
    """What keeps `Int8Linear` from working, or from being faster, here; None when nothing does."""
    if not torch.backends.mkldnn.is_available():
        return "this torch was built without oneDNN"
    if not torch.cpu.get_capabilities().get("avx512_vnni", False):
        return "this processor lacks AVX512-VNNI"
    return _probe("int8", lambda linear: Int8Linear(linear, TokenQuantiser(), torch.float32))


@functools.cache
def has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware."""
    return torch.backends.mkldnn.is_available() and torch.cpu.get_capabilities().get("avx512_bf16", False)


def _probe(name: str, build: object) -> str | None:
    """Try a small layer: the operators carry no promise from one version of torch to the next."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 64, generator=generator)
    linear = nn.utils.skip_init(nn.Linear, 64, 16)
    with torch.inference_mode():
        linear.weight.copy_(torch.randn(16, 64, generator=generator) / 8)
        linear.bias.copy_(torch.randn(16, generator=generator))
        try:
            difference = float((build(linear)(hidden) - linear(hidden)).abs().max())
        except (AttributeError, RuntimeError, TypeError) as error:
            return f"torch {torch.__version__} has no such operator ({type(error).__name__})"
    return None if difference <= _TOLERANCE[name] else f"it computes something else (off by {difference:.2g})"
