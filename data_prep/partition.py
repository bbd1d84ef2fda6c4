"""Which split each recording goes to: first what is demanded for test, then the corpus' own splits, the rest dealt."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_prep.layouts import Row
from data_prep.layouts.base import examples, read_text
from data_prep.splits import assign_splits
from deepfake.errors import UserError
from deepfake.labels import LABELS
from deepfake.schema import SPLITS

TEST, TRAIN = "test", "train"
KEEP, DROP = "keep", "drop"
_LEFT_OUT = "left out"
_NAMED = 200  # that an error lists


@dataclass(frozen=True)
class SplitOptions:
    """How recordings are parted.

    Attributes:
        fractions: share of each split by seconds of each class (see `split_fractions`).
        keep_corpus_splits: a recording stays in the split that its corpus defines.
        group_by: what may not be in two splits, "source", "speaker" or both. Near duplicates count as one source.
        hold_out_generators, hold_out_speakers: their recordings, with all that is connected to them, are only in test.
        test_manifest: names of the recordings of the test split; nothing else that is dealt out joins them.
        leaks: what becomes of a group that the corpus' own splits spread over several. "keep": nothing. "drop": its
            recordings stay in test only, or, where test has none of it, in validation only; the others are left out.
        seed: which recordings go where.
    """

    fractions: Mapping[str, float]
    keep_corpus_splits: bool = True
    group_by: tuple[str, ...] = ("source", "speaker")
    hold_out_generators: tuple[str, ...] = ()
    hold_out_speakers: tuple[str, ...] = ()
    test_manifest: Path | None = None
    leaks: str = KEEP
    seed: int = 42


@dataclass(frozen=True)
class Partition:
    """The split of each recording, None where it is left out, and how it came about.

    Attributes:
        crossing: names in each group that the corpus' own splits spread over several.
        left_out: split that the corpus gave → how many of its recordings are in none now.
    """

    splits: list[str | None]
    groups: list[int]
    forced: int
    kept: int
    crossing: list[list[str]]
    left_out: dict[str, int]


def partition(rows: Sequence[Row], groups: Sequence[int], seconds: Sequence[float], options: SplitOptions) -> Partition:
    """Choose a split for every recording.

    Args:
        rows, groups, seconds: of each recording: its row, its group, the length of its chunks.

    Raises:
        UserError: names in the options that no recording has, a class that test takes whole, or too few groups.
    """
    to_test = {groups[index] for index in _demanded(rows, options)}
    splits: list[str | None] = [
        TEST if group in to_test else row.split if options.keep_corpus_splits else None
        for row, group in zip(rows, groups, strict=True)
    ]
    forced = sum(group in to_test for group in groups)
    kept = sum(split is not None for split in splits) - forced
    by_group: dict[int, str] = {}
    for group, split in zip(groups, splits, strict=True):
        if split is not None:
            by_group.setdefault(group, split)
    splits = [by_group.get(group) if split is None else split for group, split in zip(groups, splits, strict=True)]
    places: dict[int, set[str]] = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        if split is not None:
            places[group].add(split)
    crossing = [
        [row.file.name for row, held in zip(rows, groups, strict=True) if held == group]
        for group, held_in in places.items()
        if len(held_in) > 1
    ]
    left_out: Counter[str] = Counter()
    if options.leaks == DROP:
        kept_in = {group: max(held_in, key=SPLITS.index) for group, held_in in places.items()}  # test comes last
        for index, (group, split) in enumerate(zip(groups, splits, strict=True)):
            if split is not None and split != kept_in[group]:
                left_out[split] += 1
                splits[index] = _LEFT_OUT
    _deal(rows, groups, seconds, splits, options)
    _check_train(rows, splits, forced, sum(left_out.values()))
    chosen = [None if split == _LEFT_OUT else split for split in splits]
    return Partition(chosen, list(groups), forced, kept, crossing, dict(left_out))


def _demanded(rows: Sequence[Row], options: SplitOptions) -> list[int]:
    """The recordings that the options name for test."""
    demanded = _listed(rows, options.test_manifest) if options.test_manifest else []
    return demanded + held_out(rows, options)


def held_out(rows: Sequence[Row], options: SplitOptions) -> list[int]:
    """The recordings of the generators and speakers that the options hold out.

    Raises:
        UserError: a name that no recording has.
    """
    found: list[int] = []
    for what, names, told in (
        ("generator", options.hold_out_generators, [row.generator if row.label == "fake" else None for row in rows]),
        ("speaker", options.hold_out_speakers, [row.speaker for row in rows]),
    ):
        present = sorted({name for name in told if name})
        for name in names:
            if name not in present:
                known = _all_or_many(present) if present else f"none: no recording has a known {what}"
                raise UserError(f"--hold-out-{what} {name} is no {what} of these recordings; known are {known}")
        found += [index for index, name in enumerate(told) if name in names]
    return found


def _all_or_many(names: Sequence[str]) -> str:
    """Every name that could be meant, but of thousands of speakers only the first, with the number of the others."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _listed(rows: Sequence[Row], manifest: Path) -> list[int]:
    """The recordings of a test manifest: one name a line or the first column of a CSV, as in report.json or its end."""
    ends: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        parts = PurePosixPath(row.file.name).parts
        for start in range(len(parts)):
            ends["/".join(parts[start:])].append(index)
    found, unknown = [], []
    for line in read_text(manifest).splitlines():
        name = line.split(",")[0].strip().strip('"').replace("\\", "/").removeprefix("./")
        if not name or name.startswith("#") or name.lower() in ("file_name", "name", "path", "file"):
            continue
        if len(ends.get(name, ())) > 1:
            raise UserError(
                f"{manifest} names {name}, which {len(ends[name])} recordings are called; write more of its path"
            )
        (found if name in ends else unknown).append(name)
    if unknown or not found:
        what = f"{len(unknown)} names that no usable recording has, e.g. {examples(unknown)}" if unknown else "no name"
        raise UserError(
            f"{manifest} holds {what}; expected one name a line as in report.json, e.g. {rows[0].file.name}"
        )
    return [ends[name][0] for name in found]


def _deal(
    rows: Sequence[Row],
    groups: Sequence[int],
    seconds: Sequence[float],
    splits: list[str | None],
    options: SplitOptions,
) -> None:
    """Fill the places of `splits` that are still None."""
    free = [index for index, split in enumerate(splits) if split is None]
    if not free:
        return
    given: dict[str, Counter[str]] = defaultdict(Counter)
    for row, weight, split in zip(rows, seconds, splits, strict=True):
        if split is not None:
            given[split][row.label] += weight
    fractions = dict(options.fractions)
    if options.test_manifest is not None:
        fractions.pop(TEST, None)
        total = sum(fractions.values())
        fractions = {split: share / total for split, share in fractions.items()}
    dealt = assign_splits(
        [str(groups[i]) for i in free],
        [rows[i].label for i in free],
        [seconds[i] for i in free],
        fractions,
        options.seed,
        given,
    )
    for index, split in zip(free, dealt, strict=True):
        splits[index] = split


def _check_train(rows: Sequence[Row], splits: Sequence[str | None], forced: int, left_out: int) -> None:
    left = {row.label for row, split in zip(rows, splits, strict=True) if split == TRAIN}
    for label in LABELS:
        if forced and label not in left:
            raise UserError(
                f"what is held out takes every {label} recording along to test, because they share speakers or sources "
                "with it; hold out less, or keep only sources together with --group-by source"
            )
        if left_out and label not in left:
            raise UserError(
                f"--leaks drop leaves no {label} recording to train on, because all share a source or speaker with "
                "validation or test; deal the splits anew with --splits 0.8 0.1 0.1"
            )


def achieved(
    rows: Sequence[Row], splits: Sequence[str | None], seconds: Sequence[float]
) -> dict[str, dict[str, float]]:
    """split → label → its share of the label's seconds, four digits; what is left out does not count."""
    totals, held = Counter(), Counter()
    for row, split, weight in zip(rows, splits, seconds, strict=True):
        if split is None:
            continue
        totals[row.label] += weight
        held[split, row.label] += weight
    return {
        split: {label: round(held[split, label] / totals[label], 4) for label in LABELS if totals[label]}
        for split in SPLITS
        if split in splits
    }
