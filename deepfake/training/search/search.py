"""Differentiable search: weights learn on one half of the training clips, the architecture on the other.

First-order: an architecture step takes the weights as they are (Liu et al. 2019, section 2.3, xi = 0).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import CosineAnnealingLR

from deepfake.errors import UserError
from deepfake.groups import connected_groups
from deepfake.labels import LABELS
from deepfake.training.search.options import Epoch, Genotype, SearchOptions
from deepfake.training.search.supernet import Supernet

Batch = dict[str, Tensor]
Batches = Callable[[int], Iterable[Batch]]  # epoch to its batches, the same ones whenever it is asked
Loss = Callable[[Any, Tensor], Tensor]  # the model's output and labels (batch,) to a scalar


@dataclass
class SearchResult:
    """What was found, and how the search came to it.

    Attributes:
        genotype: as `DartsLstm` takes it.
        weights: of every choice at the end, by decision. path: the layers of the supernet that were kept.
        history: per epoch the losses on both halves, the entropies and the weights.
    """

    genotype: Genotype
    weights: dict[str, list[float]]
    path: list[int]
    history: list[Epoch] = field(default_factory=list)


def search(
    model: nn.Module,
    supernet: Supernet,
    halves: tuple[Batches, Batches],
    loss: Loss,
    options: SearchOptions,
    seed: int,
    state_file: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> SearchResult:
    """Alternate architecture and weight steps until the epochs are over.

    The same seed gives the same genotype, on a CPU also when the search was killed and called again.

    Args:
        model: contains `supernet`; takes the keys of a batch but "labels".
        halves: batches to train weights on, and batches to train the architecture on.
        state_file: kept up to date after every epoch, and gone on from if it exists; removed at the end.
        say: told one line an epoch.
    """
    architecture = list(supernet.architecture.parameters())
    ours = {id(parameter) for parameter in architecture}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in ours]
    for_weights = torch.optim.Adam(others, options.learning_rate, weight_decay=options.weight_decay)
    for_architecture = torch.optim.Adam(
        architecture,
        options.architecture_learning_rate,
        betas=(0.5, 0.999),
        weight_decay=options.architecture_weight_decay,
    )
    schedule = CosineAnnealingLR(for_weights, options.epochs)
    kept = {"model": model, "weights": for_weights, "architecture": for_architecture, "schedule": schedule}
    history = _restore(state_file, kept)
    for epoch in range(len(history), options.epochs):
        torch.manual_seed(seed + epoch)  # of dropout
        model.train()
        seen: dict[str, list[float]] = {"weight_loss": [], "architecture_loss": []}
        for train, held_out in zip(*(half(epoch) for half in halves), strict=False):
            if epoch >= options.warmup_epochs:
                seen["architecture_loss"].append(_architecture_step(model, held_out, loss, for_architecture))
            seen["weight_loss"].append(_weight_step(model, train, loss, for_weights))
        schedule.step()
        means = {name: float(np.mean(values)) for name, values in seen.items() if values}
        history.append({"epoch": epoch + 1, **means, "entropy": supernet.entropy(), "weights": _numbers(supernet)})
        say(_line(history[-1], options.epochs))
        _keep(state_file, kept, history)
    if state_file is not None:
        state_file.unlink(missing_ok=True)
    return SearchResult(supernet.genotype(), _numbers(supernet), supernet.chosen_layers(), history)


def split_in_halves(
    labels: Sequence[int], sources: Sequence[str | None], speakers: Sequence[str | None], seed: int
) -> tuple[list[int], list[int]]:
    """Rows of two halves with about as many clips of each class; no recording or speaker is in both.

    Raises:
        UserError: so few recordings or speakers that a half would lack a class.
    """
    keys = [
        (("source", source) if source else None, ("speaker", speaker) if speaker else None)
        for source, speaker in zip(sources, speakers, strict=True)
    ]
    groups: dict[int, list[int]] = {}
    for row, group in enumerate(connected_groups(keys)):
        groups.setdefault(group, []).append(row)
    order = list(groups.values())
    np.random.default_rng(seed).shuffle(order)
    halves: tuple[list[int], list[int]] = ([], [])
    surplus = np.zeros(len(LABELS))  # clips of each class that the first half is ahead by
    for rows in sorted(order, key=len, reverse=True):
        counts = np.bincount([labels[row] for row in rows], minlength=len(LABELS))
        first = np.abs(surplus + counts).sum() <= np.abs(surplus - counts).sum()
        halves[0 if first else 1].extend(rows)
        surplus += counts if first else -counts
    for half in halves:
        if len({labels[row] for row in half}) < len(LABELS):
            raise UserError(
                f"the training split has {len(order)} independent recordings or speakers, too few for an architecture "
                "search: each of its two halves needs real and fake clips; add recordings, or train configs/lstm.yaml"
            )
    return sorted(halves[0]), sorted(halves[1])


def _architecture_step(model: nn.Module, batch: Batch, loss: Loss, optimizer: torch.optim.Optimizer) -> float:
    parameters = optimizer.param_groups[0]["params"]
    # Without dropout: its noise would only ever speak for the lowest rate. What a rate is worth shows in the weights
    # that were trained with it, on clips they were not trained on.
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    for module in dropouts:
        module.eval()
    value = _loss(model, batch, loss)
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(value, parameters, materialize_grads=True), strict=True
    ):
        parameter.grad = gradient
    optimizer.step()
    for module in dropouts:
        module.train()
    return value.item()


def _weight_step(model: nn.Module, batch: Batch, loss: Loss, optimizer: torch.optim.Optimizer) -> float:
    parameters = optimizer.param_groups[0]["params"]
    model.zero_grad(set_to_none=True)
    value = _loss(model, batch, loss)
    value.backward()
    clip_grad_norm_(parameters, 5.0)  # recurrent layers at the start of a search explode now and then
    optimizer.step()
    return value.item()


def _loss(model: nn.Module, batch: Batch, loss: Loss) -> Tensor:
    return loss(model(**{name: value for name, value in batch.items() if name != "labels"}), batch["labels"])


def _numbers(supernet: Supernet) -> dict[str, list[float]]:
    return {name: [round(float(w), 6) for w in weight.detach()] for name, weight in supernet.weights().items()}


def _line(entry: Epoch, epochs: int) -> str:
    losses = ", ".join(f"{name.replace('_', ' ')} {entry[name]:.4f}" for name in entry if name.endswith("_loss"))
    entropy = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in entry["entropy"].items())
    return f"search epoch {entry['epoch']} of {epochs}: {losses}; entropy of {entropy}"


def _keep(path: Path | None, kept: dict[str, Any], history: list[Epoch]) -> None:
    if path is None:
        return
    states = {name: part.state_dict() for name, part in kept.items()}
    draft = path.with_name(path.name + ".part")
    torch.save(states | {"history": history}, draft)
    os.replace(draft, path)


def _restore(path: Path | None, kept: dict[str, Any]) -> list[Epoch]:
    if path is None or not path.exists():
        return []
    states = torch.load(path, weights_only=True)
    for name, part in kept.items():
        part.load_state_dict(states[name])
    return states["history"]
