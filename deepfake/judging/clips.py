"""Scored clips as one table: the score, the label, and what is known about each clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake.audio.files import AUDIO_EXTENSIONS
from deepfake.metrics.checks import FloatArray, IntArray, check_pair

if TYPE_CHECKING:
    from datasets import Dataset

# The columns that say something about a clip. Unknown is None, never guessed.
FACTS = (
    "source", "speaker", "speaker_group", "generator", "language", "duration_s", "container", "corpus", "page", "kind",
    "family", "year", "group_id", "channel", "sex", "age",
)  # fmt: skip
MOST_VALUES = 200  # of a column with more (every clip its own speaker) a table says nothing
DURATION_EDGES_S = (3.0, 5.0, 8.0, 13.0)


@dataclass(frozen=True)
class ScoredClips:
    """Clips of one set.

    Attributes:
        scores: fake score, float64 of shape (n,), higher = fake. labels: 0 real, 1 fake.
        facts: per column of `FACTS`, one value or None per clip.
        rows: the place of each clip in the set it comes from, rising, int64 of shape (n,); None when unknown.
        unscored: how many clips of that set have no score and are not among these.
    """

    scores: FloatArray
    labels: IntArray
    facts: dict[str, tuple[Any, ...]]
    rows: IntArray | None = None
    unscored: int = 0

    @classmethod
    def of(
        cls,
        scores: Any,
        labels: Any,
        facts: dict[str, Sequence[Any]],
        rows: IntArray | None = None,
        unscored: int = 0,
    ) -> ScoredClips:
        """Check and complete: missing columns become all-None, the container follows from the source's name.

        Raises:
            ValueError: bad scores or labels, or a column of another length.
        """
        s, y = check_pair(scores, labels)
        columns = {name: tuple(facts[name]) if name in facts else (None,) * s.size for name in FACTS}
        if not any(columns["container"]):
            columns["container"] = tuple(_container(source) for source in columns["source"])
        wrong = [name for name, values in columns.items() if len(values) != s.size]
        if wrong:
            raise ValueError(f"the column {wrong[0]} has {len(columns[wrong[0]])} entries for {s.size} scores.")
        return cls(s, y, columns, rows, unscored)

    @classmethod
    def of_rows(cls, logits: FloatArray, labels: IntArray, rows: Dataset) -> ScoredClips | None:
        """The rows of a dataset; None when none of them has a score.

        Args:
            logits: fake logits, shape (rows,), NaN where a row has no score: it is left out and counted.
            labels: 0 real, 1 fake, shape (rows,).
        """
        scored = np.flatnonzero(np.isfinite(logits))
        if not scored.size:
            return None
        unscored = len(rows) - scored.size
        kept = rows.select(scored) if unscored else rows
        facts = {name: kept[name] for name in FACTS if name in rows.column_names}
        return cls.of(logits[scored], labels[scored], facts, rows=scored, unscored=unscored)

    @classmethod
    def joined(cls, parts: Sequence[ScoredClips]) -> ScoredClips:
        """Several sets as one; which rows they were is no longer known."""
        facts = {name: tuple(value for part in parts for value in part.facts[name]) for name in FACTS}
        scores, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "labels"))
        return cls(scores, labels, facts, None, sum(part.unscored for part in parts))

    def __len__(self) -> int:
        return self.scores.size

    def take(self, chosen: np.ndarray) -> ScoredClips:
        """The clips where `chosen`, bool of shape (n,), is true."""
        index = np.flatnonzero(chosen)
        facts = {name: tuple(values[i] for i in index) for name, values in self.facts.items()}
        rows = None if self.rows is None else self.rows[index]
        return ScoredClips(self.scores[index], self.labels[index], facts, rows, self.unscored)

    def shared(self, other: ScoredClips) -> tuple[ScoredClips, ScoredClips]:
        """This and another scoring of one set, without the clips that only one of the two could score."""
        if self.rows is None or other.rows is None or np.array_equal(self.rows, other.rows):
            return self, other
        return self.take(np.isin(self.rows, other.rows)), other.take(np.isin(other.rows, self.rows))

    def groups(self, unit: str = "recordings") -> list[Any] | None:
        """What is resampled as one: the recording; or the speaker or generator where known, else the recording.

        Real clips have no generator: under "generators" they stay grouped by recording. None when clips carry nothing
        to group by.
        """
        sources = self.facts["source"]
        if unit == "recordings":
            return list(sources) if any(sources) else None
        names = self.facts[unit.removesuffix("s")]
        known = [
            (unit, name) if name and not (unit == "generators" and label == 0) else source
            for name, source, label in zip(names, sources, self.labels, strict=True)
        ]
        return known if any(isinstance(group, tuple) for group in known) else None

    def independent(self) -> list[Any] | None:
        """The independent unit of a clip: its corpus' group (one utterance or voice) where known, else the recording.

        None when clips carry nothing to group by.
        """
        pairs = zip(self.facts["group_id"], self.facts["source"], strict=True)
        found = [("group", group) if group else source for group, source in pairs]
        return found if any(found) else None

    def parts(self, column: str, label: int) -> dict[str, IntArray]:
        """Where the clips of one class stand, by their known value of a column; nothing of more than `MOST_VALUES`."""
        parts: dict[str, list[int]] = {}
        values = self.facts[column]
        for i in np.flatnonzero(self.labels == label).tolist():
            if values[i] is not None and values[i] != "":
                parts.setdefault(str(values[i]), []).append(i)
        if len(parts) > MOST_VALUES:
            return {}
        return {value: np.array(parts[value], dtype=np.int64) for value in sorted(parts)}

    def decades(self) -> tuple[str | None, ...]:
        """Age of each clip's speaker, "30–39" for a number of years, and as it is for words such as "thirties"."""
        return tuple(_decade(str(age)) if age not in (None, "") else None for age in self.facts["age"])

    def bands(self) -> list[str | None]:
        """Duration band of each clip, such as "3–5 s"."""
        return [None if d is None else _band(float(d)) for d in self.facts["duration_s"]]


def _band(duration_s: float) -> str:
    if duration_s < DURATION_EDGES_S[0]:
        return f"under {DURATION_EDGES_S[0]:g} s"
    for low, high in zip(DURATION_EDGES_S, DURATION_EDGES_S[1:], strict=False):
        if duration_s < high:
            return f"{low:g}–{high:g} s"
    return f"{DURATION_EDGES_S[-1]:g} s and more"


def _decade(age: str) -> str:
    try:
        first = 10 * int(float(age) // 10)
    except (ValueError, OverflowError):
        return age
    return f"{first}–{first + 9}"


def _container(source: str | None) -> str | None:
    suffix = PurePosixPath(str(source or "")).suffix.lower()
    return suffix.lstrip(".") if suffix in AUDIO_EXTENSIONS else None
