"""The worst case first: each generator family against each human source in each channel, at the fixed threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from deepfake.judging.clips import ScoredClips
from deepfake.metrics.checks import IntArray, group_codes
from deepfake.metrics.definitions import roc_auc
from deepfake.metrics.intervals import FEW_GROUPS, Estimate
from deepfake.metrics.rates import group_rate, half_total_error

# The first of each that is known makes the axis.
FAMILY, HUMAN, CHANNEL = ("family", "generator"), ("page", "corpus"), ("channel", "container")
HUMAN_COLUMNS = ("page", "corpus", "speaker", "language", "sex", "age")
MOST_CELLS = 20  # that a record keeps
ALL, UNKNOWN = "all", "unknown"


@dataclass(frozen=True)
class Cell:
    """The fakes of one family against the real clips of one human source, both in one channel.

    Attributes:
        family, human, channel: "all" where the set does not know the column.
        real, fake: clips.
        hter: half total error rate at the fixed threshold, the mean of real called fake and fakes missed.
        roc_auc: within the cell.
    """

    family: str
    human: str
    channel: str
    real: int
    fake: int
    hter: Estimate
    roc_auc: float


@dataclass(frozen=True)
class Matrix:
    """Every cell of a set, in few numbers.

    Attributes:
        columns: that the three axes are of; None for an axis that the set does not know.
        cells: the worst of them, at most `MOST_CELLS`, the highest error first.
        ranked, unranked: cells with `FEW_GROUPS` or more independent groups of both classes, and those with fewer,
            which are neither ranked nor averaged. Where no cell has so many, all are ranked.
        mean: of the error over the ranked cells, each counting once.
        pooled: error over all clips of the set, which hides weak cells behind the many.
    """

    DERIVED: ClassVar = ("gap",)

    columns: tuple[str | None, str | None, str | None]
    cells: tuple[Cell, ...]
    ranked: int
    unranked: int
    mean: float
    pooled: Estimate

    @property
    def gap(self) -> float:
        """The worst cell's error minus the pooled one."""
        return (self.cells[0].hter.value or 0.0) - (self.pooled.value or 0.0)


@dataclass(frozen=True)
class HumanRate:
    """The real clips of one source, speaker, language, sex or age: how many, and how many of them are called fake."""

    name: str
    clips: int
    groups: int
    fpr: Estimate


def matrix(clips: ScoredClips, threshold: float) -> Matrix | None:
    """The cells of a set at one threshold; None where fewer than two can be told apart, or a class is missing."""
    codes = group_codes(clips.independent(), len(clips))
    columns = tuple(_known(clips, names, label) for names, label in ((FAMILY, 1), (HUMAN, 0), (CHANNEL, None)))
    cells = _cells(clips, threshold, codes, *columns)
    if not cells and columns[2] is not None:  # no channel holds both classes
        columns = (*columns[:2], None)
        cells = _cells(clips, threshold, codes, *columns)
    if len(cells) < 2:
        return None
    ranked = [cell for cell in cells if (cell.hter.n_groups or 0) >= FEW_GROUPS] or cells
    errors = [cell.hter.value for cell in ranked]
    ranked.sort(key=lambda cell: (-cell.hter.value, cell.family, cell.human, cell.channel))
    return Matrix(
        columns=columns,
        cells=tuple(ranked[:MOST_CELLS]),
        ranked=len(ranked),
        unranked=len(cells) - len(ranked),
        mean=float(np.mean(errors)),
        pooled=half_total_error(clips.scores >= threshold, clips.labels, codes),
    )


def false_alarms(clips: ScoredClips, threshold: float) -> dict[str, tuple[HumanRate, ...]]:
    """Real clips called fake by each of `HUMAN_COLUMNS` that is known, ages in decades, the highest rate first."""
    codes = group_codes(clips.independent(), len(clips))
    called = clips.scores >= threshold
    clips = replace(clips, facts=clips.facts | {"age": clips.decades()})
    found = {}
    for column in HUMAN_COLUMNS:
        rows = [
            HumanRate(name, mine.size, int(np.unique(codes[mine]).size), group_rate(called[mine], codes[mine], 0))
            for name, mine in clips.parts(column, 0).items()
        ]
        if rows:
            found[column] = tuple(sorted(rows, key=lambda row: (-(row.fpr.value or 0.0), row.name)))
    return found


def _known(clips: ScoredClips, names: tuple[str, ...], label: int | None) -> str | None:
    """The first of the columns that tells two clips of a class (None: any clips) apart, or knows any value at all."""
    mine = np.arange(len(clips)) if label is None else np.flatnonzero(clips.labels == label)
    values = {name: {clips.facts[name][i] for i in mine} - {None, ""} for name in names}
    apart = [name for name in names if len(values[name]) > 1]
    return next(iter(apart + [name for name in names if values[name]]), None)


def _cells(
    clips: ScoredClips, threshold: float, codes: IntArray, family: str | None, human: str | None, channel: str | None
) -> list[Cell]:
    called = clips.scores >= threshold
    fakes, real = (_by(clips, column, channel, label) for column, label in ((family, 1), (human, 0)))
    found = []
    for (family_name, fake_channel), of_family in fakes.items():
        for (human_name, real_channel), of_human in real.items():
            if fake_channel != real_channel:
                continue
            mine = np.concatenate((of_human, of_family))
            hter = half_total_error(called[mine], clips.labels[mine], codes[mine])
            auc = roc_auc(clips.scores[mine], clips.labels[mine])
            found.append(Cell(family_name, human_name, fake_channel, of_human.size, of_family.size, hter, auc))
    return found


def _by(clips: ScoredClips, column: str | None, channel: str | None, label: int) -> dict[tuple[str, str], IntArray]:
    """Where the clips of one class stand, by (value of the column, channel)."""
    parts: dict[tuple[str, str], list[int]] = {}
    for i in np.flatnonzero(clips.labels == label).tolist():
        key = tuple(ALL if name is None else str(clips.facts[name][i] or UNKNOWN) for name in (column, channel))
        parts.setdefault(key, []).append(i)
    return {key: np.array(parts[key], dtype=np.int64) for key in sorted(parts)}
