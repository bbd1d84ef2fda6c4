"""The page beside the timelines: every recording with its picture, a player, and the passages to listen to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from deepfake.audio.files import readable_name
from deepfake.audio.remote import is_url
from deepfake.pages.page import COLOURS, page_start
from deepfake.scoring.result import Score
from deepfake.scoring.timeline import Segment

_MOST_PASSAGES = 12
_TONES = {"fake": "bad", "real": "good"}  # classes of the page's style
_INTRODUCTION = f"""
<style>section{{border-top:1px solid #dde3ea;padding:1rem 0}}section h2{{margin:0;overflow-wrap:anywhere}}
audio{{width:100%;margin:.4rem 0}}button{{font:inherit;margin:.2rem .4rem .2rem 0;padding:.1rem .6rem;cursor:pointer;
border:1px solid {COLOURS["fake"]};border-radius:1rem;background:#fff}}</style>
<p class="muted">P(fake) is the score of a whole recording; the curve below each waveform says where it comes from. A
passage above the threshold is a place to listen to, not a finding: single passages are judged far less surely than
whole recordings.</p>
<script>function hear(button, second) {{
  const player = button.closest("section").querySelector("audio");
  player.currentTime = second; player.play();
}}</script>
"""


class TimelinePage:
    """Writes `index.html`, one section a recording, each as soon as it is known.

    Args:
        path: the page. Its folder exists and holds the timelines.
        resume: add to the page that is there.
    """

    def __init__(self, path: Path, resume: bool = False) -> None:
        self._path = path
        if not resume or not path.is_file():
            path.write_text(page_start("Timelines") + _INTRODUCTION, encoding="utf-8")

    def add(self, row: Score, stem: Path, picture: bool, found: Sequence[Segment]) -> None:
        """Add a scored recording.

        Args:
            row: its row, without an error.
            stem: its timeline's files without their last ending, see `TimelineWriter`.
            picture: whether there is a PNG.
            found: its segments.
        """
        folder = self._path.parent
        here = os.path.relpath(stem, folder)
        name = readable_name(here)
        parts = [
            f"<section><h2>{escape(name)}</h2>",
            f'<p><b class="{_TONES.get(row.prediction, "muted")}">{row.prediction}</b> '
            f"P(fake) {row.fake_probability:.3f}, threshold {row.threshold:.3f}, "
            f'{row.duration_s:,.1f} s · <a href="{_link(here)}.json">numbers</a></p>',
        ]
        if picture:
            alt = escape(f"Waveform and P(fake) over time of {name}")
            parts.append(f'<img loading="lazy" src="{_link(here)}.png" alt="{alt}">')
        source = quote(row.path, safe=":/?&=%") if is_url(row.path) else _link(os.path.relpath(row.path, folder))
        parts.append(f'<audio controls preload="none" src="{source}"></audio>')
        parts.append(f"<p>{_passages(found)}</p></section>\n")
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(parts))


def _passages(found: Sequence[Segment]) -> str:
    """Buttons that play the passages above the threshold, the most suspicious first."""
    fakes = sorted((s for s in found if s.label == "fake"), key=lambda s: -s.fake_probability)
    if not fakes:
        return "no passage above the threshold"
    buttons = "".join(
        f'<button onclick="hear(this, {s.start_s:.2f})">{s.start_s:.1f}–{s.stop_s:.1f} s · '
        f"{s.fake_probability:.2f}</button>"
        for s in fakes[:_MOST_PASSAGES]
    )
    more = f" and {len(fakes) - _MOST_PASSAGES} more" if len(fakes) > _MOST_PASSAGES else ""
    return f"above the threshold, the highest first: {buttons}{more}"


def _link(path: str) -> str:
    """A relative address; names may hold anything, also bytes that are no text."""
    return quote(os.fsencode(path).replace(os.sep.encode(), b"/"))
