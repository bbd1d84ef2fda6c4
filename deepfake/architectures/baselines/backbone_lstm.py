"""A recurrent network over the frames."""

from __future__ import annotations

from torch import Tensor, nn

from .configuration_spectrogram import SpectrogramConfig
from .pooling_spectrogram import masked_mean


class Lstm(nn.Module):
    """LSTM over the frames of each clip, and the mean of its states over those that belong to the clip.

    Time runs forward only, so that frames behind the end of a clip cannot reach those within it.
    """

    uses_mask = True

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        self.output_size = config.hidden_size
        self.lstm = nn.LSTM(
            config.in_channels * config.num_bins, config.hidden_size, config.num_layers, batch_first=True
        )

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, bins, frames) to (batch, output_size); `mask` (batch, frames) is true within clips."""
        states, _ = self.lstm(features.flatten(1, 2).transpose(1, 2))
        return masked_mean(states, mask)
