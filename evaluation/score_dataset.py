"""Prepared datasets through a Detector, as the scored clips that are judged."""

from __future__ import annotations

from datasets import Dataset

from deepfake.dataset import labels_of
from deepfake.errors import UserError
from deepfake.judging.clips import ScoredClips
from deepfake.scoring.clips import Change, score_clips
from deepfake.scoring.detector import Detector


class NothingScored(UserError):
    """No clip of a set has a score."""


def score_rows(detector: Detector, rows: Dataset, title: str, change: Change | None = None) -> ScoredClips:
    """Score every clip of `rows` as a recording is scored, after `change` has been applied to its samples.

    Clips without a score (nobody speaks in them, they are too short, they cannot be decoded) are left out and counted.

    Raises:
        NothingScored: no clip has a score.
    """
    found = score_clips(detector, rows, title, change)
    found.warn_of_unscored(title)
    clips = ScoredClips.of_rows(found.logits, labels_of(rows), rows)
    if clips is None:
        reason = f"; the first says: {found.errors[0]}" if found.errors else ""
        raise NothingScored(f"none of the {len(rows)} clips of {title} can be scored{reason}")
    return clips
