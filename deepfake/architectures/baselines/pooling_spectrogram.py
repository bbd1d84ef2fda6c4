"""Means over the frames that belong to a clip."""

from __future__ import annotations

from torch import Tensor


def masked_mean(frames: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of (batch, frames, width) over the frames where `mask` (batch, frames) is true; shape (batch, width)."""
    if mask is None:
        return frames.mean(1)
    weight = mask.to(frames.dtype)[:, :, None]
    # Not a product: what lies outside the mask may be anything, even NaN.
    return frames.masked_fill(weight == 0, 0.0).sum(1) / weight.sum(1).clamp(min=1.0)
