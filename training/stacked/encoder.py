"""Where a compact detector's encoder comes from: the low layers of a published one."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModel, WhisperConfig

from compact import CompactConfig, CompactForAudioClassification
from data_prep.errors import UserError
from data_prep.hub import cache_only, first_line, offline_hint


def fresh_detector(source: str, layers: int) -> CompactForAudioClassification:
    """A compact detector with convolutions and low layers of `source`; pooling and head are random.

    Args:
        source: folder or Hub id of a Whisper model, or of a compact detector.
        layers: how many transformer layers are taken.

    Raises:
        UserError: it cannot be loaded, is of another architecture, or has fewer layers.
    """
    offline = cache_only()
    try:
        given = AutoConfig.from_pretrained(source, local_files_only=offline)
        if isinstance(given, CompactConfig):
            there, heads, width, inner = given.layers, given.attention_heads, given.channels, given.inner_width
        elif isinstance(given, WhisperConfig):
            there, heads = given.encoder_layers, given.encoder_attention_heads
            width, inner = given.d_model, given.encoder_ffn_dim
        else:
            raise ValueError(f"its model_type is {given.model_type}")
        if there < layers:
            raise ValueError(f"it has {there} layers, fewer than {layers}")
        config = CompactConfig(
            channels=width, layers=layers, attention_heads=heads, inner_width=inner,
            mel_bins=given.mel_bins if isinstance(given, CompactConfig) else given.num_mel_bins,
        )  # fmt: skip
        kind = CompactForAudioClassification if isinstance(given, CompactConfig) else AutoModel
        loaded = kind.from_pretrained(source, dtype=torch.float32, local_files_only=offline)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"cannot take the encoder from {source} ({first_line(error)}); expected a Whisper model such as "
            f"openai/whisper-base, or a compact detector{offline_hint(source)}"
        ) from error
    model = CompactForAudioClassification(config)
    encoder = getattr(loaded, "encoder", loaded)
    model.conv1.load_state_dict(encoder.conv1.state_dict())
    model.conv2.load_state_dict(encoder.conv2.state_dict())
    for own, published in zip(model.layers, encoder.layers, strict=False):
        own.load_state_dict(published.state_dict())
    return model
