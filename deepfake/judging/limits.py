"""What the evidence about a detector cannot carry, each gap under its own heading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from deepfake.judging.record import NOT_CHOSEN, OUT_OF_DOMAIN, TEST, VALIDATION, Audit, Gap, JudgedSet
from deepfake.text import number

# After 20 recordings without a single error, 14 % may still be wrong (exact binomial, 95 %); below, even more.
MIN_RECORDINGS = 20
# By which the detector is compared with its base model: the first that is defined for both.
_COMPARED = (("roc_auc", "ROC-AUC"), ("accuracy", "accuracy"))


@dataclass(frozen=True)
class Evidence:
    """Everything known about how the numbers of a detector came about.

    Attributes:
        sets: those that were judged.
        audit: what the judged split shares with those learnt from, and what these hold.
        base: the sets as the checkpoint it started from does on them.
        threshold_split: where the decision threshold was chosen; `NOT_CHOSEN` for a default, None when nobody
            recorded it.
        thresholds: the threshold by the place that names one; they must agree.
        fine_tuned: it started from another checkpoint, which can serve as a control.
        narrowed: it was made narrower after that, and the control is what it was before.
        longest_s: what is scored of a recording, None for all of it.
        unscored, unlabelled: clips left out for want of a score, or of a label.
        missing: facts without which nobody can repeat the training, in words.
        pages_held_out: each clip of validation was judged by a model that had met neither its page nor its generator.
    """

    sets: dict[str, JudgedSet]
    audit: Audit
    base: dict[str, JudgedSet] = field(default_factory=dict)
    threshold_split: str | None = VALIDATION
    thresholds: dict[str, float | str] = field(default_factory=dict)
    fine_tuned: bool = True
    narrowed: bool = False
    longest_s: float | None = None
    unscored: int = 0
    unlabelled: int = 0
    missing: tuple[str, ...] = ()
    pages_held_out: bool = False

    @property
    def roles(self) -> frozenset[str]:
        """The roles that some set has."""
        return frozenset(found.role for found in self.sets.values())

    @property
    def unseen_generators(self) -> frozenset[str] | None:
        """Generators heard in testing that training did not hold; None when either is unknown."""
        heard = frozenset().union(*(s.facts.synthetic for s in self.sets.values() if s.role != VALIDATION))
        known = self.audit.training_generators
        return heard - frozenset(known) if known and heard else None


def gaps(evidence: Evidence) -> list[Gap]:
    """Every gap of the evidence, the gravest first; an empty list means that none of these checks found one."""
    found = [
        *_leaks(evidence), *_threshold(evidence), *_counts(evidence), *_sets(evidence), *_sizes(evidence),
        *_control(evidence), *_rest(evidence),
    ]  # fmt: skip
    return sorted(found, key=lambda gap: not gap.disqualifies)


def _leaks(e: Evidence) -> Iterator[Gap]:
    shared = e.audit.shared_recordings
    if shared:
        text = f"{shared} recordings occur in more than one split: the results are inflated."
        yield Gap("Leaked split", text, True)
    elif e.audit.split_unit == "clip":
        yield Gap(
            "Leaked split",
            "The splits were drawn clip by clip, so clips of one recording are in several of them: the model was "
            "judged on recordings it had heard, and the results are inflated.",
            True,
        )
    elif shared is None or e.audit.split_unit is None:
        text = "Which recording a clip was cut from is not recorded: leakage between the splits cannot be excluded."
        yield Gap("Recordings unknown", text)
    if speakers := e.audit.shared_speakers:
        text = f"{speakers} speakers of the test clips were also heard in training: new voices may do worse."
        yield Gap("Shared speakers", text)


def _threshold(e: Evidence) -> Iterator[Gap]:
    judged = TEST if TEST in e.roles else VALIDATION
    for name, found in e.sets.items():
        if found.role == judged and e.threshold_split in (name, found.role):
            text = (
                f"The decision threshold was picked on {name}, the very clips these results are from: accuracy, F1, "
                "recall and precision are flattered by it."
            )
            yield Gap("Threshold chosen on the reported clips", text, found.role == TEST)
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
    for name, found in e.sets.items():
        counts, expected = (found.facts.real.clips, found.facts.fake.clips), e.audit.splits.get(name)
        if found.role == OUT_OF_DOMAIN or expected is None or expected == counts:
            continue
        others = [split for split, held in e.audit.splits.items() if held == counts]
        text = (
            f"The {name} results are from {counts[0]} real and {counts[1]} fake clips, but the {name} split holds "
            f"{expected[0]} and {expected[1]}"
        )
        text += f"; these are the counts of {' and '.join(others)}." if others else "."
        yield Gap("Counts do not match the split", text, True)


def _sets(e: Evidence) -> Iterator[Gap]:
    if TEST not in e.roles:
        text = "There is no test split that played no part in choosing the model or the threshold."
        yield Gap("No untouched test set", text)
    if e.pages_held_out:
        return  # other generators, pages and voices are all that was measured
    if OUT_OF_DOMAIN not in e.roles:
        text = "No out-of-domain set was measured: other generators, speakers and channels are untested."
        yield Gap("No out-of-domain set", text)
    if e.unseen_generators is None:
        text = "Whether any measured fake comes from a generator that training did not hold is not recorded."
        yield Gap("Unseen generators unknown", text)
    elif not e.unseen_generators:
        text = "Every measured fake comes from a generator that training held: new ones are untested."
        yield Gap("No unseen generator", text)


def _sizes(e: Evidence) -> Iterator[Gap]:
    for name, found in e.sets.items():
        known = [(facts.recordings, kind) for kind, facts in found.facts.of_classes if facts.recordings is not None]
        if known and min(known)[0] < MIN_RECORDINGS:
            said = " and ".join(f"{n} {kind}" for n, kind in known)
            text = (
                f"The {name} clips are cut from {said} recordings, fewer than {MIN_RECORDINGS} of a "
                "class: too few to say how the model does on new ones."
            )
            yield Gap(f"Too few recordings in {name}", text)
        auc = found.metrics.get("roc_auc")
        if auc is not None and auc.low is not None and auc.low <= 0.5 <= auc.high:
            text = f"The interval of ROC-AUC on {name} holds 0.5: it cannot be told from guessing there."
            yield Gap(f"Not better than guessing on {name}", text)
        if all(estimate.low is None for estimate in found.metrics.values()):
            text = f"The {name} results are stated without an interval: how far they could be off is not said."
            yield Gap(f"No interval in {name}", text)


def _control(e: Evidence) -> Iterator[Gap]:
    if not e.fine_tuned:
        return
    made, making = ("narrowed", "narrowing") if e.narrowed else ("fine-tuned", "fine-tuning")
    for name, found in e.sets.items():
        if found.role == VALIDATION and TEST in e.roles:
            continue
        compared = _beside_base(found, e.base.get(name))
        if compared is None and e.narrowed:
            text = f"The scores on {name} are from before narrowing: what it gained or lost there is unknown."
            yield Gap(f"Not measured again on {name}", text)
            continue
        if compared is None:
            text = (
                f"The checkpoint it was fine-tuned from was not measured on {name}: what fine-tuning gained or lost "
                "there is unknown."
            )
            yield Gap(f"No base control on {name}", text)
            continue
        metric, mine, base = compared
        if mine < base:
            text = (
                f"On {name} its {metric} is {number(mine, 4)}, that of the checkpoint it was {made} from "
                f"{number(base, 4)}: {making} made it worse there."
            )
            yield Gap(f"Worse than its base model on {name}", text)


def _beside_base(found: JudgedSet, base: JudgedSet | None) -> tuple[str, float, float] | None:
    """(metric, the detector's value, the base model's), to four digits; None where the two cannot be compared."""
    for metric, title in _COMPARED:
        mine, other = found.value(metric), None if base is None else base.value(metric)
        if mine is not None and other is not None:
            return title, round(mine, 4), round(other, 4)
    return None


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
