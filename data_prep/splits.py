"""Dealing groups of recordings (see `deepfake.groups`) into splits so that none is in two of them."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from deepfake.errors import UserError
from deepfake.schema import SPLITS


def split_fractions(values: Sequence[float]) -> dict[str, float]:
    """Name the three numbers of `--splits`; a split with 0 is left out.

    Raises:
        UserError: not three numbers in [0, 1] that sum to 1, or nothing for training.
    """
    shown = " ".join(f"{value:g}" for value in values)
    if len(values) != len(SPLITS) or not all(0 <= value <= 1 for value in values) or abs(sum(values) - 1) > 1e-6:
        raise UserError(f"--splits {shown}: expected three fractions for {', '.join(SPLITS)} that sum to 1")
    if values[0] == 0:
        raise UserError(f"--splits {shown} leaves nothing to train on; give the first fraction a value above 0")
    return {name: value for name, value in zip(SPLITS, values, strict=True) if value > 0}


def assign_splits(
    groups: Sequence[str],
    labels: Sequence[str],
    seconds: Sequence[float],
    fractions: Mapping[str, float],
    seed: int,
    given: Mapping[str, Mapping[str, float]] | None = None,
) -> list[str]:
    """Put every item into a split, whole groups together, proportions by seconds of each label as well as groups allow.

    Groups are dealt out from the longest to the shortest, in seeded random order among those of similar length, each to
    the split that is furthest below its share of the group's labels; the last groups of a label are kept for splits
    that have none of it yet.

    Args:
        groups: group of each item; a group may hold items of several labels.
        labels: label of each item.
        seconds: weight of each item, e.g. the seconds of its chunks.
        fractions: share of each split by name, all above 0, sum 1 (see `split_fractions`).
        seed: equal input and seed give equal output.
        given: split → label → seconds that are in their split already and count towards its share.

    Returns:
        split name of each item.

    Raises:
        UserError: a label with fewer groups than there are splits, or groups that cannot be parted.
    """
    weights: dict[str, Counter[str]] = defaultdict(Counter)
    for group, label, weight in zip(groups, labels, seconds, strict=True):
        weights[group][label] += weight
    left = Counter(label for held in weights.values() for label in held)
    dealt = list(left)
    filled = {split: Counter((given or {}).get(split, {})) for split in fractions}
    _check_enough(left, filled, Counter(labels))
    totals: Counter[str] = Counter()
    for held in (*weights.values(), *filled.values()):
        totals.update(held)
    chosen: dict[str, str] = {}
    for group in _dealing_order(weights, seed):
        held = weights[group]
        needs = {split: _need(split, held, totals, filled, fractions) for split in _allowed(held, left, filled)}
        chosen[group] = max(needs, key=needs.__getitem__)
        filled[chosen[group]].update(held)
        left.subtract(held.keys())
    for label in dealt:
        for split in fractions:
            if label not in filled[split]:
                raise UserError(
                    f"the groups cannot be parted so that {split} holds {label} recordings too, because too many "
                    "groups hold both classes; use fewer splits (a fraction of 0 leaves one out) or add recordings"
                )
    return [chosen[group] for group in groups]


def _check_enough(left: Mapping[str, int], filled: Mapping[str, Mapping[str, float]], items: Mapping[str, int]) -> None:
    """`left` and `items`: groups and items of each label."""
    for label, count in left.items():
        lacking = [split for split, held in filled.items() if label not in held]
        if count >= len(lacking):
            continue
        what = f"{label} recording{'s' * (count != 1)} with usable speech"
        advice = "add recordings or leave a split out (--splits 0.8 0.2 0)"
        if count < items[label]:
            what = f"group{'s' * (count != 1)} of {label} recordings that share no source or speaker with another"
            advice += ", or keep only sources together and not speakers (--group-by source)"
        raise UserError(
            f"found {count} {what}, expected at least {len(lacking)} so that {', '.join(lacking)} each hold one; "
            f"{advice}"
        )


def _dealing_order(weights: Mapping[str, Counter[str]], seed: int) -> list[str]:
    """Heaviest first, in octaves: exact order would send the same recordings to train whatever the seed."""
    order = list(weights)
    random.Random(seed).shuffle(order)
    return sorted(order, key=lambda group: -math.floor(math.log2(max(weights[group].total(), 1e-3))))


def _allowed(held: Mapping[str, float], left: Mapping[str, int], filled: Mapping[str, Counter[str]]) -> list[str]:
    """All splits, unless a label of this group has only as many groups left as there are splits without it."""
    for label in held:
        lacking = [split for split in filled if label not in filled[split]]
        if lacking and left[label] <= len(lacking):
            return lacking
    return list(filled)


def _need(
    split: str,
    held: Mapping[str, float],
    totals: Mapping[str, float],
    filled: Mapping[str, Counter[str]],
    fractions: Mapping[str, float],
) -> float:
    """How far `split` is below its share of the labels that a group holds, weighted by how much the group holds."""
    return sum(
        held[label] / totals[label] * (fractions[split] - filled[split][label] / totals[label])
        for label in held
        if totals[label] > 0
    )
