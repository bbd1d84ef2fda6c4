"""ResNet-18."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from .configuration_spectrogram import SpectrogramConfig


class ResNet18(nn.Module):
    """Of He et al., "Deep residual learning for image recognition" (CVPR 2016), as transformers builds it."""

    uses_mask = False

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        widths = config.widths or [64, 128, 256, 512]
        self.network = ResNetModel(
            ResNetConfig(
                num_channels=config.in_channels,
                embedding_size=widths[0],
                hidden_sizes=widths,
                depths=config.depths or [2, 2, 2, 2],
                layer_type="basic",
            )
        )
        self.output_size = widths[-1]

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, bins, frames) to (batch, output_size)."""
        return self.network(features).pooler_output.flatten(1)
