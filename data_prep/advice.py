"""What to do about a finding of the audit, given what the build of the dataset has done already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data_prep.probes import EVERYTHING

_TOGETHER = "a combination of the measurements gives the class away: start with the probes above that are highest"
_ORIGINAL = (
    "the classes come from different containers, codecs, rates or channels, as report.json has them; whether a trace "
    "of that is left to hear, the other probes say. Add recordings of both kinds to both classes"
)


@dataclass(frozen=True)
class Built:
    """The options of a dataset's build that the advice depends on; `known` is False where no report.json tells them."""

    known: bool = False
    equalise: frozenset[str] = frozenset()
    band_hz: float | None = None
    min_s: float | None = None
    max_s: float | None = None
    group_by: frozenset[str] = frozenset()
    leaks: str | None = None
    dealt_anew: bool = False

    @classmethod
    def of_report(cls, report: Mapping[str, Any]) -> Built:
        """From report.json; options that it lacks count as not used."""
        options = report.get("options") or {}
        equalise, chunking, splits = (options.get(key) or {} for key in ("equalise", "chunking", "splits"))
        return cls(
            known=bool(options),
            equalise=frozenset(equalise.get("steps") or ()),
            band_hz=equalise.get("band_hz"),
            min_s=chunking.get("min_s"),
            max_s=chunking.get("max_s"),
            group_by=frozenset(splits.get("group_by") or ()),
            leaks=splits.get("leaks"),
            dealt_anew=splits.get("keep_corpus_splits") is False,
        )


def probe_advice(probe: str, built: Built) -> str:
    """What to do about a raised probe, by its name. What the build applied already is not advised again."""
    if probe == EVERYTHING:
        return _TOGETHER
    if probe == "duration":
        if built.known:
            return (
                f"both classes were cut with --min-s {built.min_s:g} and --max-s {built.max_s:g}, and their lengths "
                "still differ: build again with a smaller --max-s, or crop to one length in training"
            )
        return "cut both classes with the same --min-s and --max-s, or crop to one length in training"
    if probe == "original format":
        missing = [step for step in ("band", "codec") if step not in built.equalise]
        if not missing:
            return f"{_ORIGINAL}; --equalise band and codec were applied"
        return f"{_ORIGINAL}, or build again with --equalise {' '.join([*sorted(built.equalise), *missing])}"
    step, applied = _EQUALISED[probe]
    if step not in built.equalise:
        more = " --band-hz set below the narrower class" if probe == "bandwidth" else ""
        return f"build again with --equalise {' '.join([*sorted(built.equalise), step])}{more}"
    band = f" {built.band_hz:g}" if built.band_hz is not None else ""
    return f"--equalise {step} was applied, and a difference is left: {applied.format(band=band)}"


# Probe → the step of --equalise that is meant for it, and what to do where that was applied and did not suffice.
_EQUALISED = {
    "leading silence": ("trim", "trim leaves what --min-s needs, so lower that, or start at random places in training"),
    "trailing silence": ("trim", "trim leaves what --min-s needs, so lower that, or crop at random places in training"),
    "level": ("level", "level is held back where peaks would clip; draw the gain at random in training"),
    "peak": ("level", "look for clipping or limiting in the recordings of one class"),
    "DC offset": ("band", "see its size in the histogram, and take each clip's mean away before the model"),
    "noise floor": ("level", "add recordings from other rooms to both classes, or noise in training"),
    "bandwidth": ("band", "build again with --band-hz below the{band} Hz of this build, and below the narrower class"),
}


def leak_advice(kind: str, built: Built) -> str:
    """What to do about sources, speakers or audio in several splits."""
    if kind == "source":
        return "chunks of one recording must share a split: build from the recordings again"
    if kind == "near duplicate":
        return "the same audio is trained on and tested with: build again with all copies among the inputs"
    meaning = "test measures how well voices are remembered: "
    if built.known and kind not in built.group_by:
        return f"{meaning}the build was asked to keep sources together only; build again with --group-by source speaker"
    if built.known and (built.dealt_anew or built.leaks == "drop"):
        return f"{meaning}the build kept speakers together, so look for what changed the dataset since"
    return f"{meaning}build again with --leaks drop or --splits"
