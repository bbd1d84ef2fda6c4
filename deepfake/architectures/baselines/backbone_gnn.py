"""A graph network: frames are nodes, joined to those most like them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .configuration_spectrogram import SpectrogramConfig
from .pooling_spectrogram import masked_mean


class GraphConvolution(nn.Module):
    """Linear map, then the mean over each node and its neighbours.

    Kipf and Welling, "Semi-supervised classification with graph convolutional networks" (ICLR 2017), on a graph in
    which every node has equally many edges coming in, where their normalisation is that mean.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, nodes: Tensor, neighbours: Tensor, weights: Tensor) -> Tensor:
        """(batch, nodes, inputs) to (batch, nodes, outputs).

        Args:
            neighbours: (batch, nodes, edges), indices of nodes.
            weights: (batch, nodes, edges), summing to 1 over the edges.
        """
        mapped = self.linear(nodes)
        rows = torch.arange(len(mapped), device=mapped.device)[:, None, None]
        return (mapped[rows, neighbours] * weights[..., None].to(mapped.dtype)).sum(2)


class Gnn(nn.Module):
    """Two graph convolutions over the k nearest neighbours of each frame, and the mean over the clip's frames."""

    uses_mask = True

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        self.num_neighbours = config.num_neighbours
        self.output_size = config.hidden_size
        self.first = GraphConvolution(config.in_channels * config.num_bins, config.hidden_size)
        self.second = GraphConvolution(config.hidden_size, config.hidden_size)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, channels, bins, frames) to (batch, output_size); `mask` (batch, frames) is true within clips."""
        nodes = features.flatten(1, 2).transpose(1, 2)
        neighbours, weights = nearest(nodes, mask, self.num_neighbours)
        hidden = self.relu(self.first(nodes, neighbours, weights))
        hidden = self.relu(self.second(hidden, neighbours, weights))
        return masked_mean(hidden, mask)


@torch.no_grad()
def nearest(nodes: Tensor, mask: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Each node and the `count` nearest to it, by Euclidean distance among the nodes in the mask of the same clip.

    Args:
        nodes: (batch, nodes, width).
        mask: (batch, nodes), or None for all.

    Returns:
        indices of shape (batch, nodes, count + 1), and weights of the same shape that sum to 1; where a clip has too
        few nodes, the rest weighs nothing.
    """
    # In float32 without the matrix product trick, whose rounding would depend on the shape of the batch.
    distances = torch.cdist(nodes.float(), nodes.float(), compute_mode="donot_use_mm_for_euclid_dist")
    if mask is not None:
        distances = distances.masked_fill(~mask[:, None, :], torch.inf)
    own = torch.eye(nodes.shape[1], dtype=torch.bool, device=nodes.device)
    distances = distances.masked_fill(own, -1.0)  # itself first, whatever else is equal to it
    found, indices = distances.topk(min(count + 1, nodes.shape[1]), dim=2, largest=False)
    real = torch.isfinite(found).float()
    return indices, real / real.sum(2, keepdim=True)
