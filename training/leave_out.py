"""Scores of clips by heads that were fitted without their generators, campaigns and speakers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.errors import UserError
from training.clip_table import ClipTable, Measured
from training.convex import REAL, FitOptions, Head, fit_head
from training.statistics import AUGMENTED, CLEAN, MEASURED

FITTED = (CLEAN, AUGMENTED)  # the copies of every clip that heads are fitted on


@dataclass(frozen=True)
class Scorer:
    """One head for each front end; a window's score is their sum, and a clip's the mean over its windows."""

    heads: dict[str, Head]

    def score(self, measured: Measured, rows: np.ndarray, channel: str) -> np.ndarray:
        """Scores of shape (rows,) of these rows (indices, rising); NaN for those in which nobody speaks."""
        windows = np.flatnonzero(np.isin(measured.row, rows))
        place = np.searchsorted(rows, measured.row[windows])
        logits = sum(head.score(measured.clips[name][channel][windows]) for name, head in self.heads.items())
        counts = np.bincount(place, minlength=len(rows))
        totals = np.bincount(place, logits, minlength=len(rows))
        return np.divide(totals, counts, out=np.full(len(rows), np.nan), where=counts > 0)


def fit_scorer(table: ClipTable, measured: Measured, rows: np.ndarray, options: FitOptions) -> Scorer:
    """Fit on the windows of `rows` (indices) and the pairs that were made from one of them.

    Raises:
        UserError: `options.head_weights` names a front end that the detector lacks.
    """
    for name in options.head_weights:
        if name not in measured.clips:
            raise UserError(f"convex.head_weights names {name}; expected one of {', '.join(measured.clips)}")
    rows, pairs = np.asarray(rows), np.flatnonzero(np.isin(table.pair_rows, rows))
    windows = np.flatnonzero(np.isin(measured.row, rows))
    clips, heads = table.clips[measured.row[windows]], {}
    for name, channels in measured.clips.items():
        halves = [(measured.real[name][c][pairs], measured.fake[name][c][pairs]) for c in FITTED]
        head = fit_head(
            [channels[c][windows] for c in FITTED],
            clips,
            halves if len(pairs) and options.pair_weight > 0 else [],
            options,
        )
        heads[name] = head.times(options.head_weights.get(name, 1.0))
    return Scorer(heads)


def out_of_fold(
    table: ClipTable,
    measured: Measured,
    scope: np.ndarray,
    folds: int,
    options: FitOptions,
    unheard: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Channel to scores of shape (rows,), NaN outside `scope` (a mask over rows).

    Families and campaigns named in `unheard` are scored, and never fitted on, in whichever fold they are.

    What a fold holds out is held out with all that shares a speaker with its real clips: copies of their voices, and
    pairs made from them.
    """
    scores = {channel: np.full(len(table), np.nan) for channel in MEASURED}
    for fold in range(folds):
        held = scope & (table.fold == fold)
        voices = np.unique(table.clips.speaker[held & (table.clips.label == REAL)])
        rows = scope & ~held & ~np.isin(table.clips.speaker, voices) & ~np.isin(table.clips.kind, unheard)
        scorer = fit_scorer(table, measured, np.flatnonzero(rows), options)
        for channel in MEASURED:
            scores[channel][held] = scorer.score(measured, np.flatnonzero(held), channel)
    return scores
