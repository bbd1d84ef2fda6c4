"""What the evidence about a detector cannot carry, each gap under its own heading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# After 20 recordings without a single error, 14 % may still be wrong (exact binomial, 95 %); below, even more.
MIN_RECORDINGS = 20
NOT_CHOSEN = "none"


@dataclass(frozen=True)
class Gap:
    """One thing the numbers do not show. `disqualifies`: the in-domain numbers must not be quoted as results at all."""

    heading: str
    text: str
    disqualifies: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {"heading": self.heading, "text": self.text, "disqualifies": self.disqualifies}


@dataclass(frozen=True)
class Measured:
    """One measured set: clips and recordings per class (None: unknown), and how it compares with the base model.

    auc: lower and upper end of the interval of ROC-AUC, None without one.
    base: {"metric", "model", "base"} for the most telling metric measured on both, None without a control.
    """

    name: str
    role: str  # "validation", "test" or "out_of_domain"
    real: int | None
    fake: int | None
    recordings_real: int | None = None
    recordings_fake: int | None = None
    intervals: bool = True
    auc: tuple[float, float] | None = None
    base: dict[str, Any] | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything known about how the numbers of a detector came about.

    Attributes:
        measured: the sets that were scored.
        splits: clips (real, fake) per split of the dataset it was trained on.
        split_unit: what the splits were drawn by: "recording", "clip", or None when unknown.
        shared_recordings: recordings in more than one split; None when that cannot be told.
        shared_speakers: speakers in the judged split and in one that was learnt from; None when unknown.
        threshold_split: where the decision threshold was chosen; `NOT_CHOSEN` for a default, None when nobody
            recorded it.
        thresholds: the threshold by the place that names one; they must agree.
        fine_tuned: it started from another checkpoint, which can serve as a control.
        longest_s: what is scored of a recording, None for all of it.
        unseen_generators: generators in the measured sets that training did not hold; None when unknown.
        unscored, unlabelled: clips left out for want of a score, or of a label.
        missing: facts without which nobody can repeat the training, in words.
    """

    measured: tuple[Measured, ...]
    splits: dict[str, tuple[int, int]] = field(default_factory=dict)
    split_unit: str | None = "recording"
    shared_recordings: int | None = 0
    shared_speakers: int | None = None
    threshold_split: str | None = "validation"
    thresholds: dict[str, float | str] = field(default_factory=dict)
    fine_tuned: bool = True
    longest_s: float | None = None
    unseen_generators: tuple[str, ...] | None = None
    unscored: int = 0
    unlabelled: int = 0
    missing: tuple[str, ...] = ()


def gaps(evidence: Evidence) -> list[Gap]:
    """Every gap of the evidence, the gravest first; an empty list means that none of these checks found one."""
    found = [
        *_leaks(evidence), *_threshold(evidence), *_counts(evidence), *_sets(evidence), *_sizes(evidence),
        *_control(evidence), *_rest(evidence),
    ]  # fmt: skip
    return sorted(found, key=lambda gap: not gap.disqualifies)


def _leaks(e: Evidence) -> Iterator[Gap]:
    if e.shared_recordings:
        text = f"{e.shared_recordings} recordings occur in more than one split: the results are inflated."
        yield Gap("Leaked split", text, True)
    elif e.split_unit == "clip":
        yield Gap(
            "Leaked split",
            "The splits were drawn clip by clip, so clips of one recording are in several of them: the model was "
            "judged on recordings it had heard, and the results are inflated.",
            True,
        )
    elif e.shared_recordings is None or e.split_unit is None:
        text = "Which recording a clip was cut from is not recorded: leakage between the splits cannot be excluded."
        yield Gap("Recordings unknown", text)
    if e.shared_speakers:
        text = f"{e.shared_speakers} speakers of the test clips were also heard in training: new voices may do worse."
        yield Gap("Shared speakers", text)


def _threshold(e: Evidence) -> Iterator[Gap]:
    judged = [m for m in e.measured if m.role == "test"] or [m for m in e.measured if m.role == "validation"]
    for m in judged:
        if e.threshold_split == m.name or e.threshold_split == m.role:
            text = (
                f"The decision threshold was picked on {m.name}, the very clips these results are from: accuracy, F1, "
                "recall and precision are flattered by it."
            )
            yield Gap("Threshold chosen on the reported clips", text, m.role == "test")
    if e.threshold_split == NOT_CHOSEN:
        text = "The decision threshold is a default that was chosen on no clips; a chosen one may decide far better."
        yield Gap("Threshold not chosen", text)
    if e.threshold_split is None:
        text = "Nobody recorded on which clips the threshold was chosen: it may have been these."
        yield Gap("Origin of the threshold unknown", text)
    if len(set(e.thresholds.values())) > 1:
        named = ", ".join(f"{value} ({place})" for place, value in e.thresholds.items())
        text = f"{named}: which decisions a user gets depends on which code they run."
        yield Gap("More than one threshold", text)


def _counts(e: Evidence) -> Iterator[Gap]:
    for m in e.measured:
        expected = e.splits.get(m.name)
        if m.role == "out_of_domain" or expected is None or expected == (m.real, m.fake):
            continue
        others = [name for name, counts in e.splits.items() if counts == (m.real, m.fake)]
        text = (
            f"The {m.name} results are from {m.real} real and {m.fake} fake clips, but the {m.name} split holds "
            f"{expected[0]} and {expected[1]}"
        )
        text += f"; these are the counts of {' and '.join(others)}." if others else "."
        yield Gap("Counts do not match the split", text, True)


def _sets(e: Evidence) -> Iterator[Gap]:
    roles = {m.role for m in e.measured}
    if "test" not in roles:
        text = "There is no test split that played no part in choosing the model or the threshold."
        yield Gap("No untouched test set", text)
    if "out_of_domain" not in roles:
        text = "No out-of-domain set was measured: other generators, speakers and channels are untested."
        yield Gap("No out-of-domain set", text)
    if e.unseen_generators is None:
        text = "Whether any measured fake comes from a generator that training did not hold is not recorded."
        yield Gap("Unseen generators unknown", text)
    elif not e.unseen_generators:
        text = "Every measured fake comes from a generator that training held: new ones are untested."
        yield Gap("No unseen generator", text)


def _sizes(e: Evidence) -> Iterator[Gap]:
    for m in e.measured:
        counts = (m.recordings_real, m.recordings_fake)
        known = [n for n in counts if n is not None]
        if known and min(known) < MIN_RECORDINGS:
            said = [f"{n} {kind}" for n, kind in zip(counts, ("real", "fake"), strict=True) if n is not None]
            text = (
                f"The {m.name} clips are cut from {' and '.join(said)} recordings, fewer than {MIN_RECORDINGS} of a "
                "class: too few to say how the model does on new ones."
            )
            yield Gap(f"Too few recordings in {m.name}", text)
        if m.auc is not None and m.auc[0] <= 0.5 <= m.auc[1]:
            text = f"The interval of ROC-AUC on {m.name} holds 0.5: it cannot be told from guessing there."
            yield Gap(f"Not better than guessing on {m.name}", text)
        if not m.intervals:
            text = f"The {m.name} results are stated without an interval: how far they could be off is not said."
            yield Gap(f"No interval in {m.name}", text)


def _control(e: Evidence) -> Iterator[Gap]:
    if not e.fine_tuned:
        return
    tested = any(m.role == "test" for m in e.measured)
    for m in e.measured:
        if m.role == "validation" and tested:
            continue
        if m.base is None:
            text = (
                f"The checkpoint it was fine-tuned from was not measured on {m.name}: what fine-tuning gained or lost "
                "there is unknown."
            )
            yield Gap(f"No base control on {m.name}", text)
        elif m.base["model"] < m.base["base"]:
            text = (
                f"On {m.name} its {m.base['metric']} is {m.base['model']}, that of the checkpoint it was fine-tuned "
                f"from {m.base['base']}: fine-tuning made it worse there."
            )
            yield Gap(f"Worse than its base model on {m.name}", text)


def _rest(e: Evidence) -> Iterator[Gap]:
    if e.longest_s is not None:
        text = f"Only the first {e.longest_s:g} s of a recording are scored; what comes after is never heard."
        yield Gap("Long recordings are cut off", text)
    if e.unscored:
        text = f"{e.unscored} labelled clips have no score and were left out; if they are the hard ones, this flatters."
        yield Gap("Clips without a score", text)
    if e.unlabelled:
        text = f"{e.unlabelled} scores have no label and were left out: how the detector does on those is not counted."
        yield Gap("Scores without a label", text)
    if e.missing:
        yield Gap("Not repeatable", f"Not published or not recorded: {', '.join(e.missing)}.")
