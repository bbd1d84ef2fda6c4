"""A chain of recurrent layers as an architecture search found it, and the operations the search chooses from.

The search itself is no part of a checkpoint: what is shipped is its outcome, the genotype in config.json.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .configuration_spectrogram import SpectrogramConfig
from .pooling_spectrogram import masked_mean

RECURRENT = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
OPERATIONS = (*RECURRENT, "conv")
# What a model gets that no search was made for: two layers of the kind this system is named after.
DEFAULT_GENOTYPE: dict[str, Any] = {
    "width": 64,
    "layers": [{"operation": "lstm", "hidden_size": 64}, {"operation": "lstm", "hidden_size": 64}],
    "dropout": 0.2,
}


class Operation(nn.Module):
    """One candidate: frames of `width` channels in, as many frames of `width` channels out, brought to one scale.

    Layer normalisation works on each frame by itself, so that neither other clips nor padding can change a frame; it
    has no weights, so that no operation can make itself look important by being loud. Recurrent operations run forward
    only and first over the batch's clips: what is padded at the end of a clip cannot reach its frames.

    Args:
        name: one of `OPERATIONS`.
        width: channels in and out.
        hidden_size: units of a recurrent operation; a convolution over three frames has none.
    """

    def __init__(self, name: str, width: int, hidden_size: int | None = None) -> None:
        super().__init__()
        self.recurrent = self.convolution = None
        if name in RECURRENT:
            self.recurrent = RECURRENT[name](width, hidden_size, batch_first=True)
            self.output = nn.Linear(hidden_size, width)
        elif name == "conv":
            self.convolution = nn.Conv1d(width, width, kernel_size=3, padding=1)
        else:
            raise ValueError(f"unknown operation {name}; expected one of {', '.join(OPERATIONS)}")
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def forward(self, frames: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, frames, width) to the same; `mask` (batch, frames) is true within clips, none: everywhere."""
        if self.recurrent is not None:
            return self.norm(self.output(self.recurrent(frames)[0]))
        if mask is not None:
            frames = frames.masked_fill(~mask.bool()[:, :, None], 0.0)
        return self.norm(self.convolution(frames.transpose(1, 2)).transpose(1, 2).relu())


class Stem(nn.Module):
    """Spectrogram to frames of `width` channels: (batch, channels, bins, frames) to (batch, frames, width)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        return self.norm(self.project(features.flatten(1, 2).transpose(1, 2)))


class Embedding(nn.Module):
    """The clip's mean over valid frames, through one layer with dropout; (batch, width)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, clips: Tensor) -> Tensor:
        return self.dropout(self.layer(clips).relu())


class DartsLstm(nn.Module):
    """The chain of layers in `config.genotype`: {"width", "layers": [{"operation", "hidden_size"}], "dropout"}."""

    uses_mask = True

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        genotype = config.genotype or DEFAULT_GENOTYPE
        width = self.output_size = int(genotype["width"])
        self.stem = Stem(config.in_channels * config.num_bins, width)
        self.layers = nn.ModuleList(
            Operation(layer["operation"], width, layer.get("hidden_size")) for layer in genotype["layers"]
        )
        self.embedding = Embedding(width, float(genotype["dropout"]))

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, bins, frames) to (batch, output_size); `mask` (batch, frames) is true within clips."""
        frames = self.stem(features)
        for layer in self.layers:
            frames = layer(frames, mask)
        return self.embedding(masked_mean(frames, mask))
