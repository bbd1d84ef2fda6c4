"""Geometry of the spectrogram detectors."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class SpectrogramConfig(PretrainedConfig):
    """Which backbone reads the features, and how wide it is.

    Args:
        backbone: a name in modeling_spectrogram.BACKBONES.
        num_bins: mel bins or cepstral coefficients a frame.
        in_channels: copies of the spectrogram, as image networks made for colours want them (1 or 3).
        window_frames: the backbone hears windows of this many frames, and the logits are their mean; None: a clip is
            one window of any length, for backbones that use the mask.
        dropout: before the head.
        widths: channels of the convolutional blocks or stages; None: the published ones of the backbone.
        depths: residual blocks in each stage; None: the published ones.
        hidden_size, num_layers: of recurrent and graph backbones.
        num_neighbours: edges from each frame to its most similar ones, for the graph backbone.
        genotype: what an architecture search found, for darts_lstm; None: two LSTM layers.
    """

    model_type = "spectrogram"

    def __init__(
        self,
        backbone: str = "cnn_b",
        num_bins: int = 64,
        in_channels: int = 1,
        window_frames: int | None = 251,
        dropout: float = 0.0,
        widths: list[int] | None = None,
        depths: list[int] | None = None,
        hidden_size: int = 32,
        num_layers: int = 1,
        num_neighbours: int = 5,
        genotype: dict[str, Any] | None = None,
        **kwargs: object,
    ) -> None:
        self.backbone = backbone
        self.num_bins, self.in_channels = num_bins, in_channels
        self.window_frames = window_frames
        self.dropout = dropout
        self.widths, self.depths = widths, depths
        self.hidden_size, self.num_layers = hidden_size, num_layers
        self.num_neighbours = num_neighbours
        self.genotype = genotype
        kwargs.setdefault("id2label", {0: "real", 1: "fake"})
        kwargs.setdefault("label2id", {"real": 0, "fake": 1})
        super().__init__(**kwargs)
