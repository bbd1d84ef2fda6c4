"""Res2Net-50 (26 w x 4 s)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .configuration_spectrogram import SpectrogramConfig

_EXPANSION = 4
_SCALE = 4  # groups of channels within a block
_WIDTH_OF_64 = 26  # channels of each group where the stage has 64


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias that keeps the size at stride 1, and batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    )


class Res2NetBlock(nn.Module):
    """Bottleneck whose 3 x 3 convolution is a cascade: each group of channels also hears the one before it.

    Gao et al., "Res2Net: A new multi-scale backbone architecture" (TPAMI 2021). In the first block of a stage the
    groups are not connected, and the last one is pooled in place of being passed on.
    """

    def __init__(self, inputs: int, width: int, stride: int, first: bool) -> None:
        super().__init__()
        self.first = first
        group = width * _WIDTH_OF_64 // 64
        self.reduce = conv_norm(inputs, group * _SCALE, 1)
        self.groups = nn.ModuleList([conv_norm(group, group, 3, stride) for _ in range(_SCALE - 1)])
        self.rest = nn.AvgPool2d(3, stride, 1) if first else nn.Identity()
        self.expand = conv_norm(group * _SCALE, width * _EXPANSION, 1)
        self.shortcut = conv_norm(inputs, width * _EXPANSION, 1, stride) if first else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, bins, frames) to the same with 4 x width channels, bins and frames divided by stride."""
        *parts, last = self.relu(self.reduce(features)).chunk(_SCALE, 1)
        heard: list[Tensor] = []
        for part, convolution in zip(parts, self.groups, strict=True):
            heard.append(self.relu(convolution(part if self.first or not heard else part + heard[-1])))
        heard.append(self.rest(last))
        return self.relu(self.expand(torch.cat(heard, 1)) + self.shortcut(features))


class Res2Net50(nn.Module):
    """Stages of 3, 4, 6 and 3 blocks behind a 7 x 7 stem; 23,647,946 parameters with two logits and one channel."""

    uses_mask = False

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        widths, depths = config.widths or [64, 128, 256, 512], config.depths or [3, 4, 6, 3]
        self.stem = nn.Sequential(conv_norm(config.in_channels, widths[0], 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        blocks: list[nn.Module] = []
        inputs = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for index in range(depth):
                blocks.append(Res2NetBlock(inputs, width, 2 if stage and index == 0 else 1, index == 0))
                inputs = width * _EXPANSION
        self.blocks = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.output_size = inputs

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, bins, frames) to (batch, output_size)."""
        return self.blocks(self.stem(features))
