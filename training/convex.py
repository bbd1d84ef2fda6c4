"""Fitting a linear head so that it listens for synthesis and not for who speaks, where, or through what.

Weighted logistic regression on standardised statistics from which the directions that tell recording campaigns and
speakers apart have been taken out: nuisance attribute projection (Solomonoff, Quillen and Campbell, 2004). The
problem is convex, so that the result does not depend on a start or an order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.nn import functional

_STD_FLOOR = 1e-3
_DAMPED = 64  # directions at most; those after them hardly move
REAL, FAKE = 0, 1


@dataclass(frozen=True)
class FitOptions:
    """How heads are fitted.

    Attributes:
        l2: half of this times the squared length of the weights is added to the mean loss.
        iterations: of L-BFGS.
        clip: standardised statistics are limited to +- this.
        campaign_directions, speaker_directions: how many directions are taken out of each kind, at most.
        min_campaign_clips, min_speaker_clips: campaigns and speakers with fewer do not count.
        pair_weight: of all pairs together; all other clips together weigh 1.
        channel_penalty: of the mean square by which channels move the scores of real clips, in units of `l2`.
        head_weights: how much the head of a front end counts in a clip's sum; those not named count 1.
    """

    l2: float = 0.1
    iterations: int = 80
    clip: float = 6.0
    campaign_directions: int = 12
    speaker_directions: int = 8
    min_campaign_clips: int = 15
    min_speaker_clips: int = 2
    pair_weight: float = 0.4
    channel_penalty: float = 0.0
    head_weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Clips:
    """What is known about clips, each array of shape (clips,).

    `kind` is the recording campaign of a real clip and the generator family of a fake one; `speaker` the group that
    clips of one voice share.
    """

    label: np.ndarray
    kind: np.ndarray
    speaker: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Clips:
        return Clips(self.label[chosen], self.kind[chosen], self.speaker[chosen])


@dataclass(frozen=True)
class Head:
    """clip((x - mean) / std) @ weight + bias; arrays of shape (width,), float64."""

    mean: np.ndarray
    std: np.ndarray
    weight: np.ndarray
    bias: float
    clip: float

    def score(self, statistics: np.ndarray) -> np.ndarray:
        """(clips, width) to (clips,); higher means fake."""
        return np.clip((statistics - self.mean) / self.std, -self.clip, self.clip) @ self.weight + self.bias

    def times(self, factor: float) -> Head:
        """The head whose scores are `factor` times as large."""
        return replace(self, weight=self.weight * factor, bias=self.bias * factor)


def fit_head(
    copies: Sequence[np.ndarray], clips: Clips, pairs: Sequence[tuple[np.ndarray, np.ndarray]], options: FitOptions
) -> Head:
    """Fit one head; its scores over the fitted clips have a standard deviation of 1.

    Args:
        copies: statistics of the clips, (clips, width), clean first, then through each other channel.
        pairs: real and fake statistics of same-clip pairs, each (pairs, width), for each channel.
    """
    weights = [np.tile(balanced_weights(clips), len(copies)) / len(copies)]
    labels = [np.tile(clips.label, len(copies))]
    for real, _ in pairs:
        if len(real):
            weights.append(np.full(2 * len(real), options.pair_weight / len(pairs) / (2 * len(real))))
            labels.append(np.repeat([REAL, FAKE], len(real)))
    stacked = np.concatenate([*copies, *(part for pair in pairs for part in pair)]).astype(np.float64)
    mean, std = stacked.mean(0), stacked.std(0) + _STD_FLOOR
    stacked = np.clip((stacked - mean) / std, -options.clip, options.clip)
    basis = nuisance_basis(stacked[: len(clips.label)], clips, options)
    stacked -= (stacked @ basis) @ basis.T
    parts = np.split(stacked[: len(copies) * len(clips.label)], len(copies))
    moved = np.concatenate([part[clips.label == REAL] - parts[0][clips.label == REAL] for part in parts[1:] or parts])
    damp, share = damped_directions(moved, options.channel_penalty)
    stacked -= (stacked @ damp * share) @ damp.T
    weight, bias = logistic(stacked, np.concatenate(labels), np.concatenate(weights), options.l2, options.iterations)
    spread = (stacked @ weight).std()
    weight -= damp @ (share * (damp.T @ weight))
    weight -= basis @ (basis.T @ weight)
    scale = 1.0 / spread
    return Head(mean, std, weight * scale, bias * scale, options.clip)


def balanced_weights(clips: Clips) -> np.ndarray:
    """Weights of shape (clips,), half for each class: a family counts as one, a campaign by the root of its size.

    Fakes differ by what made them, so that no family may drown another; reals of one campaign still differ by
    speaker, so that a larger one says more.
    """
    sizes = {(label, kind): 0 for label, kind in zip(clips.label, clips.kind, strict=True)}
    for key in zip(clips.label, clips.kind, strict=True):
        sizes[key] += 1
    weights = np.array(
        [
            sizes[label, kind] ** (-0.5 if label == REAL else -1.0)
            for label, kind in zip(clips.label, clips.kind, strict=True)
        ]
    )
    for label in (REAL, FAKE):
        weights[clips.label == label] *= 0.5 / weights[clips.label == label].sum()
    return weights


def nuisance_basis(statistics: np.ndarray, clips: Clips, options: FitOptions) -> np.ndarray:
    """Orthonormal directions, (width, at most campaign + speaker directions), in which real clips differ by origin."""
    real = clips.label == REAL
    parts = [
        _spread(statistics[real], clips.kind[real], options.min_campaign_clips, options.campaign_directions),
        _spread(statistics[real], clips.speaker[real], options.min_speaker_clips, options.speaker_directions),
    ]
    directions = np.concatenate(parts)
    return np.linalg.qr(directions.T)[0] if len(directions) else np.zeros((statistics.shape[1], 0))


def damped_directions(moved: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Directions in which channels move clips, and by which share each is shortened.

    Shortening a direction of variance v to 1 / sqrt(1 + penalty * v) before a fit with a quadratic penalty, and its
    weights after it, is the same as adding penalty * v * (weight along it)^2 to that penalty: a soft projection, after
    within-class covariance normalisation (Hatch, Kajarekar and Stolcke, 2006).

    Args:
        moved: by how much each clip moved, (clips, width).

    Returns:
        orthonormal directions (width, at most 64) and shares (directions,) between 0 and 1; none without a penalty.
    """
    if penalty <= 0 or not np.any(moved):
        return np.zeros((moved.shape[1], 0)), np.zeros(0)
    # From the smaller of both products of the matrix with itself: there are thousands of columns.
    wide = len(moved) < moved.shape[1]
    variances, vectors = np.linalg.eigh((moved @ moved.T if wide else moved.T @ moved) / len(moved))
    kept = np.flatnonzero(variances > 1e-9 * variances[-1])[-_DAMPED:]
    variances, directions = variances[kept], vectors[:, kept]
    if wide:
        directions = moved.T @ directions / np.sqrt(variances * len(moved))
    return directions, 1.0 - 1.0 / np.sqrt(1.0 + penalty * variances)


def logistic(
    statistics: np.ndarray, labels: np.ndarray, weights: np.ndarray, l2: float, iterations: int
) -> tuple[np.ndarray, float]:
    """Weight vector and bias of the weighted logistic regression; `weights` are made to sum to 1."""
    x, y, w = (torch.tensor(np.asarray(a, dtype=np.float64)) for a in (statistics, labels, weights / weights.sum()))
    weight = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=iterations, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        losses = functional.binary_cross_entropy_with_logits(x @ weight + bias, y, reduction="none")
        total = (w * losses).sum() + l2 / 2 * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return weight.detach().numpy().copy(), float(bias.detach())


def platt(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """(slope, offset) that turn scores into log-odds at equal priors (Platt, 1999); both classes weigh the same."""
    weights = np.where(labels == FAKE, 0.5 / (labels == FAKE).sum(), 0.5 / (labels == REAL).sum())
    slope, offset = logistic(np.asarray(scores)[:, None], labels, weights, 1e-6, 200)
    return float(slope[0]), offset


def _spread(statistics: np.ndarray, keys: np.ndarray, least: int, count: int) -> np.ndarray:
    """The main directions, (at most count, width), in which the means of the groups of `keys` differ."""
    names, sizes = np.unique(keys, return_counts=True)
    kept = names[sizes >= least]
    if len(kept) < 2 or count < 1:
        return np.zeros((0, statistics.shape[1]))
    means = np.stack([statistics[keys == name].mean(0) for name in kept])
    # One direction fewer than groups: the last singular vector is arbitrary.
    return np.linalg.svd(means - means.mean(0), full_matrices=False)[2][: min(count, len(kept) - 1)]
