"""The same metrics for parts of a set: each generator, language, speaker group, duration band, container."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.clips import ScoredClips
from evaluation.intervals import bootstrap_intervals
from evaluation.metrics import detection_metrics

SHOWN = ("roc_auc", "eer", "balanced_accuracy", "fpr", "fnr")
UNKNOWN = "unknown"


def breakdowns(clips: ScoredClips, threshold: float, resamples: int) -> dict[str, list[dict[str, Any]]]:
    """Rows per column that knows at least one of its values.

    A generator's row sets its fakes against all real clips of the set. The other rows hold both classes of their part;
    with one class only, ranking metrics are None and the rate of that class is left.
    """
    result = {"generator": _by_generator(clips, threshold, resamples)}
    columns: dict[str, Any] = {name: clips.facts[name] for name in ("language", "speaker_group", "container")}
    columns["duration"] = clips.bands()
    for name, values in columns.items():
        result[name] = _by_value(clips, values, threshold, resamples)
    return {name: rows for name, rows in result.items() if any(row["name"] != UNKNOWN for row in rows)}


def _by_generator(clips: ScoredClips, threshold: float, resamples: int) -> list[dict[str, Any]]:
    names = np.array([str(g) if g else UNKNOWN for g in clips.facts["generator"]])
    real = clips.labels == 0
    rows = []
    for name in sorted(set(names[~real])):
        chosen = real | (names == name) & ~real
        rows.append(_row(name, clips.take(chosen), threshold, resamples))
    return rows


def _by_value(clips: ScoredClips, values: Any, threshold: float, resamples: int) -> list[dict[str, Any]]:
    names = np.array([str(value) if value is not None else UNKNOWN for value in values])
    order = sorted(set(names), key=_by_number)
    return [_row(name, clips.take(names == name), threshold, resamples) for name in order]


def _row(name: str, part: ScoredClips, threshold: float, resamples: int) -> dict[str, Any]:
    values = detection_metrics(part.scores, part.labels, threshold)
    intervals = bootstrap_intervals(part.scores, part.labels, part.groups(), threshold, SHOWN, resamples)
    sources = part.facts["source"]
    recordings = {
        kind: len({s for s, y in zip(sources, part.labels, strict=True) if y == label and s}) or None
        for label, kind in enumerate(("real", "fake"))
    }
    return {
        "name": name,
        "n_real": values["n_real"],
        "n_fake": values["n_fake"],
        "recordings": recordings,
        **{key: {"value": values[key], **intervals[key].to_dict()} for key in SHOWN},
    }


def _by_number(name: str) -> tuple[bool, float, str]:
    """Durations by their first number ("under 3 s" before "3–5 s"), all else by name, unknown last."""
    digits = "".join(c for c in name.split("–")[0] if c.isdigit() or c == ".")
    if name.endswith(" s") or name.endswith("more"):
        return False, float(digits) - 0.5 * name.startswith("under"), name
    return name == UNKNOWN, 0.0, name
