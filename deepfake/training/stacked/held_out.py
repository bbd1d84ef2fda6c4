"""What folds say of the clips they have not met: scored as recordings are, decided on, judged, written down."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from datasets import Dataset

from deepfake.channels.lines import telephone
from deepfake.judging.clips import ScoredClips
from deepfake.judging.judge import RESAMPLES, Judge, measure_set, part
from deepfake.judging.record import FAKE_LOGIT, VALIDATION, JudgedSet, Part, Threshold
from deepfake.labels import LABELS
from deepfake.metrics.decisions import fit_decisions
from deepfake.metrics.operating_points import choose_threshold
from deepfake.scoring.clips import Change, score_clips
from deepfake.scoring.detector import Detector
from deepfake.text import fake_probability
from deepfake.training.stacked.sampling import FAKE, KINDS, REAL, ClipFacts, column_of

DEFAULT = "default"  # the operating point behind the stored threshold
CLEAN, BY_TELEPHONE, COPIES = VALIDATION, "validation by telephone", "copies of human clips"
_COLUMNS = ("source", "start_s", "duration_s", "speaker", "language")  # of the files, where the dataset knows them


def _telephone(samples: np.ndarray, name: str) -> np.ndarray:
    return telephone(samples, "a" if zlib.crc32(name.encode()) % 2 else "mu")


CONDITIONS: dict[str, Change | None] = {CLEAN: None, BY_TELEPHONE: _telephone}
_FILES = {CLEAN: "scores_heldout.csv", BY_TELEPHONE: "scores_heldout_telephone.csv"}


@dataclass(frozen=True)
class HeldOut:
    """Clips, each with the scores of the model that has met neither its page nor its generator.

    Attributes:
        rows: of the dataset. facts: of each. fold: that each is in, shape (clips,).
        logits: by `CONDITIONS`, fake logits of shape (clips,), NaN where a clip has no score.
        counted: which clips thresholds are fitted on, bool (clips,): not copies, where these are not taken for fakes.
    """

    rows: Dataset
    facts: ClipFacts
    fold: np.ndarray
    logits: dict[str, np.ndarray]
    counted: np.ndarray

    def set(self, condition: str, chosen: np.ndarray) -> tuple[ScoredClips, np.ndarray] | None:
        """The chosen clips that have a score, and the page of each; None where none has."""
        index = np.flatnonzero(chosen)
        logits = self.logits[condition][index]
        clips = ScoredClips.of_rows(logits, self.facts.label[index], self.rows.select(index))
        return None if clips is None else (clips, self.facts.page[index][np.isfinite(logits)])


def score_held_out(
    rows: Dataset,
    facts: ClipFacts,
    fold: np.ndarray,
    counted: np.ndarray,
    detector_of_fold: Callable[[int], Detector],
) -> HeldOut:
    """Score every clip by the detector of its fold, under each of `CONDITIONS`."""
    logits = {condition: np.full(len(rows), np.nan) for condition in CONDITIONS}
    for number in sorted(set(fold.tolist())):
        mine, detector = np.flatnonzero(fold == number), detector_of_fold(number)
        for condition, change in CONDITIONS.items():
            title = f"fold {number + 1}, {condition}"
            found = score_clips(detector, rows.select(mine), title, change)
            found.warn_of_unscored(title)
            logits[condition][mine] = found.logits
    return HeldOut(rows, facts, fold, logits, counted)


def decide(held: HeldOut, max_fpr: float) -> Judge:
    """Fit threshold, operating points, calibration and abstention band on all conditions together.

    A detector is not told which of them a recording came through. The named operating points promise over pages: clips
    of one page share speakers, microphone and encoder, and count as one group. The default threshold, which is stored
    beside them as the point "default", counts clips, so that it misses fewer fakes.

    Args:
        max_fpr: share of human clips that the default threshold may call fake, with 95 % confidence over clips.
    """
    known = {name: held.counted & np.isfinite(logits) for name, logits in held.logits.items()}
    scores = np.concatenate([held.logits[name][mask] for name, mask in known.items()])
    labels, pages = (
        np.concatenate([values[mask] for mask in known.values()]) for values in (held.facts.label, held.facts.page)
    )
    decisions = fit_decisions(scores, labels, pages)
    point = choose_threshold(scores, labels, "fpr", max_fpr=max_fpr, name=DEFAULT)
    decisions = replace(decisions, points={DEFAULT: point, **decisions.points})
    origin = (
        f"chosen on held-out pages and generators, clean and by telephone: at most {100 * max_fpr:g} % of human clips "
        "called fake"
    )
    return Judge(Threshold(point.threshold, FAKE_LOGIT, origin, VALIDATION, f"fpr {max_fpr:g}"), decisions)


def judge_held_out(held: HeldOut, judge: Judge, resamples: int = RESAMPLES) -> dict[str, JudgedSet]:
    """The counted clips under each condition, and copies beside the human clips; intervals over pages.

    The clean set is parted by kind, kind of synthesis and year, each part's fakes against all human clips.
    """
    chosen = {name: (name, held.counted) for name in CONDITIONS}
    copies = held.facts.copy & ~held.counted
    if copies.any():
        chosen[COPIES] = CLEAN, copies | (held.facts.label == REAL)
    found = {}
    for title, (condition, mask) in chosen.items():
        if (given := held.set(condition, mask)) is not None:
            clips, pages = given
            found[title] = measure_set(clips, judge, VALIDATION, resamples, pages, with_parts=False)
    if CLEAN in found:
        found[CLEAN] = replace(found[CLEAN], breakdowns=_parts(held, judge, resamples))
    return found


def write_held_out(folder: Path, held: HeldOut) -> None:
    """scores_heldout.csv and scores_heldout_telephone.csv: one row a clip, with all that the folds were made by."""
    facts, known = held.facts, [name for name in _COLUMNS if name in held.rows.column_names]
    columns = {name: column_of(held.rows, name) for name in known}
    for name in ("page", "kind", "generator", "family", "year"):
        columns[name] = getattr(facts, name).tolist()
    for condition, logits in held.logits.items():
        with (folder / _FILES[condition]).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*columns, "fold", "label", "fake_logit", "fake_probability"])
            for i, logit in enumerate(logits.tolist()):
                score = [repr(logit), repr(fake_probability(logit))] if np.isfinite(logit) else ["", ""]
                row = [values[i] for values in columns.values()]
                writer.writerow([*row, int(held.fold[i]) + 1, LABELS[facts.label[i]], *score])


def _parts(held: HeldOut, judge: Judge, resamples: int) -> dict[str, tuple[Part, ...]]:
    facts, scored = held.facts, np.isfinite(held.logits[CLEAN])
    values = {"kind": facts.kind, "synthesis": np.array(KINDS)[facts.target], "year": facts.year.astype(str)}
    fake, real = scored & (facts.label == FAKE), scored & (facts.label == REAL)
    found: dict[str, tuple[Part, ...]] = {}
    for column, names in values.items():
        parts = []
        for name in sorted(set(names[fake].tolist())):
            clips, pages = held.set(CLEAN, real | (fake & (names == name)))
            parts.append(part(name, clips, judge.threshold.value, resamples, pages))
        found[column] = tuple(parts)
    return found
