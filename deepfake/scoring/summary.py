"""What a run amounted to, in two lines."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, field

from deepfake.scoring.result import Score


@dataclass
class Summary:
    """Counts over the rows of a run."""

    threshold: float  # as a fake_probability
    files: int = 0
    kept: int = 0  # rows of an earlier run that have a score
    again: int = 0  # files that an earlier run could not score
    audio_s: float = 0.0
    predictions: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    def add(self, row: Score, again: bool = False) -> None:
        """Count a row; `again`: its file was tried in an earlier run, which could not score it."""
        self.files += 1
        self.again += again
        self.audio_s += row.duration_s or 0.0
        if row.error is None:
            self.predictions[row.prediction] += 1
        else:
            self.errors[error_kind(row.error)] += 1

    def text(self) -> str:
        """E.g. "12 files: 5 fake, 6 real at threshold 0.4, 1 could not be scored; 0.2 h in 3 s (210 × realtime)"."""
        elapsed_s = max(time.monotonic() - self.started, 1e-3)
        named = dict(self.predictions) | {name: self.predictions[name] for name in ("fake", "real")}
        counts = ", ".join(f"{named[name]} {name}" for name in sorted(named))
        failed = sum(self.errors.values())
        files = "1 file" if self.files == 1 else f"{self.files} files"
        lines = [
            f"{files}: {counts} at threshold {self.threshold:.4f}, {failed} could not be scored; "
            f"{_amount(self.audio_s)} of audio in {_amount(elapsed_s)} ({self.audio_s / elapsed_s:.1f} × realtime)"
        ]
        if self.kept:
            lines.append(f"{self.kept} rows of the earlier run were kept")
        if self.again:
            lines.append(f"{self.again} of these files could not be scored by the earlier run and were tried again")
        if self.errors:
            lines.append("errors: " + ", ".join(f"{count} × {kind}" for kind, count in self.errors.most_common()))
        return "\n".join(lines)


def error_kind(error: str) -> str:
    """An error without what differs from file to file: "too short: 0.2 s …" is "too short"."""
    return re.sub(r"\d+(\.\d+)?", "N", re.split(r"[:(]", error, maxsplit=1)[0]).strip()


def _amount(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.2f} h"
