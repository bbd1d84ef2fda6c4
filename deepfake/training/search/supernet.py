"""The supernet: every architecture of the search space at once, mixed by weights that are trained as well.

The relaxation is that of Liu, Simonyan and Yang, "DARTS: Differentiable architecture search" (ICLR 2019); that only a
part of the channels goes through the candidates, and that edges have weights of their own, is from Xu et al.,
"PC-DARTS: Partial channel connections for memory-efficient architecture search" (ICLR 2020).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from deepfake.architectures.baselines.backbone_darts_lstm import RECURRENT, Embedding, Operation, Stem
from deepfake.architectures.baselines.pooling_spectrogram import masked_mean
from deepfake.training.search.options import SKIP, Genotype, SearchOptions


class MixedLayer(nn.Module):
    """All candidates for one layer. Each pair of a recurrent operation and a hidden size has weights of its own."""

    def __init__(self, options: SearchOptions) -> None:
        super().__init__()
        self.options = options
        width = options.width // options.partial
        self.candidates = nn.ModuleDict()
        for name in options.operations:
            if name in RECURRENT:
                for size in options.hidden_sizes:
                    self.candidates[f"{name}_{size}"] = Operation(name, width, size)
            elif name != SKIP:
                self.candidates[name] = Operation(name, width)

    def forward(self, frames: Tensor, mask: Tensor | None, operations: Tensor, hidden_sizes: Tensor) -> Tensor:
        """(batch, frames, width) to the same.

        Args:
            mask: as `Operation` takes it.
            operations: weight of each operation, shape (operations,). hidden_sizes: of each size, (hidden sizes,).
        """
        width = self.options.width // self.options.partial
        part, rest = frames[..., :width], frames[..., width:]
        mixed = torch.zeros_like(part)
        for name, weight in zip(self.options.operations, operations, strict=True):
            mixed = mixed + weight * self._candidate(name, part, mask, hidden_sizes)
        joined = torch.cat([mixed, rest], dim=-1)
        # The next layer's part takes one channel in `partial` from here, so that all get their turn.
        return joined.unflatten(-1, (self.options.partial, width)).transpose(-1, -2).flatten(-2)

    def _candidate(self, name: str, part: Tensor, mask: Tensor | None, hidden_sizes: Tensor) -> Tensor:
        if name == SKIP:
            return part
        if name not in RECURRENT:
            return self.candidates[name](part, mask)
        sizes = zip(self.options.hidden_sizes, hidden_sizes, strict=True)
        return sum(weight * self.candidates[f"{name}_{size}"](part, mask) for size, weight in sizes)


class Supernet(nn.Module):
    """A backbone that mixes all choices.

    Layer i reads a weighted mean of the stem and of all layers before it (edge normalisation); the output is a weighted
    mean over layers, and the clip's embedding one over dropout rates, each of which has a layer of its own that was
    trained with it.

    Args:
        inputs: channels times bins of the spectrogram.

    Attributes:
        architecture: the parameters that weigh the choices, before the softmax; near 0 at first, so that all weigh
            alike.
    """

    def __init__(self, inputs: int, options: SearchOptions) -> None:
        super().__init__()
        self.options = options
        self.output_size = options.width
        self.stem = Stem(inputs, options.width)
        self.layers = nn.ModuleList(MixedLayer(options) for _ in range(options.layers))
        self.embeddings = nn.ModuleList(Embedding(options.width, rate) for rate in options.dropouts)
        # Names of decisions and how many choices each has.
        sizes = {"output": options.layers, "dropout": len(options.dropouts)}
        for i in range(options.layers):
            sizes |= {
                f"operation_{i}": len(options.operations),
                f"hidden_size_{i}": len(options.hidden_sizes),
                f"input_{i}": i + 1,
            }
        self.architecture = nn.ParameterDict(
            {name: nn.Parameter(1e-3 * torch.randn(size)) for name, size in sizes.items()}
        )

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, bins, frames), with a mask (batch, frames) or none, to (batch, width)."""
        weights = self.weights()
        states = [self.stem(features)]
        for i, layer in enumerate(self.layers):
            read = _mean(states, weights[f"input_{i}"])
            states.append(layer(read, mask, weights[f"operation_{i}"], weights[f"hidden_size_{i}"]))
        clips = masked_mean(_mean(states[1:], weights["output"]), mask)
        return _mean([embedding(clips) for embedding in self.embeddings], weights["dropout"])

    def weights(self) -> dict[str, Tensor]:
        """The weight of every choice; those of one decision add up to 1."""
        return {name: parameter.softmax(0) for name, parameter in self.architecture.items()}

    def chosen_layers(self) -> list[int]:
        """The layers on the strongest path from the stem to the output, first to last, those left out included."""
        best = {name: int(weight.argmax()) for name, weight in self.weights().items()}
        state, path = best["output"] + 1, []
        while state > 0:
            path.append(state - 1)
            state = best[f"input_{state - 1}"]
        return path[::-1]

    def genotype(self) -> Genotype:
        """The strongest choice of every decision, as `DartsLstm` takes it."""
        best = {name: int(weight.argmax()) for name, weight in self.weights().items()}
        layers = []
        for i in self.chosen_layers():
            operation = self.options.operations[best[f"operation_{i}"]]
            if operation in RECURRENT:
                size = self.options.hidden_sizes[best[f"hidden_size_{i}"]]
                layers.append({"operation": operation, "hidden_size": size})
            elif operation != SKIP:
                layers.append({"operation": operation})
        return {"width": self.options.width, "layers": layers, "dropout": self.options.dropouts[best["dropout"]]}

    @torch.no_grad()
    def entropy(self) -> dict[str, float]:
        """How undecided each kind of decision is: 1 all choices alike, 0 decided; decisions of one choice left out."""
        found: dict[str, list[float]] = {}
        for name, weight in self.weights().items():
            if len(weight) > 1:
                kind = name.rstrip("_0123456789")
                found.setdefault(kind, []).append(float(torch.special.entr(weight).sum()) / math.log(len(weight)))
        return {kind: sum(values) / len(values) for kind, values in found.items()}


def _mean(values: list[Tensor], weights: Tensor) -> Tensor:
    return sum(weight * value for value, weight in zip(values, weights, strict=True))
