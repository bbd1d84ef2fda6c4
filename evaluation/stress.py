"""The same clips through telephone lines, codecs, rooms and noise, judged at the same threshold."""

from __future__ import annotations

import csv
import hashlib
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.channels.conditions import BENIGN, CONDITIONS, Condition
from deepfake.dataset import read_splits
from deepfake.errors import UserError
from deepfake.judging import figures
from deepfake.judging.clips import ScoredClips
from deepfake.judging.judge import SHOWN, Judge, compare, estimates
from deepfake.judging.report import ConditionResult, StressRecord, System, write_stress_json
from deepfake.judging.stability import Stability, moved, stability
from deepfake.judging.tables import stress_table
from deepfake.metrics.intervals import Difference, Estimate
from deepfake.scoring.detector import Detector
from evaluation.commands import judge_of
from evaluation.options import StressOptions
from evaluation.score_dataset import NothingScored, score_rows

CLEAN = "clean"
# A condition fails when balanced accuracy falls by this much and the interval of the fall excludes no fall at all.
MAX_DROP = 0.05
_NOTHING = Estimate(None, warning="no clip could be scored")
_NO_CHANGE = Difference(None, None, _NOTHING)


class Channel:
    """One condition as a change of samples, in any number of threads; counts what it heard and hashes what it made."""

    def __init__(self, condition: Condition, seed: int) -> None:
        self.condition, self.seed = condition, seed
        self.heard_s = self.busy_s = 0.0
        self._lock = threading.Lock()
        self._digests: list[bytes] = []

    def __call__(self, samples: np.ndarray, name: str) -> np.ndarray:
        start = time.thread_time()
        changed = self.condition.apply(samples, self.seed, name)
        busy_s = time.thread_time() - start
        digest = hashlib.sha256(np.ascontiguousarray(changed)).digest()
        with self._lock:
            self.busy_s += busy_s
            self.heard_s += len(samples) / SAMPLING_RATE
            self._digests.append(digest)
        return changed

    @property
    def digest(self) -> str:
        """Of all that was made, in whatever order."""
        return hashlib.sha256(b"".join(sorted(self._digests))).hexdigest()


def stress(arguments: StressOptions) -> int:
    """Run the conditions and write stress.json, stress.csv and stress.png."""
    conditions = chosen(arguments.conditions)
    splits = read_splits(arguments.dataset)
    if arguments.split not in splits:
        raise UserError(f"{arguments.dataset} has no split {arguments.split}; it has {', '.join(splits)}")
    rows = sampled(splits[arguments.split], arguments.max_clips, arguments.seed)
    detector = Detector.from_options(arguments.scoring)
    judge = judge_of(detector, splits.get("validation") if arguments.split != "validation" else None)
    channels = [Channel(condition, arguments.seed) for condition in conditions]
    scored = {c.condition.name: _scored(detector, rows, c) for c in channels}
    results = compare_conditions(channels, scored, judge, arguments.resamples)
    name = Path(arguments.model).resolve().name if Path(arguments.model).exists() else arguments.model
    result = StressRecord(
        system=System(name),
        split=arguments.split,
        clips=len(rows),
        seed=arguments.seed,
        resamples=arguments.resamples,
        max_drop=MAX_DROP,
        threshold=judge.threshold,
        conditions=results,
        first_failures=first_failures(results),
        stability=_over_benign(conditions, scored, judge),
    )
    write(result, arguments.output)
    print(stress_table(result))
    print(f"numbers   {arguments.output / 'stress.json'}\npicture   {arguments.output / 'stress.png'}")
    heard, busy = (sum(getattr(c, key) for c in channels) for key in ("heard_s", "busy_s"))
    print(f"channels: {heard:.0f} s of audio at {heard / max(busy, 1e-9):.0f} times realtime", file=sys.stderr)
    return 0


def _over_benign(
    conditions: Sequence[Condition], scored: dict[str, ScoredClips | None], judge: Judge
) -> Stability | None:
    benign = {one.name: scored[one.name] for one in conditions if one.benign}
    return stability(scored[CLEAN], benign, judge.threshold.value)


def _scored(detector: Detector, rows: Dataset, channel: Channel) -> ScoredClips | None:
    """None when the condition leaves no clip that can be scored."""
    try:
        return score_rows(detector, rows, channel.condition.name, channel)
    except NothingScored:
        if channel.condition.name == CLEAN:
            raise
        return None


def chosen(names: Sequence[str] | None) -> list[Condition]:
    """The conditions named, by name, family or "benign", with clean first; all of them without names.

    Raises:
        UserError: a name that is neither.
    """
    if not names:
        return list(CONDITIONS)
    known = {BENIGN} | {word for c in CONDITIONS for word in (c.name, c.family)}
    unknown = [name for name in names if name not in known]
    if unknown:
        families = ", ".join(dict.fromkeys(c.family for c in CONDITIONS))
        raise UserError(f"there is no condition {unknown[0]}; families are {families}, and single ones such as mp3_16k")
    benign = BENIGN in names
    return [c for c in CONDITIONS if c.name == CLEAN or {c.name, c.family} & set(names) or (benign and c.benign)]


def sampled(rows: Dataset, most: int | None, seed: int) -> Dataset:
    """At most `most` clips, drawn with `seed`, in their order."""
    if most is None or most >= len(rows):
        return rows
    if most < 2:
        raise UserError(f"--max-clips is {most}; expected 2 or more")
    return rows.select(sorted(np.random.default_rng(seed).choice(len(rows), most, replace=False).tolist()))


def compare_conditions(
    channels: Sequence[Channel], scored: dict[str, ScoredClips | None], judge: Judge, resamples: int
) -> tuple[ConditionResult, ...]:
    """One row a condition: metrics with intervals, the change against clean, and whether it fails.

    Args:
        scored: by the name of the condition; None where no clip could be scored, which is a failure.
    """
    clean = scored[CLEAN]
    result = []
    for channel in channels:
        condition, clips = channel.condition, scored[channel.condition.name]
        metrics, change, fails, unscored = dict.fromkeys(SHOWN, _NOTHING), _NO_CHANGE, True, len(clean) + clean.unscored
        human = fakes = None
        if clips is not None:
            metrics = estimates(clips, judge.threshold.value, SHOWN, resamples)
            # A channel may leave clips without speech that can be heard: the change is that of the others.
            change = compare(clips, judge, clean, judge, resamples, ("balanced_accuracy",))["balanced_accuracy"]
            lost = len(set(clips.labels)) < len(set(clean.labels))
            if condition.name != CLEAN:
                human, fakes = (moved(clean, clips, judge.threshold.value, label) for label in (0, 1))
            fails, unscored = lost or _fails(change.difference, metrics["balanced_accuracy"]), clips.unscored
        result.append(
            ConditionResult(
                name=condition.name,
                family=condition.family,
                label=condition.label,
                unscored=unscored,
                metrics=metrics,
                change=change,
                fails=fails,
                audio_sha256=channel.digest,
                benign=condition.benign,
                human=human,
                fakes=fakes,
            )
        )
    return tuple(result)


def _fails(change: Estimate, accuracy: Estimate) -> bool:
    """A clear fall, or a balanced accuracy (with its lower end) that cannot be told from guessing.

    Calling every clip the same gives exactly 0.5, without an interval as no resample moves it.
    """
    fell = change.value is not None and change.high is not None and change.value <= -MAX_DROP and change.high < 0
    lowest = accuracy.value if accuracy.low is None else accuracy.low
    return fell or (lowest is not None and lowest <= 0.5)


def first_failures(rows: Sequence[ConditionResult]) -> dict[str, str | None]:
    """The mildest failing condition of each family, None where none fails; families in the order of the catalogue."""
    families = dict.fromkeys(row.family for row in rows)
    return {f: next((row.name for row in rows if row.family == f and row.fails), None) for f in families}


def _moves(row: ConditionResult) -> list[float | None]:
    human = [None] * 4
    if row.human is not None:
        human = [row.human.flips.value, row.human.wronged.value, row.human.shift.value, row.human.deviation]
    return [*human, None if row.fakes is None else row.fakes.wronged.value]


def write(result: StressRecord, folder: Path) -> None:
    """stress.json, stress.csv and stress.png: the same bytes for the same scores."""
    folder.mkdir(parents=True, exist_ok=True)
    write_stress_json(folder / "stress.json", result)
    with (folder / "stress.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        ends = [f"{key}{end}" for key in SHOWN for end in ("", "_low", "_high")]
        told = ["human_flipped", "human_accused", "human_shift", "human_deviation", "fakes_lost"]
        writer.writerow(["condition", "family", *ends, "change_of_balanced_accuracy", "unscored", "fails", *told])
        for row in result.conditions:
            found = [row.metrics[key] for key in SHOWN]
            values = [value for one in found for value in (one.value, one.low, one.high)]
            last = (row.change.difference.value, row.unscored, row.fails)
            writer.writerow([row.name, row.family, *values, *last, *_moves(row)])
    height = 1.3 + 0.21 * len(result.conditions)
    figures.save_grid(folder / "stress.png", lambda axes: figures.stress(axes, result), (10.0, height), 3)
