"""The `search:` mapping of a recipe: what an architecture search may choose from, and how long it looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NotRequired, TypedDict

from deepfake.architectures.baselines.backbone_darts_lstm import OPERATIONS
from deepfake.errors import UserError

# In the output folder; the state of an unfinished search carries a checksum of what was asked for.
ARCHITECTURE_FILE, PICTURE_FILE, STATE_FILE = "architecture.json", "architecture.png", "search-*.pt"
SKIP = "identity"  # the operation that leaves a layer out


class Layer(TypedDict):
    """A layer that was kept: its operation, and its width where that is recurrent."""

    operation: str
    hidden_size: NotRequired[int]


class Genotype(TypedDict):
    """A network as `DartsLstm` takes it and as a checkpoint's config keeps it."""

    width: int
    layers: list[Layer]
    dropout: float


class Epoch(TypedDict):
    """What one epoch of a search came to; the architecture has no loss in the warm-up."""

    epoch: int
    weight_loss: float
    architecture_loss: NotRequired[float]
    entropy: dict[str, float]  # by kind of decision, 0 to 1
    weights: dict[str, list[float]]  # of every choice, by decision


class Half(TypedDict):
    """How many clips and recordings one half of the training split has."""

    clips: int
    recordings: int


class Found(TypedDict):
    """architecture.json: what was found, how the search came to it, and what it was asked."""

    genotype: Genotype
    weights: dict[str, list[float]]
    path: list[int]
    history: list[Epoch]
    halves: dict[str, Half]
    asked: dict[str, Any]  # the parts of the recipe that the outcome depends on
    seconds: float


@dataclass(frozen=True)
class SearchOptions:
    """What `search:` may hold.

    Attributes:
        layers: of the supernet; the search keeps between none and all of them.
        width: channels between layers.
        operations, hidden_sizes, dropouts: the choices.
        partial: one channel in this many goes through the candidates, the others pass by (PC-DARTS: 4).
        epochs: over both halves of the training split. warmup_epochs: of these, without architecture steps.
        batch_size: clips in a weight step, and again in an architecture step.
        learning_rate: of the weights at the start, falling to 0 along a half cosine; weight_decay: theirs.
        architecture_learning_rate, architecture_weight_decay: of the architecture parameters, constant.
    """

    layers: int = 3
    width: int = 64
    operations: tuple[str, ...] = (*OPERATIONS, SKIP)
    hidden_sizes: tuple[int, ...] = (16, 32, 64)
    dropouts: tuple[float, ...] = (0.0, 0.2, 0.5)
    partial: int = 4
    epochs: int = 6
    warmup_epochs: int = 2
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 3e-4
    architecture_learning_rate: float = 2e-2
    architecture_weight_decay: float = 1e-3


def search_options(mapping: Mapping[str, Any]) -> SearchOptions:
    """Check and convert the mapping.

    Raises:
        UserError: an unknown key, a value of another kind, or choices that leave nothing to search.
    """
    known = {field.name: field.default for field in fields(SearchOptions)}
    values = {}
    for key, value in mapping.items():
        if key not in known:
            raise UserError(f"unknown key search.{key}; expected some of {', '.join(known)}")
        try:
            values[key] = _like(known[key], value)
        except (TypeError, ValueError) as error:
            raise UserError(f"search.{key} is {value!r}; expected something like {known[key]!r}") from error
    options = SearchOptions(**values)
    allowed = (*OPERATIONS, SKIP)
    for name in options.operations:
        if name not in allowed:
            raise UserError(f"search.operations has {name}; expected some of {', '.join(allowed)}")
    for name in ("operations", "hidden_sizes", "dropouts"):
        if not getattr(options, name):
            raise UserError(f"search.{name} is empty; expected at least one choice")
    if options.partial < 1 or options.width % options.partial:
        raise UserError(f"search.partial is {options.partial}; expected a divisor of search.width, {options.width}")
    if options.layers < 1 or not 0 <= options.warmup_epochs < options.epochs:
        raise UserError(
            f"search has {options.layers} layers and {options.warmup_epochs} of {options.epochs} epochs as warm-up; "
            "expected at least one layer and one epoch after the warm-up"
        )
    return options


def _like(example: Any, value: Any) -> Any:
    """`value` as the type of `example`; a number such as 2e-3 is a string in YAML 1.1."""
    if isinstance(example, tuple):
        return tuple(_like(example[0], one) for one in value)
    if isinstance(example, int) and int(value) != float(value):
        raise ValueError(value)
    return type(example)(value)
