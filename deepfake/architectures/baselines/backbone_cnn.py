"""Small convolutional networks: blocks of 3 x 3 convolution, batch norm and ReLU, pooled over what is left."""

from __future__ import annotations

from torch import Tensor, nn

from .configuration_spectrogram import SpectrogramConfig


def conv_block(inputs: int, outputs: int) -> nn.Sequential:
    """3 x 3 convolution with bias, batch norm, ReLU; bins and frames stay."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


def conv_blocks(inputs: int, widths: list[int]) -> nn.Sequential:
    """A block of each width, with 2 x 2 max pooling between them and the mean over bins and frames at the end."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [conv_block(inputs, width), nn.MaxPool2d(2)]
        inputs = width
    return nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten())


class CnnB(nn.Module):
    """Three blocks, 16-32-64. With a single logit: 23,585 parameters; with two: 23,650."""

    uses_mask = False

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        widths = config.widths or [16, 32, 64]
        self.blocks = conv_blocks(config.in_channels, widths)
        self.output_size = widths[-1]

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, bins, frames) to (batch, output_size)."""
        return self.blocks(features)


class CnnA(nn.Module):
    """Four blocks, 32-64-128-256, and a hidden layer of half the last width.

    With a single logit: 421,825 parameters; with two: 421,954.
    """

    uses_mask = False

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        widths = config.widths or [32, 64, 128, 256]
        self.output_size = widths[-1] // 2
        self.blocks = conv_blocks(config.in_channels, widths)
        self.hidden = nn.Sequential(nn.Linear(widths[-1], self.output_size), nn.ReLU())

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, bins, frames) to (batch, output_size)."""
        return self.hidden(self.blocks(features))


class CnnMfcc(nn.Module):
    """Three blocks, 32-64-128, each pooled, read as a map: a hidden layer sees where in it something is.

    The original's layers were not published beyond "convolution, pooling"; these are ours.
    """

    uses_mask = False

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        widths = config.widths or [32, 64, 128]
        layers: list[nn.Module] = []
        inputs = config.in_channels
        for width in widths:
            layers += [conv_block(inputs, width), nn.MaxPool2d(2)]
            inputs = width
        # Coefficients keep their place, as each of them means something else; time is averaged.
        self.blocks = nn.Sequential(*layers, nn.AdaptiveAvgPool2d((None, 1)), nn.Flatten())
        self.output_size = widths[-1]
        bins = config.num_bins // 2 ** len(widths)
        self.hidden = nn.Sequential(nn.Linear(widths[-1] * bins, self.output_size), nn.ReLU())

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, bins, frames) to (batch, output_size)."""
        return self.hidden(self.blocks(features))
