"""What a build did with every file: the content of report.json and the table on the screen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from data_prep.layouts import Row
from data_prep.parts import RecordingFacts
from data_prep.writing import source_id
from deepfake.audio.decode import SAMPLING_RATE
from deepfake.labels import LABELS
from deepfake.schema import SPLITS

USED, DUPLICATE, NO_CHUNKS, FAILED, LEFT_OUT = "used", "duplicate", "no_chunks", "failed", "left_out"


@dataclass(frozen=True)
class Outcome:
    """One file of the input: what its corpus says of it, its facts, and, where it is `USED`, its group and split."""

    row: Row
    facts: RecordingFacts
    duplicate_of: str | None = None
    group: str | None = None
    split: str | None = None
    left_out: bool = False

    @property
    def name(self) -> str:
        return self.row.file.name

    @property
    def label(self) -> str:
        return self.row.label

    @property
    def status(self) -> str:
        """`FAILED` (see `facts.error`), `DUPLICATE`, `NO_CHUNKS` (no speech long enough), `LEFT_OUT` or `USED`."""
        if self.facts.error is not None:
            return FAILED
        if self.duplicate_of is not None:
            return DUPLICATE
        if not self.facts.chunk_samples:
            return NO_CHUNKS
        return LEFT_OUT if self.left_out else USED

    @property
    def chunk_s(self) -> float:
        return sum(self.facts.chunk_samples) / SAMPLING_RATE


def report_of(outcomes: Sequence[Outcome], facts_of_build: dict) -> dict:
    """The content of report.json: equal input and options give equal content, whatever the number of workers.

    Args:
        outcomes: every recording that was found, in input order.
        facts_of_build: what else to say: options, versions, splits, inputs.
    """
    return {
        **facts_of_build,
        "totals": totals(outcomes),
        "files": dict(sorted(Counter(outcome.status for outcome in outcomes).items())),
        "errors": errors_by_kind(outcomes),
        "losses": _losses(outcomes),
        "duplicates": [{"name": o.name, "duplicate_of": o.duplicate_of} for o in outcomes if o.status == DUPLICATE],
        "recordings": [_entry(outcome) for outcome in outcomes],
    }


def totals(outcomes: Iterable[Outcome]) -> dict[str, dict[str, dict[str, float]]]:
    """split → label → {"recordings", "chunks", "minutes"} over the recordings in the dataset."""
    sums = {split: {label: {"recordings": 0, "chunks": 0, "minutes": 0.0} for label in LABELS} for split in SPLITS}
    present = set()
    for outcome in outcomes:
        if outcome.status == USED and outcome.split is not None:
            cell = sums[outcome.split][outcome.label]
            cell["recordings"] += 1
            cell["chunks"] += len(outcome.facts.chunk_samples)
            cell["minutes"] += outcome.chunk_s / 60
            present.add(outcome.split)
    return {split: cells for split, cells in sums.items() if split in present}


def errors_by_kind(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many files failed for each kind of reason, the most frequent first."""
    return dict(Counter(_kind(o.facts.error) for o in outcomes if o.facts.error is not None).most_common())


def table(outcomes: Sequence[Outcome]) -> str:
    """Split x label x recordings x chunks x minutes, as text."""
    lines = [f"{'split':<12}{'label':<7}{'recordings':>10}{'chunks':>9}{'minutes':>10}"]
    cells = [(split, label, cell) for split, row in totals(outcomes).items() for label, cell in row.items()]
    for split, label, cell in cells:
        lines.append(_line(split, label, cell))
    for label in LABELS:
        held = [cell for _, name, cell in cells if name == label]
        sums = {key: sum(cell[key] for cell in held) for key in ("recordings", "chunks", "minutes")}
        lines.append(_line("all", label, sums))
    return "\n".join(lines)


def _line(split: str, label: str, cell: dict[str, float]) -> str:
    return f"{split:<12}{label:<7}{cell['recordings']:>10}{cell['chunks']:>9}{cell['minutes']:>10.2f}"


def _entry(outcome: Outcome) -> dict:
    facts = asdict(outcome.facts)
    lengths = facts.pop("chunk_samples")
    known = facts["sha256"] is not None
    return {
        "name": outcome.name,
        "status": outcome.status,
        "source": source_id(facts["sha256"], outcome.name) if known else None,
        "label": outcome.label,
        "speaker": outcome.row.speaker,
        "generator": outcome.row.generator,
        "language": outcome.row.language,
        "corpus": outcome.row.corpus,
        "made_from": outcome.row.group,  # what its corpus says it shares with others, e.g. the copied utterance
        "group": outcome.group,
        "split": outcome.split,
        "duplicate_of": outcome.duplicate_of,
        **facts,
        "chunks": len(lengths),
        "chunk_s": outcome.chunk_s,
    }


def _losses(outcomes: Iterable[Outcome]) -> dict[str, float]:
    sums: Counter[str] = Counter()
    for outcome in outcomes:
        if outcome.status != DUPLICATE:
            sums.update(outcome.facts.losses)
    return dict(sorted(sums.items()))


def _kind(error: str) -> str:
    """An error without its particulars: numbers and what stands in brackets."""
    return re.sub(r"\d+", "N", error.split(" (")[0])
