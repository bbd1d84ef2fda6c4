"""Clips end to end instead of padded to the longest: transformer layers that compute nothing for what is not there.

A batch of clips of 2.5 to 13 s is padded by 20 to 40 %, at the full price of a layer. Layers, norms and dropout act on
frames one by one, so they take the frames of all clips in one row; attention is computed clip by clip, without a mask.
The result is that of the padded batch, to float accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from deepfake.errors import UserError
from deepfake.models.inputs import uses_padding_mask

# Families whose layers need nothing but hidden states and a mask, and whose encoders differ in their norm's place only.
SUPPORTED = ("wav2vec2", "hubert", "data2vec-audio", "unispeech", "unispeech-sat")
_ATTENTION = "clip_by_clip"


def pack_clips(model: PreTrainedModel) -> None:
    """Change the encoder of `model`, in place, to run its layers on packed clips; weights and names stay.

    Raises:
        UserError: an architecture whose layers cannot be packed, one without padding mask, or layerdrop.
    """
    config = model.config
    if config.model_type not in SUPPORTED or not uses_padding_mask(config):
        raise UserError(
            f"pack_clips cannot go with model_type {config.model_type}{_norm(config)}; it works for "
            f"{', '.join(SUPPORTED)} with a padding mask: set pack_clips: false"
        )
    if config.layerdrop > 0:
        raise UserError(
            f"pack_clips cannot go with layerdrop {config.layerdrop:g}; set model_overrides: {{layerdrop: 0.0}}"
        )
    AttentionInterface.register(_ATTENTION, _attend_within_clips)
    config._attn_implementation = _ATTENTION  # private to this process: never written to config.json
    encoder, stable = model.base_model.encoder, norm_comes_last(model)

    def forward(hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any) -> BaseModelOutput:
        mask = hidden_states.new_ones(hidden_states.shape[:2]) if attention_mask is None else attention_mask
        hidden = hidden_states * mask[..., None].to(hidden_states.dtype)  # the positional convolution sees neighbours
        hidden = hidden + encoder.pos_conv_embed(hidden)
        hidden = encoder.dropout(hidden if stable else encoder.layer_norm(hidden))
        hidden = through_packed(encoder.layers, hidden, mask)
        return BaseModelOutput(last_hidden_state=encoder.layer_norm(hidden) if stable else hidden)

    encoder.forward = forward


def packs_clips(model: PreTrainedModel) -> bool:
    """Whether `pack_clips` was called on it."""
    return model.config._attn_implementation == _ATTENTION


def norm_comes_last(model: PreTrainedModel) -> bool:
    """Whether the encoder's layer norm follows its layers (XLS-R) or precedes them (wav2vec2-base)."""
    return bool(getattr(model.config, "do_stable_layer_norm", False))


def through_packed(layers: Iterable[nn.Module], hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Hidden states of shape (clips, frames, size) through `layers`, the frames outside `mask` left out (zero after).

    Args:
        mask: (clips, frames), true for a clip's frames, which come first.
    """
    lengths = tuple(mask.sum(-1).tolist())
    inside = mask.bool()
    packed = hidden[inside][None]
    for layer in layers:
        packed = layer(packed, attention_mask=lengths)
    return torch.zeros_like(hidden, dtype=packed.dtype).masked_scatter(inside[..., None], packed)


def _attend_within_clips(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Sequence[int],
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers' attention functions; query, key, value (1, heads, frames of all clips, width), and the clips'
    lengths in frames in place of a mask."""
    clips = zip(*(states.split(attention_mask, dim=2) for states in (query, key, value)), strict=True)
    attended = [
        nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling) for q, k, v in clips
    ]
    return torch.cat(attended, dim=2).transpose(1, 2).contiguous(), None


def _norm(config: Any) -> str:
    return "" if uses_padding_mask(config) else " with group norm, which is not padding-invariant,"
