"""The first transformer layers of Whisper's encoder, for one clip of any length at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Linear(nn.Linear):
    """Computes in float32, whatever its weights are stored in; as a class of its own it is never quantised either."""

    always_float32 = True  # so that scoring may give it a faster float32 product, and nothing less

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.float(), None if self.bias is None else self.bias.float())


class LayerNorm(nn.LayerNorm):
    """Computes in float32, whatever its weights are stored in."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)


class Attention(nn.Module):
    """Multi-head self-attention over all frames. Whisper's key projection has no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.v_proj, self.out_proj = (Linear(width, width) for _ in range(3))
        self.k_proj = Linear(width, width, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(frames, width) to the same."""
        parts = [p(frames).unflatten(1, (self.heads, -1)).transpose(0, 1)[None]
                 for p in (self.q_proj, self.k_proj, self.v_proj)]  # fmt: skip
        mixed = functional.scaled_dot_product_attention(*parts)[0]
        return self.out_proj(mixed.transpose(0, 1).flatten(1))


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer; its parameters are named as those of transformers' Whisper."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm, self.final_layer_norm = LayerNorm(width), LayerNorm(width)
        self.fc1, self.fc2 = Linear(width, inner), Linear(inner, width)

    def forward(self, frames: Tensor) -> Tensor:
        """(frames, width) to the same."""
        frames = frames + self.self_attn(self.self_attn_layer_norm(frames))
        return frames + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(frames))))


def positions(frames: int, width: int, device: torch.device) -> Tensor:
    """Whisper's fixed position code, shape (frames, width): sines, then cosines, of wavelengths 2 pi to 20,000 pi."""
    half = width // 2
    rates = torch.exp(-math.log(10_000) / max(half - 1, 1) * torch.arange(half, device=device))
    angles = torch.arange(frames, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
