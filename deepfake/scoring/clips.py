"""The rows of a dataset through a detector, by the way that recordings take."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from datasets import Dataset
from tqdm import tqdm

from deepfake.scoring.detector import Detector
from deepfake.scoring.reading import Reading
from deepfake.scoring.summary import error_kind

Change = Callable[[np.ndarray, str], np.ndarray]  # 16 kHz samples and the clip's name → samples


@dataclass(frozen=True)
class ClipScores:
    """What a detector says of the rows of a dataset, in their order.

    Attributes:
        logits: fake minus real, float64 of shape (rows,); NaN where a row has no score.
        errors: for each row why it has no score, such as "no_speech: …"; None where it has one.
    """

    logits: np.ndarray
    errors: tuple[str | None, ...]

    @property
    def scored(self) -> np.ndarray:
        """Whether a row has a score, bool of shape (rows,)."""
        return np.array([error is None for error in self.errors], dtype=bool)

    @property
    def unscored(self) -> int:
        """How many rows have no score."""
        return len(self.errors) - int(self.scored.sum())

    def warn_of_unscored(self, title: str) -> None:
        """Say on stderr how many clips of the set called `title` have no score, and why; nothing where all have one."""
        if self.unscored:
            kinds = Counter(error_kind(error) for error in self.errors if error is not None)
            reasons = ", ".join(f"{count} × {kind}" for kind, count in kinds.most_common())
            print(
                f"warning: {self.unscored} of {len(self.errors)} clips of {title} have no score and are left out: "
                f"{reasons}",
                file=sys.stderr,
            )

    @classmethod
    def interleaved(cls, parts: Sequence[ClipScores]) -> ClipScores:
        """The rows of a dataset of which part k holds row k and every `len(parts)`-th after it."""
        logits = np.empty(sum(len(part.logits) for part in parts), dtype=np.float64)
        errors: list[str | None] = [None] * len(logits)
        for k, part in enumerate(parts):
            logits[k :: len(parts)] = part.logits
            errors[k :: len(parts)] = part.errors
        return cls(logits, tuple(errors))


def score_clips(detector: Detector, rows: Dataset, title: str, change: Change | None = None) -> ClipScores:
    """Score every row, after `change` has been applied to its samples.

    Rows are decoded, changed and searched for speech in the detector's threads; `change` has to allow that.

    Args:
        rows: with a column `audio` of undecoded {"bytes", "path"}.
        title: what they are called in the progress bar.
    """
    logits = np.full(len(rows), np.nan)
    errors: list[str | None] = [None] * len(rows)
    results = detector.analyse_readings(_readings(rows, change, detector.options.speech_detection))
    bar = tqdm(results, total=len(rows), desc=title, unit="clip", file=sys.stderr, leave=False, disable=None)
    for i, result in enumerate(bar):
        errors[i] = result.error
        if errors[i] is None:
            logits[i] = result.logit
    return ClipScores(logits, tuple(errors))


def _readings(rows: Dataset, change: Change | None, speech_detection: str) -> Iterator[Reading]:
    for row in rows.select_columns(["audio"]):
        audio = row["audio"]
        changed = None if change is None else partial(_changed, change, str(audio["path"]))
        yield Reading.of(audio["bytes"] or audio["path"], speech_detection, change=changed)


def _changed(change: Change, name: str, samples: np.ndarray) -> np.ndarray:
    return change(samples, name)
