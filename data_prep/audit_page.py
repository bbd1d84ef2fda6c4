"""The page of an audit."""

from __future__ import annotations

from html import escape

import numpy as np

from data_prep.audit_data import MEASURES, Clips
from data_prep.findings import Audit
from deepfake.labels import LABELS
from deepfake.pages.page import html_table, legend, page
from deepfake.pages.plots import histogram, intervals

# Measure → title and unit of its histogram.
TITLES = {
    "duration_s": ("Duration", "seconds"),
    "leading_silence_s": ("Leading silence", "seconds"),
    "trailing_silence_s": ("Trailing silence", "seconds"),
    "silence_share": ("Silence", "share of the clip"),
    "level_dbfs": ("Level of the sound", "dBFS"),
    "peak_dbfs": ("Peak", "dBFS"),
    "dc_offset": ("DC offset", "of full scale"),
    "noise_floor_dbfs": ("Noise floor", "dBFS"),
    "bandwidth_hz": ("Bandwidth", "Hz"),
    "centroid_hz": ("Spectral centroid", "Hz"),
}


def histograms(clips: Clips, measures: tuple[str, ...] = MEASURES) -> str:
    """One histogram per measure, both classes in each."""
    labels = np.array(clips.label)
    figures = []
    for name in measures:
        column = clips.measures[:, MEASURES.index(name)]
        held = {label: column[labels == label] for label in LABELS if (labels == label).any()}
        figures.append(histogram(held, *TITLES[name]))
    return f'{legend()}<div class="grid">{"".join(figures)}</div>'


def audit_page(found: Audit, clips: Clips) -> str:
    """The whole page as HTML. What was not checked comes first, and nothing is green where something was not."""
    raised = [probe for probe in found.probes if probe.raised]
    unknown: dict[str, list[str]] = {}  # why probes say nothing → which
    for probe in found.probes:
        if probe.verdict == "unknown":
            unknown.setdefault(str(probe.note), []).append(probe.name)
    body = [f'<p class="muted">{len(clips):,} clips measured, {found.undecodable} could not be decoded.</p>']
    body.append("<h2>Clips</h2>")
    body.append(html_table(("split", *LABELS), [(split, *counts.values()) for split, counts in found.clips.items()]))
    body.append("<h2>Leakage</h2>")
    body += [f'<p><span class="open">Unchecked</span> {escape(what)}.</p>' for what in found.leaks_not_checked]
    for leak in found.leaks:
        items = "".join(f"<li>{escape(example)}</li>" for example in leak.found)
        if leak.count > len(leak.found):
            items += f"<li>and {leak.count - len(leak.found)} more</li>"
        told = f"{leak.count} × {escape(leak.kind)} in several splits: {escape(leak.advice)}."
        body.append(f'<p><span class="bad">Leak</span> {told}</p><ul>{items}</ul>')
    if told := found.clear_of_leaks:
        colour = "open" if found.leaks_not_checked or found.leaks else "good"
        body.append(f'<p><span class="{colour}">None found</span> {escape(told[0].upper() + told[1:])}.</p>')
    body.append("<h2>Shortcuts</h2><p>How well the class is guessed from measurements alone, by classifiers tested on ")
    body.append("recordings and speakers they have not seen: AUC, 0.5 is chance. Intervals together hold at 95 %.</p>")
    for note, names in unknown.items():
        body.append(f'<p><span class="open">Unchecked</span> {escape(", ".join(names))}: {escape(note)}.</p>')
    body += [f'<p><span class="open">Unchecked</span> {escape(what)}.</p>' for what in found.not_checked]
    shown = [(p.name, p.auc, p.low, p.high, p.raised) for p in found.probes if p.auc is not None and p.low is not None]
    if shown:
        body.append(intervals(shown, "AUC of each probe"))
    for probe in raised:
        body.append(
            f'<p><span class="bad">{escape(probe.verdict)}</span> {escape(probe.name)} '
            f"(AUC {probe.auc:.2f}): {escape(found.advice[probe.name])}.</p>"
        )
    if shown and not raised:
        colour = "open" if unknown or found.not_checked else "good"
        body.append(f'<p><span class="{colour}">None found</span> None of these probes is above chance.</p>')
    body.append(f"<h2>Measurements</h2>{histograms(clips)}")
    return page(f"Audit of {found.dataset}", body)
