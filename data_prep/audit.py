"""`python -m data_prep audit`: does anything but the voice give the class away, and is test really unseen?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from data_prep.advice import leak_advice, probe_advice
from data_prep.audit_data import MEASURES, ORIGINALS, Clips, read_clips
from data_prep.audit_page import audit_page
from data_prep.findings import KINDS, Audit, Leak
from data_prep.fingerprint import near_duplicates
from data_prep.layouts.base import EXAMPLES
from data_prep.probes import Probe, run_probes
from deepfake.labels import LABELS
from deepfake.text import write_json, write_text

EXIT_LEAKAGE = 1
_MAX_PROBED_PER_GROUP = 20  # of one recording or speaker: more teach a probe nothing and slow it down

# Name of a probe → the measures it sees.
_PROBES = {
    "duration": ("duration_s",),
    "leading silence": ("leading_silence_s",),
    "trailing silence": ("trailing_silence_s",),
    "level": ("level_dbfs",),
    "peak": ("peak_dbfs",),
    "DC offset": ("dc_offset",),
    "noise floor": ("noise_floor_dbfs",),
    "bandwidth": ("bandwidth_hz",),
}


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
    answer = asdict(found) | {"not_checked": found.leaks_not_checked + found.not_checked}
    write_json(output / "audit.json", answer)
    write_text(output / "audit.html", audit_page(found, clips))
    print(summary(found))
    print(f"written to {output / 'audit.html'} and audit.json")
    return EXIT_LEAKAGE if found.leaks else 0


def audit_clips(clips: Clips, name: str) -> Audit:
    """The audit of clips that were measured already."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(LABELS, 0))
    for split, label in zip(clips.split, clips.label, strict=True):
        counts[split][label] += 1
    leaks_not_checked, checked = _looked_at(clips)
    not_checked = []
    if not any(clips.originals):
        not_checked.append("original container, codec, rate, channels: no report.json beside the dataset")
    if len(set(clips.label)) < 2:
        not_checked.append("shortcuts: the dataset has one class only")
    probes = _probes(clips) if len(set(clips.label)) == 2 else []
    return Audit(
        dataset=name,
        clips=dict(counts),
        undecodable=clips.undecodable,
        leaks=find_leaks(clips),
        leaks_not_checked=leaks_not_checked,
        checked=checked,
        probes=probes,
        not_checked=not_checked,
        advice={probe.name: probe_advice(probe.name, clips.built) for probe in probes if probe.raised},
    )


def _looked_at(clips: Clips) -> tuple[list[str], list[str]]:
    """What could not be looked for among the leaks, in words, and the kinds that could in every measured clip."""
    told = []
    checked = list(KINDS)
    for kind, names in (("source", clips.source), ("speaker", clips.speaker)):
        nameless = sum(not name for name in names)
        if nameless:
            checked.remove(kind)
            who = (
                "the dataset does not name any"
                if nameless == len(names)
                else f"{nameless} of {len(names)} clips name none"
            )
            told.append(f"{kind}s across splits: {who}")
    if clips.passed_over:
        told.append(f"{clips.passed_over} clips beyond --max-clips: they are in none of these findings")
    if clips.undecodable:
        told.append(f"{clips.undecodable} clips that cannot be decoded: they are in none of these findings")
    return told, checked


def find_leaks(clips: Clips) -> list[Leak]:
    """Sources, speakers and audio that are in more than one split."""
    leaks = []
    for kind, told in (("source", clips.source), ("speaker", clips.speaker)):
        places = defaultdict(set)
        for name, split in zip(told, clips.split, strict=True):
            if name:
                places[name].add(split)
        shared = [f"{name} in {', '.join(sorted(held))}" for name, held in places.items() if len(held) > 1]
        if shared:
            leaks.append(Leak(kind, len(shared), shared[:EXAMPLES], leak_advice(kind, clips.built)))
    copies = [m for m in near_duplicates(clips.prints) if clips.split[m.first] != clips.split[m.second]]
    if copies:
        shown = [f"{_place(clips, m.first)} = {_place(clips, m.second)}" for m in copies[:EXAMPLES]]
        leaks.append(Leak("near duplicate", len(copies), shown, leak_advice("near duplicate", clips.built)))
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
    features = {probe: np.column_stack([columns[name] for name in names]) for probe, names in _PROBES.items()}
    if any(clips.originals):
        told = [clips.originals[index] or ("None",) * len(ORIGINALS) for index in chosen]
        kinds = [(column, value) for column in range(len(ORIGINALS)) for value in sorted({row[column] for row in told})]
        features["original format"] = np.array([[float(row[c] == v) for c, v in kinds] for row in told])
    return features


def summary(found: Audit) -> str:
    """The findings as text, what was not checked first."""
    lines = [f"unchecked {what}" for what in found.leaks_not_checked]
    for leak in found.leaks:
        lines.append(f"LEAK      {leak.count} x {leak.kind} in several splits, e.g. {leak.found[0]}; {leak.advice}")
    if found.clear_of_leaks:
        lines.append(f"no leak   {found.clear_of_leaks}")
    for probe in found.probes:
        if probe.auc is None or probe.low is None:
            lines.append(f"{probe.verdict:<10}{probe.name}: {probe.note}")
        else:
            lines.append(f"{probe.verdict:<10}{probe.name:<22}AUC {probe.auc:.2f} [{probe.low:.2f}, {probe.high:.2f}]")
            if probe.raised:
                lines.append(f"{'':<10}  {found.advice[probe.name]}")
    lines += [f"unchecked {what}" for what in found.not_checked]
    return "\n".join(lines)


def _place(clips: Clips, index: int) -> str:
    return f"{clips.source[index] or f'clip {index}'} ({clips.split[index]})"
