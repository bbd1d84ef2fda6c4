"""Prepared datasets through a Detector: one fake logit a clip, in batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from datasets import Dataset
from tqdm import tqdm

from data_prep.audio import SAMPLING_RATE, AudioError, load_audio
from data_prep.errors import UserError
from data_prep.read_dataset import labels_of
from evaluation.checks import FloatArray
from judging.clips import FACTS, ScoredClips
from scoring.detector import Detector
from scoring.windows import iter_windows

Change = Callable[[np.ndarray, str], np.ndarray]  # samples and the clip's name → samples
_READ_AHEAD = 16  # batches that are sorted by length together, so that little is padded


def score_rows(detector: Detector, rows: Dataset, title: str, change: Change | None = None) -> ScoredClips:
    """Score every clip of `rows`, after `change` has been applied to its samples.

    A clip within the detector's window is scored whole; a longer one by the mean over its windows, as recordings are.

    Raises:
        UserError: a clip that cannot be decoded: the dataset is damaged.
    """
    scores = np.empty(len(rows), dtype=np.float64)
    bar = tqdm(total=len(rows), desc=title, unit="clip", file=sys.stderr, leave=False)
    per_read = detector.batch_size * _READ_AHEAD
    for start in range(0, len(rows), per_read):
        held = []
        for i in range(start, min(start + per_read, len(rows))):
            held += [(i, window) for window in _windows(detector, _samples(rows[i]["audio"], change))]
        for i, logits in _by_clip(detector, held):
            scores[i] = logits.mean()
        bar.update(min(per_read, len(rows) - start))
    bar.close()
    facts = {name: rows[name] for name in FACTS if name in rows.column_names}
    return ScoredClips.of(scores, labels_of(rows), facts)


def _samples(audio: dict, change: Change | None) -> np.ndarray:
    name = str(audio["path"])
    try:
        samples = load_audio(audio["bytes"] or audio["path"])
    except AudioError as error:
        raise UserError(f"the dataset row {name} {error}; build the dataset again") from error
    return samples if change is None else change(samples, name)


def _windows(detector: Detector, samples: np.ndarray) -> Iterator[np.ndarray]:
    window, hop = (round(s * SAMPLING_RATE) for s in (detector.checkpoint.window_s, detector.checkpoint.hop_s))
    return (found.samples for found in iter_windows([samples], window, hop))


def _by_clip(detector: Detector, held: Sequence[tuple[int, np.ndarray]]) -> Iterator[tuple[int, FloatArray]]:
    """(clip, logits of its windows), scored in batches of similar length."""
    order = sorted(range(len(held)), key=lambda k: len(held[k][1]))
    logits = np.empty(len(held), dtype=np.float64)
    for start in range(0, len(order), detector.batch_size):
        batch = order[start : start + detector.batch_size]
        logits[batch] = detector.fake_logits([held[k][1] for k in batch])
    clips = np.array([i for i, _ in held])
    for i in dict.fromkeys(clips.tolist()):
        yield i, logits[clips == i]
