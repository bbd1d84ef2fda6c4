"""What held-out generators, channels and left-out recordings say, as it goes into results.json."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.intervals import Estimate
from evaluation.metrics import roc_auc
from judging.clips import ScoredClips
from judging.judge import estimates
from judging.record import Across, FalseAlarms, Families, Strangers
from training.clip_table import ClipTable
from training.convex import FAKE, REAL
from training.statistics import MEASURED

_REPORTED = ("roc_auc", "recall_real", "recall_fake")
_RESAMPLES = 1000
UNPAIRED = " without pairs"  # ends the name of a channel scored by heads that were fitted without pairs

Scores = dict[str, np.ndarray]  # channel -> (rows,), NaN where a row was not scored


def by_family(table: ClipTable, scores: Scores, unpaired: Scores | None) -> Families:
    """Each generator family against the real clips of its fold, when neither was fitted on: ROC-AUC by channel.

    With `unpaired`, also by the heads that were fitted without pairs, without intervals.
    """
    rows = []
    known = ~np.isnan(scores[MEASURED[0]])
    for family in sorted({str(k) for k in table.clips.kind[table.clips.label == FAKE]}):
        member = (table.clips.label == FAKE) & (table.clips.kind == family) & known
        if not member.any():
            continue
        real = (table.clips.label == REAL) & np.isin(table.fold, np.unique(table.fold[member])) & known
        chosen, channels = member | real, {}
        for channel in MEASURED:
            channels[channel] = _judged(table, scores[channel], chosen, 0.0, ("roc_auc",))
            if unpaired is not None:
                value = roc_auc(unpaired[channel][chosen], table.clips.label[chosen])
                channels[channel + UNPAIRED] = {"roc_auc": Estimate(value)}
        rows.append(Across(family, int(real.sum()), int(member.sum()), channels))
    mean = {c: float(np.mean([row.channels[c]["roc_auc"].value for row in rows])) for c in rows[0].channels}
    return Families(tuple(rows), mean)


def by_channel(table: ClipTable, scores: Scores, rows: np.ndarray, threshold: float, name: str) -> Across:
    """Each channel's metrics over the masked `rows` at `threshold`."""
    rows = rows & ~np.isnan(scores[MEASURED[0]])
    return Across(
        name,
        int((rows & (table.clips.label == REAL)).sum()),
        int((rows & (table.clips.label == FAKE)).sum()),
        {channel: _judged(table, scores[channel], rows, threshold) for channel in MEASURED},
    )


def without_published(table: ClipTable, scores: Scores, published: Sequence[str], threshold: float) -> Strangers:
    """What heads that met no published sample say of these: by family, and all against all real clips."""
    heard = (table.clips.label == REAL) | np.isin(table.clips.kind, published)
    alone = {channel: np.where(heard, values, np.nan) for channel, values in scores.items()}
    everything = np.ones(len(table), dtype=bool)
    return Strangers(
        by_family(table, alone, None), by_channel(table, alone, everything, threshold, "published samples")
    )


def worst_false_alarms(table: ClipTable, scores: Scores, threshold: float) -> FalseAlarms:
    """The fold and channel in which most real clips would be called fake."""
    found = []
    for channel in MEASURED:
        for fold in np.unique(table.fold):
            real = (table.clips.label == REAL) & (table.fold == fold) & ~np.isnan(scores[channel])
            if real.any():
                share = float((scores[channel][real] >= threshold).mean())
                found.append(FalseAlarms(int(fold) + 1, channel, share, int(real.sum())))
    return max(found, key=lambda one: one.rate)


def by_generator(table: ClipTable, scores: Scores, rows: np.ndarray) -> tuple[Across, ...]:
    """ROC-AUC of each generator among the masked `rows` against all real clips among them."""
    real = rows & (table.clips.label == REAL)
    names = np.array([g or "unknown" for g in table.rows["generator"]])
    found = []
    for name in sorted(set(names[rows & ~real])):
        member = rows & (names == name) & (table.clips.label == FAKE)
        channels = {c: _judged(table, scores[c], member | real, 0.0, ("roc_auc",)) for c in MEASURED}
        found.append(Across(str(name), int(real.sum()), int(member.sum()), channels))
    return tuple(found)


def _judged(
    table: ClipTable,
    scores: np.ndarray,
    rows: np.ndarray,
    threshold: float,
    names: Sequence[str] = _REPORTED,
) -> dict[str, Estimate]:
    """Metrics with 95 % intervals that resample speakers and voices."""
    clips = ScoredClips.of(scores[rows], table.clips.label[rows], {})
    return estimates(clips, threshold, names, _RESAMPLES, table.clips.speaker[rows])
