"""Which clips an epoch is made of, where classes or generators are to be heard equally often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from torch.utils.data import Sampler

from deepfake.errors import UserError
from deepfake.labels import LABELS

FAKE = LABELS.index("fake")


class BalancedSampler(Sampler[int]):
    """As many clips an epoch as there are, drawn with replacement so that groups are equally frequent.

    Classes share the draws equally, and the groups of a class share its half equally. The draw depends on (seed, epoch)
    alone: a resumed run draws what the uninterrupted one would have drawn, and all processes draw the same before each
    takes its part.

    Args:
        labels: class of each clip.
        groups: group of each clip within its class, e.g. its generator; the class itself for balance by class.
        seed: of the draw.
    """

    def __init__(self, labels: Sequence[Any], groups: Sequence[Any], seed: int) -> None:
        clips = list(zip(map(str, labels), map(str, groups), strict=True))
        size = Counter(clips)
        groups_of_class = Counter(label for label, _ in size)
        self.probabilities = np.array(
            [1.0 / (len(groups_of_class) * groups_of_class[label] * size[label, group]) for label, group in clips]
        )
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.probabilities)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        yield from rng.choice(len(self), size=len(self), p=self.probabilities).tolist()


def balanced_sampler(train: Dataset, balance: str, seed: int) -> BalancedSampler | None:
    """The sampler for `balance`: "class", "generator", or "none" (which is no sampler).

    Raises:
        UserError: "generator" on a dataset that does not record the generators of its fakes.
    """
    if balance == "none":
        return None
    labels = train["label"]
    if balance == "class":
        return BalancedSampler(labels, labels, seed)
    generators = train["generator"] if "generator" in train.column_names else [None] * len(train)
    missing = sum(g is None for g, label in zip(generators, labels, strict=True) if label == FAKE)
    if missing:
        raise UserError(
            f"balance is generator, but {missing} fake clips do not say which one made them; name generators in the "
            "metadata when building the dataset, or use balance: class"
        )
    return BalancedSampler(labels, generators, seed)
