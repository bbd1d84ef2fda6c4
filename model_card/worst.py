"""What the card opens with: where the detector is weakest, and whom it accuses wrongly."""

from __future__ import annotations

from deepfake.judging.record import VALIDATION, JudgedSet, Part
from deepfake.judging.worst import Matrix
from deepfake.metrics.intervals import FEW_GROUPS, Estimate
from deepfake.text import markdown_table, number
from model_card.record import Record

_AXES = ("generators", "human speech", "channel")
_SHOWN = 5  # cells of a set, and rows of a column; the record has more


def worst_case(record: Record) -> str:
    """Markdown: the worst cells of every set, else the worst parts, else that neither is known."""
    sets = {name: found for name, found in record.sets.items() if found.matrix is not None}
    tested = {name: found for name, found in sets.items() if found.role != VALIDATION}
    parts = [_cells(name, found.matrix) for name, found in (tested or sets).items()]
    return "\n\n".join(parts) or _parts(record)


def false_alarms_table(record: Record) -> str:
    """Markdown: human clips called fake by whatever tells speakers apart; empty where nothing does."""
    sets = {name: found for name, found in record.sets.items() if found.false_alarms}
    tested = {name: found for name, found in sets.items() if found.role != VALIDATION}
    rows = [
        [name, column, row.name, row.clips, row.groups, row.fpr]
        for name, found in (tested or sets).items()
        for column, held in found.false_alarms.items()
        for row in held[:_SHOWN]
    ]
    header = ["set", "by", "whose", "human clips", "independent groups", "called fake"]
    return markdown_table(header, rows) if rows else ""


def _cells(name: str, matrix: Matrix) -> str:
    worst = matrix.cells[0]
    told = (
        f"On {name}, the error (the mean of human called fake and fakes missed) is {worst.hter} in the worst of "
        f"{matrix.ranked} cells, {number(matrix.mean)} in the mean of the cells, and {matrix.pooled} over all clips "
        f"pooled, {number(matrix.gap)} less than in the worst."
    )
    heads = [f"{axis} ({column})" if column else axis for axis, column in zip(_AXES, matrix.columns, strict=True)]
    rows = [
        [cell.family, cell.human, cell.channel, cell.real, cell.fake, cell.hter, number(cell.roc_auc)]
        for cell in matrix.cells[:_SHOWN]
    ]
    return f"{told}\n\n{markdown_table([*heads, 'human clips', 'fakes', 'error', 'ROC-AUC'], rows)}"


def _parts(record: Record) -> str:
    """The parts with the most fakes missed, of those with enough independent groups to say so."""
    unknown = "The record tells no generators, human sources and channels apart: where it is weakest is not known."
    for name, found in record.sets.items():
        parts = [(column, part) for column, held in found.breakdowns.items() for part in held if _ranks(part)]
        if parts:
            return _of_parts(name, found, sorted(parts, key=lambda one: -(_missed(one[1]).value or 0.0)))
    return unknown


def _of_parts(name: str, found: JudgedSet, parts: list[tuple[str, Part]]) -> str:
    told = (
        "The record has no cells of generator family × human source × channel, so the worst of them is not known. "
        f"Of the parts of {name}, those with the most fakes missed; of all its fakes {found.metrics['fnr']} are missed."
    )
    rows = [
        [column, part.name, part.fake.clips, _missed(part), part.metrics["roc_auc"]] for column, part in parts[:_SHOWN]
    ]
    return f"{told}\n\n{markdown_table(['by', 'part', 'fakes', 'fakes missed', 'ROC-AUC'], rows)}"


def _ranks(part: Part) -> bool:
    missed = part.metrics.get("fnr")
    return missed is not None and missed.low is not None and (missed.n_groups or 0) >= FEW_GROUPS


def _missed(part: Part) -> Estimate:
    return part.metrics["fnr"]
