"""The page of an audit."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from data_prep.audit_data import MEASURES, Clips
from data_prep.labels import LABELS
from data_prep.page import histogram, html_table, intervals, legend, page
from data_prep.probes import Probe

if TYPE_CHECKING:
    from data_prep.audit import Audit

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


def audit_page(found: Audit, clips: Clips, advice_of: Callable[[Probe], str]) -> str:
    """The whole page as HTML."""
    raised = [probe for probe in found.probes if probe.raised]
    body = [f'<p class="muted">{len(clips):,} clips measured, {found.undecodable} could not be decoded.</p>']
    body.append(html_table(("split", *LABELS), [(split, *counts.values()) for split, counts in found.clips.items()]))
    body.append("<h2>Leakage</h2>")
    for leak in found.leaks:
        items = "".join(f"<li>{escape(example)}</li>" for example in leak.found)
        told = f"{leak.count} × {escape(leak.kind)} in several splits: {escape(leak.advice)}."
        body.append(f'<p><span class="bad">Leak</span> {told}</p><ul>{items}</ul>')
    if not found.leaks:
        body.append('<p><span class="good">None</span> No source, speaker or audio is in two splits.</p>')
    body.append("<h2>Shortcuts</h2><p>How well the class is guessed from measurements alone, by classifiers tested on ")
    body.append("recordings and speakers they have not seen: AUC, 0.5 is chance. Intervals together hold at 95 %.</p>")
    shown = [(p.name, p.auc, p.low, p.high, p.raised) for p in found.probes if p.auc is not None and p.low is not None]
    if shown:
        body.append(intervals(shown, "AUC of each probe"))
    for probe in raised:
        body.append(
            f'<p><span class="bad">{escape(probe.verdict)}</span> {escape(probe.name)} '
            f"(AUC {probe.auc:.2f}): {escape(advice_of(probe))}.</p>"
        )
    if shown and not raised:
        body.append('<p><span class="good">None</span> No probe is above chance.</p>')
    if not shown:
        body.append("<p>Not known: see below.</p>")
    notes = [f"{p.name}: {p.note}" for p in found.probes if p.verdict == "unknown"] + found.not_checked
    if notes:
        body.append(f"<h2>Not checked</h2><ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>")
    body.append(f"<h2>Measurements</h2>{histograms(clips)}")
    return page(f"Audit of {found.dataset}", body)
