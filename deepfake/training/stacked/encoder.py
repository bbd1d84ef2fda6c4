"""Where a compact detector's encoder comes from: the low layers of a published one."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel, WhisperConfig

from deepfake.architectures.compact import CompactConfig, CompactForAudioClassification
from deepfake.errors import UserError
from deepfake.hub import cache_only, first_line, offline_hint


def load_encoder(model: CompactForAudioClassification, source: str) -> None:
    """Give a compact detector, in place, the convolutions and as many layers as it has of a published encoder.

    Args:
        source: folder or Hub id of a Whisper model, or of a compact detector.

    Raises:
        UserError: it cannot be loaded, is of another architecture or width, or has fewer layers.
    """
    try:
        encoder = _encoder(source)
        heads = encoder.layers[0].self_attn
        if len(encoder.layers) < len(model.layers):
            raise ValueError(f"it has {len(encoder.layers)} layers, fewer than {len(model.layers)}")
        if getattr(heads, "num_heads", getattr(heads, "heads", None)) != model.config.attention_heads:
            raise ValueError(f"its layers do not have {model.config.attention_heads} attention heads")
        for name in ("conv1", "conv2"):
            getattr(model, name).load_state_dict(getattr(encoder, name).state_dict())
        for own, published in zip(model.layers, encoder.layers, strict=False):
            own.load_state_dict(published.state_dict())
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"cannot take the encoder from {source} ({first_line(error)}); expected a Whisper model such as "
            f"openai/whisper-base, or a compact detector, of the geometry under `architecture:`{offline_hint(source)}"
        ) from error


def _encoder(source: str) -> PreTrainedModel:
    offline = cache_only()
    config = AutoConfig.from_pretrained(source, local_files_only=offline)
    if isinstance(config, CompactConfig):
        return CompactForAudioClassification.from_pretrained(source, dtype=torch.float32, local_files_only=offline)
    if not isinstance(config, WhisperConfig):
        raise ValueError(f"its model_type is {config.model_type}")
    return AutoModel.from_pretrained(source, dtype=torch.float32, local_files_only=offline).encoder
