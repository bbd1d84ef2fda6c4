"""The first transformer layers of Whisper's encoder, over blocks of frames."""

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
    """Multi-head self-attention within each block. Whisper's key projection has no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.v_proj, self.out_proj = (Linear(width, width) for _ in range(3))
        self.k_proj = Linear(width, width, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(blocks, frames, width) to the same."""
        parts = [
            project(frames).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        ]
        mixed = functional.scaled_dot_product_attention(*parts)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer; its parameters are named as those of transformers' Whisper."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm, self.final_layer_norm = LayerNorm(width), LayerNorm(width)
        self.fc1, self.fc2 = Linear(width, inner), Linear(inner, width)

    def forward(self, frames: Tensor) -> Tensor:
        """(blocks, frames, width) to the same."""
        frames = frames + self.self_attn(self.self_attn_layer_norm(frames))
        return frames + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(frames))))


class StagePooling(nn.Module):
    """Frames of every stage to one vector: projected, added up, then mean and deviation under learned frame weights.

    Attentive statistics pooling: Okabe, Koshinaka and Shinoda, "Attentive statistics pooling for deep speaker
    embedding" (2018), with a weight for each frame and channel.
    """

    def __init__(self, stages: int, width: int, pooled: int, hidden: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(Linear(width, pooled, bias=stage == 0) for stage in range(stages))
        self.attention_in, self.attention_out = Linear(pooled, hidden), Linear(hidden, pooled)
        self.norm = LayerNorm(2 * pooled)

    def forward(self, stages: list[Tensor]) -> Tensor:
        """Each stage of shape (frames, width) to one vector of shape (2 pooled,)."""
        return self.pooled(self.summed(stages))

    def summed(self, stages: list[Tensor]) -> Tensor:
        """Each stage of shape (..., frames, width) to (..., frames, pooled)."""
        return functional.gelu(
            sum(
                project(functional.layer_norm(frames, frames.shape[-1:]))
                for project, frames in zip(self.projections, stages, strict=True)
            )
        )

    def pooled(self, frames: Tensor) -> Tensor:
        """Summed-up frames of one clip, (frames, pooled), to its vector of shape (2 pooled,)."""
        weights = self.attention_out(torch.tanh(self.attention_in(frames))).softmax(0)
        mean = (weights * frames).sum(0)
        deviation = ((weights * frames.square()).sum(0) - mean.square()).clamp(min=1e-4).sqrt()
        return self.norm(torch.cat([mean, deviation]))


def positions(frames: int, width: int, device: torch.device) -> Tensor:
    """Whisper's fixed position code, shape (frames, width): sines, then cosines, of wavelengths 2 pi to 20,000 pi."""
    half = width // 2
    rates = torch.exp(-math.log(10_000) / max(half - 1, 1) * torch.arange(half, device=device))
    angles = torch.arange(frames, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
