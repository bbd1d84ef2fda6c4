"""Prepared datasets through a Detector: one fake logit a clip, in batches."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from datasets import Audio, ClassLabel, Dataset, DatasetDict, DownloadConfig, load_dataset, load_from_disk
from tqdm import tqdm

from data_prep.audio import SAMPLING_RATE, AudioError, load_audio
from data_prep.errors import UserError
from data_prep.hub import cache_only, check_name, first_line
from data_prep.labels import label_of_tokens
from evaluation.checks import FloatArray
from evaluation.clips import FACTS, ScoredClips
from scoring.detector import Detector
from scoring.windows import iter_windows

Change = Callable[[np.ndarray, str], np.ndarray]  # samples and the clip's name → samples
_READ_AHEAD = 16  # batches that are sorted by length together, so that little is padded


def load_splits(name: str) -> dict[str, Dataset]:
    """A dataset folder or Hub id as splits, audio undecoded.

    Raises:
        UserError: there is none, or it lacks the columns audio and label.
    """
    try:
        if os.path.exists(name):
            if not Path(name, "dataset_dict.json").is_file() and not Path(name, "dataset_info.json").is_file():
                raise UserError(f"{name} is not a prepared dataset; make one with `python -m data_prep build`")
            loaded = load_from_disk(name)
        else:
            check_name(name, "dataset")
            loaded = load_dataset(name, download_config=DownloadConfig(local_files_only=cache_only()))
    except UserError:
        raise
    except Exception as error:  # offline, unknown or private: datasets raises a dozen classes here
        raise UserError(f"no dataset at {name}, neither a folder here nor on the Hub ({first_line(error)})") from error
    splits = dict(loaded) if isinstance(loaded, DatasetDict) else {"all": loaded}
    for split, rows in splits.items():
        missing = [c for c in ("audio", "label") if c not in rows.column_names]
        if missing:
            raise UserError(f"{name} [{split}] has no column {missing[0]}; expected the columns audio and label")
        splits[split] = rows.cast_column("audio", Audio(SAMPLING_RATE, decode=False))
    return splits


def labels_of(rows: Dataset) -> np.ndarray:
    """0 real, 1 fake, by the labels' names whatever their order; shape (n,).

    Raises:
        UserError: names that do not say which class they are.
    """
    feature, values = rows.features["label"], rows["label"]
    names = [feature.names[v] if isinstance(feature, ClassLabel) else str(v) for v in values]
    meaning = {}
    for name in sorted(set(names)):
        found = label_of_tokens(name)
        if len(found) != 1:
            raise UserError(f"the dataset has the label {name}; expected names for real and fake")
        meaning[name] = int(next(iter(found)) == "fake")
    return np.array([meaning[name] for name in names], dtype=np.int64)


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
