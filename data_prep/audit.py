"""`python -m data_prep audit`: does anything but the voice give the class away, and is test really unseen?"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data_prep.audit_data import MEASURES, ORIGINALS, Clips, read_clips
from data_prep.audit_page import audit_page
from data_prep.fingerprint import near_duplicates
from data_prep.labels import LABELS
from data_prep.layouts.base import EXAMPLES
from data_prep.probes import EVERYTHING, Probe, run_probes

EXIT_LEAKAGE = 1
_MAX_PROBED_PER_GROUP = 20  # of one recording or speaker: more teach a probe nothing and slow it down

# Name of a probe → the measures it sees, and what to do when it is raised.
_PROBES = {
    "duration": (
        ("duration_s",),
        "cut both classes with the same --min-s and --max-s, or crop to one length in training",
    ),
    "leading silence": (("leading_silence_s",), "build again with --equalise trim"),
    "trailing silence": (("trailing_silence_s",), "build again with --equalise trim"),
    "level": (("level_dbfs",), "build again with --equalise level"),
    "peak": (("peak_dbfs",), "build again with --equalise level, and look for clipping or limiting in one class"),
    "DC offset": (("dc_offset",), "build again with --equalise band, which removes it"),
    "noise floor": (
        ("noise_floor_dbfs",),
        "build again with --equalise level; if it stays, one class is studio speech: add recordings from other rooms",
    ),
    "bandwidth": (("bandwidth_hz",), "build again with --equalise band --band-hz set below the narrower class"),
}
_ORIGINAL_ADVICE = (
    "the classes come from different containers, codecs, rates or channels: add recordings of both kinds to both "
    "classes, or build again with --equalise band codec"
)
_TOGETHER_ADVICE = (
    "a combination of the measurements gives the class away: start with the probes above that are highest"
)


@dataclass(frozen=True)
class Leak:
    """Something in more than one split. `count` of them; `found` is a few, each with its splits."""

    kind: str
    count: int
    found: list[str]
    advice: str


@dataclass(frozen=True)
class Audit:
    """Everything an audit says about a dataset."""

    dataset: str
    clips: dict[str, dict[str, int]]
    undecodable: int
    leaks: list[Leak]
    probes: list[Probe]
    not_checked: list[str]


def audit(dataset: str, output: Path, max_clips: int = 2000) -> int:
    """Audit a dataset: print the findings, write audit.json and audit.html to `output`.

    Returns:
        `EXIT_LEAKAGE` when a source, speaker or recording is in two splits, else 0; shortcuts do not change it.

    Raises:
        UserError: see `read_clips`.
    """
    clips = read_clips(dataset, max_clips)
    found = audit_clips(clips, Path(dataset).name)
    output.mkdir(parents=True, exist_ok=True)
    answer = asdict(found) | {"advice": {probe.name: advice_of(probe) for probe in found.probes if probe.raised}}
    (output / "audit.json").write_text(json.dumps(answer, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (output / "audit.html").write_text(audit_page(found, clips, advice_of), encoding="utf-8")
    print(summary(found))
    print(f"written to {output / 'audit.html'} and audit.json")
    return EXIT_LEAKAGE if found.leaks else 0


def audit_clips(clips: Clips, name: str) -> Audit:
    """The audit of clips that were measured already."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(LABELS, 0))
    for split, label in zip(clips.split, clips.label, strict=True):
        counts[split][label] += 1
    columns = {"source": clips.source, "speaker": clips.speaker}
    not_checked = [
        f"{kind}s across splits: the dataset does not name any" for kind, told in columns.items() if not any(told)
    ]
    if not any(clips.originals):
        not_checked.append("original container, codec, rate, channels: no report.json beside the dataset")
    if len(set(clips.label)) < 2:
        not_checked.append("shortcuts: the dataset has one class only")
    probes = _probes(clips) if len(set(clips.label)) == 2 else []
    return Audit(name, dict(counts), clips.undecodable, find_leaks(clips), probes, not_checked)


def find_leaks(clips: Clips) -> list[Leak]:
    """Sources, speakers and audio that are in more than one split."""
    leaks = []
    for kind, told, advice in (
        ("source", clips.source, "chunks of one recording must share a split: build from the recordings again"),
        (
            "speaker",
            clips.speaker,
            "test measures how well voices are remembered: build again with --leaks drop or --splits",
        ),
    ):
        places = defaultdict(set)
        for name, split in zip(told, clips.split, strict=True):
            if name:
                places[name].add(split)
        shared = [f"{name} in {', '.join(sorted(held))}" for name, held in places.items() if len(held) > 1]
        if shared:
            leaks.append(Leak(kind, len(shared), shared[:EXAMPLES], advice))
    copies = [m for m in near_duplicates(clips.prints) if clips.split[m.first] != clips.split[m.second]]
    if copies:
        shown = [f"{_place(clips, m.first)} = {_place(clips, m.second)}" for m in copies[:EXAMPLES]]
        advice = "the same audio is trained on and tested with: build again with all copies among the inputs"
        leaks.append(Leak("near duplicate", len(copies), shown, advice))
    return leaks


def _probes(clips: Clips) -> list[Probe]:
    groups = np.array(clips.groups)
    if min(len(set(groups[[held == label for held in clips.label]].tolist())) for label in LABELS) < 5:
        # Few speakers, or one: recordings are then the best units there are.
        groups = np.unique([str(source or index) for index, source in enumerate(clips.source)], return_inverse=True)[1]
    order = np.random.default_rng(0).permutation(len(clips))
    seen: dict[int, int] = defaultdict(int)
    chosen = []
    for index in order:
        seen[int(groups[index])] += 1
        if seen[int(groups[index])] <= _MAX_PROBED_PER_GROUP:
            chosen.append(int(index))
    chosen.sort()
    fake = np.array([LABELS.index(clips.label[index]) for index in chosen])
    return run_probes(_features(clips, chosen), fake, groups[chosen])


def _features(clips: Clips, chosen: Sequence[int]) -> dict[str, np.ndarray]:
    columns = {name: clips.measures[chosen, MEASURES.index(name)] for name in MEASURES}
    features = {probe: np.column_stack([columns[name] for name in names]) for probe, (names, _) in _PROBES.items()}
    if any(clips.originals):
        told = [clips.originals[index] or ("None",) * len(ORIGINALS) for index in chosen]
        kinds = [(column, value) for column in range(len(ORIGINALS)) for value in sorted({row[column] for row in told})]
        features["original format"] = np.array([[float(row[c] == v) for c, v in kinds] for row in told])
    return features


def advice_of(probe: Probe) -> str:
    """What to do about a probe that is raised."""
    if probe.name == EVERYTHING:
        return _TOGETHER_ADVICE
    return _PROBES[probe.name][1] if probe.name in _PROBES else _ORIGINAL_ADVICE


def summary(found: Audit) -> str:
    """The findings as text."""
    lines = []
    for leak in found.leaks:
        lines.append(f"LEAK      {leak.count} x {leak.kind} in several splits, e.g. {leak.found[0]}; {leak.advice}")
    if not found.leaks:
        lines.append("no leak   no source, speaker or audio is in two splits")
    for probe in found.probes:
        if probe.auc is None or probe.low is None:
            lines.append(f"{probe.verdict:<10}{probe.name}: {probe.note}")
        else:
            lines.append(f"{probe.verdict:<10}{probe.name:<22}AUC {probe.auc:.2f} [{probe.low:.2f}, {probe.high:.2f}]")
            if probe.raised:
                lines.append(f"{'':<10}  {advice_of(probe)}")
    lines += [f"unchecked {what}" for what in found.not_checked]
    return "\n".join(lines)


def _place(clips: Clips, index: int) -> str:
    return f"{clips.source[index] or f'clip {index}'} ({clips.split[index]})"
