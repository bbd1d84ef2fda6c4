"""What a model is fed: padding, masks and the resulting invariance, for training and scoring alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transformers import (
    ASTFeatureExtractor,
    BatchFeature,
    FeatureExtractionMixin,
    PreTrainedConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
)

from deepfake.audio.decode import SAMPLING_RATE

# Classes that read raw waveforms and take an attention mask over samples.
_WAVEFORM_MODELS = frozenset(
    [
        "wav2vec2",
        "wav2vec2-conformer",
        "wavlm",
        "hubert",
        "data2vec-audio",
        "unispeech",
        "unispeech-sat",
        "sew",
        "sew-d",
        "compact-encoder-detector",
    ]
)

# Classes that read spectrograms of any number of frames, with a mask over them.
_MASKED_SPECTROGRAM_MODELS = frozenset(["spectrogram"])

# Feature extractors whose models take one fixed input length.
_FIXED_LENGTH = (WhisperFeatureExtractor, ASTFeatureExtractor)


def uses_padding_mask(config: PreTrainedConfig) -> bool:
    """Whether the feature extractor should return an attention mask.

    Waveform models with layer-normalised convolutions need it (without it a padded clip's logits move by whole
    units); those with group normalisation were pre-trained without one. Of the spectrogram models, ours tell
    windows from padding by it; those of transformers have a fixed input.
    """
    if config.model_type in _MASKED_SPECTROGRAM_MODELS:
        return True
    return reads_waveform(config) and _layer_normalised(config)


def padding_invariant(config: PreTrainedConfig) -> bool:
    """Whether clips of different lengths may share a batch without changing each other's logits."""
    return not reads_waveform(config) or _layer_normalised(config)


def reads_waveform(config: PreTrainedConfig) -> bool:
    """Whether the model takes samples (`input_values`) in place of a spectrogram."""
    return config.model_type in _WAVEFORM_MODELS


def has_fixed_length(extractor: FeatureExtractionMixin) -> bool:
    """Whether every clip is brought to one input length, so that batches need not be sorted by length."""
    return isinstance(extractor, _FIXED_LENGTH)


def frame_stride(config: PreTrainedConfig) -> int | None:
    """Samples from one encoder frame to the next at 16 kHz (320 = 20 ms for most); None when unknown."""
    if isinstance(config, WhisperConfig):
        return 320
    return getattr(config, "inputs_to_logits_ratio", None)


def featurise(extractor: FeatureExtractionMixin, waveforms: Sequence[np.ndarray]) -> BatchFeature:
    """Turn mono 16 kHz float32 clips, each of shape (samples,), into a padded batch of tensors for the model."""
    return extractor(
        list(waveforms),
        sampling_rate=SAMPLING_RATE,
        padding="max_length" if has_fixed_length(extractor) else True,
        return_attention_mask=bool(getattr(extractor, "return_attention_mask", False)),
        return_tensors="pt",
    )


def _layer_normalised(config: PreTrainedConfig) -> bool:
    # data2vec-audio has no such key: its convolutions are always layer-normalised.
    return getattr(config, "feat_extract_norm", "layer") == "layer"
