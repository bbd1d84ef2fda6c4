"""The page beside the timelines: every recording with its picture, a player, and the passages to listen to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from deepfake.audio.files import readable_name
from deepfake.audio.remote import is_url
from deepfake.pages.page import page_start
from deepfake.scoring.result import Score
from deepfake.scoring.timeline import Segment

_MOST_PASSAGES = 12
# What an answer is called: "real" is told as the absence of a sign, as in `deepfake.scoring.verdict`.
_ANSWERS = {"fake": "signs of synthesis", "real": "no sign found", "uncertain": "cannot tell"}
_UNSCORED = "unscored"  # class of a section without a score
_STYLE = """
body{background:var(--soft)}
#index{background:var(--raised);border:1px solid var(--line);border-radius:10px;margin:1rem 0;overflow:hidden}
#index form{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;padding:.6rem .8rem}
#index input{font:inherit;flex:1 1 12rem;min-width:0;padding:.25rem .6rem;border:1px solid var(--line);
border-radius:8px;background:var(--soft);color:inherit}
#index .scroll{max-height:26rem;overflow:auto;border:0;border-top:1px solid var(--line);border-radius:0;margin:0}
#index th{position:sticky;top:0;border:0;padding:0;box-shadow:0 1px var(--line)}
#index th button{padding:.35rem .8rem;width:100%;white-space:nowrap}
#index td{overflow-wrap:anywhere}#index td.answer{white-space:nowrap}
section{background:var(--raised);border:1px solid var(--line);border-radius:10px;padding:1rem 1.2rem;margin:1rem 0;
scroll-margin-top:1rem}
section h2{margin:0;font-size:1.1rem;overflow-wrap:anywhere}section p{overflow-wrap:anywhere}
section img{display:block;width:100%;height:auto;border-radius:6px}audio{width:100%;margin:.4rem 0}
.answer{font-weight:600}.fake b,.answer.fake{color:var(--fake)}.real b,.answer.real{color:var(--real)}
.uncertain b,.unscored b,.answer.uncertain,.answer.unscored{color:var(--unsure)}
section button{font:inherit;font-size:.95rem;margin:.2rem .4rem .2rem 0;padding:.25rem .7rem;cursor:pointer;
color:inherit;border:1px solid var(--fake);border-radius:1rem;background:none}
section button:hover,#index th button:hover{background:var(--soft)}
@media screen and (prefers-color-scheme:dark){body{background:var(--paper)}
section img{filter:invert(.9) hue-rotate(180deg)}}
@media(max-width:40rem){main{padding:1rem .6rem}section{padding:.8rem}#index .wide{display:none}
#index td,#index th button{padding:.35rem .5rem}#index td.answer{white-space:normal}
section button{padding:.4rem .8rem}.wave{overflow-x:auto}.wave img{width:44rem;max-width:none}}
"""
_SCRIPT = """
function hear(button, second) {
  const player = button.closest("section").querySelector("audio");
  player.currentTime = second; player.play();
}
const COLUMNS = [["Recording", "name"], ["Answer", "answer"], ["P(fake)", "p"], ["Passages", "passages", "wide"],
  ["Length", "s", "wide"]];
const number = (key) => key !== "name" && key !== "answer";
const clock = (s) => s < 120 ? s.toFixed(1) + " s" : new Date(1000 * s).toISOString().slice(s < 3600 ? 14 : 11, 19);
function shown(section, key) {
  const value = section.dataset[key];
  if (value === undefined) return "";
  return key === "p" ? Number(value).toFixed(3) : key === "s" ? clock(Number(value)) : value;
}
function cell(section, [, key, wide]) {
  const td = document.createElement("td");
  td.className = [number(key) ? "n" : key, key === "answer" ? section.className : "", wide || ""].join(" ").trim();
  const inside = key === "name" ? td.appendChild(document.createElement("a")) : td;
  if (key === "name") inside.href = "#" + section.id;
  inside.textContent = shown(section, key);
  return td;
}
function compare(key, way) {
  return (one, other) => {
    const [a, b] = [one.dataset[key], other.dataset[key]];
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);  // last, either way
    return way * (number(key) ? a - b : a.localeCompare(b, undefined, {numeric: true}));
  };
}
document.addEventListener("DOMContentLoaded", () => {
  const sections = [...document.querySelectorAll("section")];
  if (sections.length < 2) return;
  sections.forEach((section, place) => { section.id = "r" + (place + 1); });
  const index = document.getElementById("index"), table = index.querySelector("table");
  const body = table.createTBody(), head = table.createTHead().insertRow();
  const rows = new Map(sections.map((section) => {
    const row = document.createElement("tr");
    row.append(...COLUMNS.map((column) => cell(section, column)));
    return [section, row];
  }));
  COLUMNS.forEach(([title, key, wide]) => {
    const th = head.appendChild(document.createElement("th")), button = document.createElement("button");
    th.className = [number(key) ? "n" : "", wide || ""].join(" ").trim(); th.scope = "col";
    button.type = "button"; button.textContent = title;
    button.onclick = () => {
      const before = th.getAttribute("aria-sort");
      const way = before ? (before === "ascending" ? -1 : 1) : number(key) ? -1 : 1;
      head.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
      body.append(...sections.sort(compare(key, way)).map((section) => rows.get(section)));
    };
    th.append(button);
  });
  body.append(...rows.values());
  const counts = new Map();
  sections.forEach(({dataset: {answer}}) => counts.set(answer, (counts.get(answer) || 0) + 1));
  index.querySelector("span").textContent =
    sections.length + " recordings · " + [...counts].map(([answer, count]) => answer + " " + count).join(" · ");
  const filter = index.querySelector("input");
  filter.oninput = () => sections.forEach((section) => {
    const text = (section.dataset.name + " " + section.dataset.answer).toLowerCase();
    const hidden = !text.includes(filter.value.toLowerCase());
    section.hidden = rows.get(section).hidden = hidden;
  });
  index.querySelector("form").onsubmit = (event) => event.preventDefault();
  index.hidden = false;
});
"""
_INTRODUCTION = f"""
<style>{_STYLE}</style>
<p class="muted">P(fake) is the score of a whole recording; the curve below each waveform says where it comes from. A
passage above the threshold is a place to listen to, not a finding: single passages are judged far less surely than
whole recordings. Where no sign was found, a fake that shows none may still be one.</p>
<div id="index" hidden><form><span></span><input type="search" placeholder="Show only names or answers with …"
aria-label="Show only names or answers with"></form><div class="scroll"><table></table></div></div>
<script>{_SCRIPT}</script>
"""


class TimelinePage:
    """Writes `index.html`, one section and one line a recording, each as soon as it is known.

    Args:
        path: the page. Its folder exists and holds the timelines.
        resume: add to the page that is there, without the recordings that could not be scored: they are tried again.
    """

    def __init__(self, path: Path, resume: bool = False) -> None:
        self._path = path
        if resume and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if not line.startswith(f'<section class="{_UNSCORED}"')]
            if len(kept) < len(lines):
                unfinished = path.with_name(path.name + ".tmp")
                unfinished.write_text("".join(kept), encoding="utf-8")
                unfinished.replace(path)
            return
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
        name = _name(here)
        above = sorted((s for s in found if s.label == "fake"), key=lambda s: -s.fake_probability)
        answer = _ANSWERS[row.prediction]
        told = {
            "name": name, "answer": answer, "p": f"{row.fake_probability:.6f}", "s": f"{row.duration_s:.3f}",
            "passages": len(above),
        }  # fmt: skip
        parts = [
            f'<section class="{row.prediction}"{_data(told)}><h2>{escape(name)}</h2>',
            f"<p><b>{answer}</b>, P(fake) {row.fake_probability:.3f}, threshold {row.threshold:.3f}, "
            f'{row.duration_s:,.1f} s · <a href="{_link(here)}.json">numbers</a></p>',
        ]
        parts += [f'<p class="muted">{escape(warning)}</p>' for warning in row.warnings]
        if picture:
            alt = escape(f"Waveform and P(fake) over time of {name}")
            parts.append(
                f'<div class="wave"><img loading="lazy" src="{_link(here)}.png" alt="{alt}" width="1200" height="460">'
                "</div>"
            )
        source = quote(row.path, safe=":/?&=%") if is_url(row.path) else _link(os.path.relpath(row.path, folder))
        parts.append(f'<audio controls preload="none" src="{source}"></audio>')
        parts.append(f"<p>{_passages(above)}</p></section>\n")
        self._append(parts)

    def fail(self, name: str, row: Score) -> None:
        """Add a recording that could not be scored, with the reason.

        Args:
            name: what to call it.
            row: its row, with an error.
        """
        told = {"name": _name(name), "answer": "not scored"}
        if row.duration_s is not None:
            told["s"] = f"{row.duration_s:.3f}"
        self._append(
            [
                f'<section class="{_UNSCORED}"{_data(told)}><h2>{escape(told["name"])}</h2>',
                f"<p><b>not scored</b>: {escape(_name(row.error))}</p></section>\n",
            ]
        )

    def _append(self, parts: Sequence[str]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(parts))


def _passages(above: Sequence[Segment]) -> str:
    """Buttons that play the passages above the threshold, given the most suspicious first."""
    if not above:
        return "no passage above the threshold"
    buttons = "".join(
        f'<button onclick="hear(this, {s.start_s:.2f})">{s.start_s:.1f}–{s.stop_s:.1f} s · '
        f"{s.fake_probability:.2f}</button>"
        for s in above[:_MOST_PASSAGES]
    )
    more = f" and {len(above) - _MOST_PASSAGES} more" if len(above) > _MOST_PASSAGES else ""
    return f"above the threshold, the highest first: {buttons}{more}"


def _data(values: dict[str, object]) -> str:
    return "".join(f' data-{key}="{escape(str(value))}"' for key, value in values.items())


def _name(text: str) -> str:
    """On one line, as a section is a line of the page."""
    return " ".join(readable_name(text).splitlines())


def _link(path: str) -> str:
    """A relative address; names may hold anything, also bytes that are no text."""
    return quote(os.fsencode(path).replace(os.sep.encode(), b"/"))
