"""Shortcut probes: how well a small classifier tells the classes apart from measurements that are not the voice."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, SplineTransformer
from threadpoolctl import threadpool_limits

from deepfake.metrics.definitions import roc_auc
from deepfake.metrics.intervals import bootstrap_intervals

EVERYTHING = "everything together"
FOLDS = 5
MIN_GROUPS = 2 * FOLDS  # of each class: fewer cannot be held out five times and say anything
SHORTCUT_AUC, STRONG_AUC = 0.6, 0.75
_RESAMPLES = 400
# Chance that any probe of a clean dataset is flagged, shared out over the probes (Bonferroni). Bootstrapped intervals
# of a cross-validated AUC are somewhat too narrow: aiming at 5 % flags a little more.
_FAMILY_ERROR = 0.02


@dataclass(frozen=True)
class Probe:
    """What one probe found. `auc` is cross-validated over groups; its interval resamples groups.

    `verdict`: "none", "slight", "shortcut", "strong", or "unknown" with the reason in `note`.
    """

    name: str
    verdict: str
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    note: str | None = None

    @property
    def raised(self) -> bool:
        return self.verdict in ("slight", "shortcut", "strong")


def run_probes(
    features: Mapping[str, np.ndarray], fake: np.ndarray, groups: Sequence[int], seed: int = 0
) -> list[Probe]:
    """Probe each set of features alone, and all of them together.

    Args:
        features: name → float array of shape (clips, columns).
        fake: 0 or 1 per clip. groups: clips of one group are never in the training and the test part at once.

    Returns:
        one `Probe` per name, then `EVERYTHING`.
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    names = [*features, EVERYTHING]
    smallest = min(len(set(codes[fake == label].tolist())) for label in (0, 1))
    if smallest < MIN_GROUPS:
        note = f"{smallest} independent recordings or speakers in the smaller class, {MIN_GROUPS} are needed"
        return [Probe(name, "unknown", note=note) for name in names]
    # One division into folds for all probes; random, so that no order of the dataset matters.
    folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(fake, fake, codes))
    confidence = 1 - _FAMILY_ERROR / len(names)
    probes = []
    for name in names:
        columns = np.hstack(list(features.values())) if name == EVERYTHING else features[name]
        columns = columns[:, np.ptp(columns, axis=0) > 0] if len(columns) else columns
        if columns.shape[1] == 0:
            probes.append(Probe(name, "none", 0.5, 0.5, 0.5, "the same for every clip"))
            continue
        scores = _held_out_scores(columns, fake, folds, forest=name == EVERYTHING, seed=seed)
        probes.append(_judged(name, scores, fake, codes, confidence))
    return probes


def _held_out_scores(columns: np.ndarray, fake: np.ndarray, folds: list, forest: bool, seed: int) -> np.ndarray:
    """P(fake) of each clip by a classifier that heard no clip of its group."""
    scores = np.zeros(len(fake))
    for train, test in folds:
        if forest:  # combinations: louder and narrower than either class alone
            model = ExtraTreesClassifier(
                60, min_samples_leaf=max(5, len(train) // 100), class_weight="balanced", random_state=seed
            )
        else:  # any smooth curve of each column, so that "all at -23 dB" is seen as well as "louder"
            model = make_pipeline(
                QuantileTransformer(n_quantiles=min(100, len(train)), random_state=seed),
                SplineTransformer(n_knots=6, degree=2, extrapolation="constant"),
                LogisticRegression(C=1.0, class_weight="balanced", max_iter=300),
            )
        with threadpool_limits(1), warnings.catch_warnings():  # tiny matrices: threads only cost
            warnings.simplefilter("ignore")  # a fold where a column is constant
            model.fit(columns[train], fake[train])
        scores[test] = model.predict_proba(columns[test])[:, 1]
    return scores


def _judged(name: str, scores: np.ndarray, fake: np.ndarray, codes: np.ndarray, confidence: float) -> Probe:
    auc = roc_auc(scores, fake)
    interval = bootstrap_intervals(scores, fake, codes, 0.5, ("roc_auc",), _RESAMPLES, confidence)["roc_auc"]
    if interval.low is None or interval.high is None:
        return Probe(name, "unknown", auc, note=interval.warning)
    if interval.low <= 0.5:
        verdict = "none"
    elif auc < SHORTCUT_AUC:
        verdict = "slight"
    else:
        verdict = "strong" if auc >= STRONG_AUC else "shortcut"
    return Probe(name, verdict, auc, interval.low, interval.high)
