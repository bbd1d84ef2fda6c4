"""SENet-154."""

from __future__ import annotations

from torch import Tensor, nn

from .backbone_res2net import conv_norm
from .configuration_spectrogram import SpectrogramConfig

_EXPANSION = 4
_GROUPS = 64
_REDUCTION = 16


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the means of all channels say about it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // _REDUCTION, 1),
            nn.ReLU(),
            nn.Conv2d(channels // _REDUCTION, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, bins, frames) to the same shape."""
        return features * self.gate(features)


class SeBlock(nn.Module):
    """Bottleneck of a 64-fold grouped convolution, recalibrated by squeeze and excitation."""

    def __init__(self, inputs: int, width: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        self.convolutions = nn.Sequential(
            conv_norm(inputs, width * 2, 1),
            nn.ReLU(),
            conv_norm(width * 2, outputs, 3, stride, groups=min(_GROUPS, width)),
            nn.ReLU(),
            conv_norm(outputs, outputs, 1),
            SqueezeExcitation(outputs),
        )
        self.shortcut = shortcut
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, bins, frames) to the same with 4 x width channels, bins and frames divided by stride."""
        return self.relu(self.convolutions(features) + self.shortcut(features))


class SeNet154(nn.Module):
    """Of Hu et al., "Squeeze-and-excitation networks" (CVPR 2018): stages of 3, 8, 36 and 3 blocks.

    113,042,930 parameters with two logits and one channel.
    """

    uses_mask = False

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        widths, depths = config.widths or [64, 128, 256, 512], config.depths or [3, 8, 36, 3]
        stem = widths[0]
        self.stem = nn.Sequential(
            conv_norm(config.in_channels, stem, 3, 2),
            nn.ReLU(),
            conv_norm(stem, stem, 3),
            nn.ReLU(),
            conv_norm(stem, stem * 2, 3),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        )
        blocks: list[nn.Module] = []
        inputs = stem * 2
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for index in range(depth):
                stride = 2 if stage and index == 0 else 1
                # Where the size is halved, the shortcut sees all of it: 3 x 3 in place of 1 x 1.
                shortcut = conv_norm(inputs, width * _EXPANSION, 3 if stage else 1, stride) if index == 0 else None
                blocks.append(SeBlock(inputs, width, stride, shortcut or nn.Identity()))
                inputs = width * _EXPANSION
        self.blocks = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.output_size = inputs

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, bins, frames) to (batch, output_size)."""
        return self.blocks(self.stem(features))
