"""What the comparison says about one system, from its scores of the test clips."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from deepfake.judging.clips import FACTS, ScoredClips
from deepfake.judging.judge import Judge, estimates
from deepfake.judging.run import RunRecord
from deepfake.metrics.intervals import Estimate
from deepfake.metrics.paired import paired_difference
from deepfake.scoring.detector import Detector

SHOWN = ("accuracy", "f1_fake", "recall_fake", "recall_real", "balanced_accuracy", "roc_auc", "eer")
SEEN, HELD_OUT = "generators in training", "generators held out"
UNTRAINED = ", as it is"  # ends the name of a detector that was not trained here
RARE = "other held-out ones"
Speed = dict[str, float | None]  # of training an epoch in seconds, of scoring in × realtime
FEW_FAKES = 10  # generators with fewer clips are pooled


@dataclass(frozen=True)
class Fakes:
    """Part of the fakes of the test split: how many, and their ROC-AUC against all its real clips."""

    clips: int
    roc_auc: Estimate


@dataclass(frozen=True)
class Row:
    """One system. Values are None where they do not apply or the data do not define them.

    Attributes:
        measured: by metric, with 95 % intervals over speakers and voices, or recordings.
        over_constant: accuracy and balanced accuracy minus those of the constant classifier, likewise.
        generators: parts of the fakes by name.
    """

    name: str
    parameters: int | None = None
    epochs: float | None = None
    epoch_s: float | None = None
    search_s: float | None = None
    realtime: float | None = None
    measured: dict[str, Estimate] = field(default_factory=dict)
    over_constant: dict[str, Estimate] = field(default_factory=dict)
    generators: dict[str, Fakes] = field(default_factory=dict)
    error: str | None = None

    def summary(self) -> str:
        """One line for a terminal."""
        if self.error:
            return f"{self.name}: failed: {self.error}"
        return f"{self.name}: ROC-AUC {self.measured['roc_auc'].value:.3f}"


def trained_row(
    name: str,
    results: RunRecord,
    scores: np.ndarray,
    speed: dict[str, float | None],
    test: Dataset,
    seen: set[str] | None,
) -> Row:
    """A system trained here.

    Args:
        results: its results.json.
        scores: fake logits of the test clips, shape (clips,), NaN for those without a score.
        speed: {"realtime", "epoch_s"}.
        seen: generators of the training split; None: the dataset does not know them.
    """
    facts = results.facts
    return Row(
        name,
        parameters=facts.model.parameters,
        epochs=facts.training.epochs,
        search_s=(facts.search or {}).get("seconds"),
        **speed,
        **_judged(scores, results.judgement.threshold.value, test, seen),
    )


def untrained_row(
    name: str,
    detector: Detector,
    scores: np.ndarray,
    speed: dict[str, float | None],
    test: Dataset,
    seen: set[str] | None,
) -> Row:
    """A detector as it was found, at its own threshold."""
    limit = Judge.of_checkpoint({"threshold": detector.threshold}).threshold.value
    parameters = sum(p.numel() for p in detector.checkpoint.model.parameters())
    return Row(name + UNTRAINED, parameters=parameters, **speed, **_judged(scores, limit, test, seen))


def constant_row(test: Dataset, seen: set[str] | None) -> Row:
    """Always the class that is more frequent in the test split: the best that can be done without listening."""
    threshold = _constant_threshold(test["label"])
    found = _judged(np.zeros(len(test)), threshold, test, seen)
    found["measured"]["eer"] = Estimate(None)  # it ranks nothing
    return Row("always fake" if threshold == 0 else "always real", **found)


def score_column(path: Path, expected: int) -> np.ndarray:
    """Fake logits of `scores_test.csv`, in the order of the test split's rows; NaN for clips without a score.

    Raises:
        ValueError: another number of clips than expected.
    """
    with path.open(newline="", encoding="utf-8") as file:
        scores = np.array([float(row["fake_logit"] or "nan") for row in csv.DictReader(file)])
    if len(scores) != expected:
        raise ValueError(f"{path.name} holds {len(scores)} scores, the test split {expected} clips")
    return scores


def _judged(scores: np.ndarray, threshold: float, test: Dataset, seen: set[str] | None) -> dict[str, Any]:
    test, scores = test.select(np.flatnonzero(np.isfinite(scores))), scores[np.isfinite(scores)]
    clips = ScoredClips.of(scores, test["label"], {c: test[c] for c in FACTS if c in test.column_names})
    groups = clips.groups("speakers") or clips.groups()
    fixed, limit = np.zeros(len(clips)), _constant_threshold(clips.labels)
    over = paired_difference(
        clips.scores, fixed, clips.labels, groups, threshold, limit, ("accuracy", "balanced_accuracy")
    )
    return {
        "measured": estimates(clips, threshold, SHOWN, groups=groups),
        "over_constant": {name: found.difference for name, found in over.items()},
        "generators": {} if seen is None else _by_generator(clips, threshold, seen),
    }


def _constant_threshold(labels: Sequence[int]) -> float:
    """What makes scores of 0 the more frequent class: a clip is called fake at score >= threshold."""
    return 0.0 if 2 * int(np.sum(labels)) >= len(labels) else 1.0


def _by_generator(clips: ScoredClips, threshold: float, seen: set[str]) -> dict[str, Fakes]:
    """ROC-AUC of the fakes of seen generators, of held-out ones, and of each held-out one, against all real clips."""
    names = np.array([str(g) for g in clips.facts["generator"]])
    fake = clips.labels == 1
    new = fake & ~np.isin(names, sorted(str(g) for g in seen))
    parts = {SEEN: fake & ~new, HELD_OUT: new}
    counts = {name: int((names[new] == name).sum()) for name in sorted(set(names[new]))}
    large = [name for name in sorted(counts, key=counts.get, reverse=True) if counts[name] >= FEW_FAKES]
    parts |= {name: new & (names == name) for name in large}
    parts[RARE] = new & ~np.isin(names, large)
    found = {}
    for name, part in parts.items():
        if part.any():
            chosen = clips.take(part | ~fake)
            groups = chosen.groups("speakers") or chosen.groups()
            auc = estimates(chosen, threshold, ("roc_auc",), groups=groups)["roc_auc"]
            found[name] = Fakes(int(part.sum()), auc)
    return found
