"""The tables in the README of a list of clips: `python -m data_prep.list_tables corpora/pages.csv corpora/README.md`.

What stands between the two marks in the README is replaced; a test compares it with the list.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from data_prep.fetch_clip import ListedClip
from data_prep.fetch_list import read_list
from deepfake.errors import UserError, run_command
from deepfake.text import write_text

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
_NOT_KNOWN = "not known"


def tables(clips: Sequence[ListedClip]) -> str:
    """Markdown: clips by kind, year and licence, and the repositories with their clips by class and their licence."""
    return "\n\n".join(
        (
            "### By kind\n\n" + _counted(clips, "kind", lambda clip: clip.kind),
            "### Fakes by year\n\n" + _counted((c for c in clips if c.label == "fake"), "year", lambda clip: clip.year),
            "### By language\n\n"
            + _counted(clips, "language", lambda clip: clip.language, least=50, rest="others, below 50 clips each"),
            "### By licence, as the repository's licence file begins\n\n"
            + _counted(clips, "licence", lambda clip: clip.licence, by_size=True),
            "### Repositories\n\n" + _repositories(clips),
        )
    )


def replaced(readme: str, clips: Sequence[ListedClip]) -> str:
    """`readme` with the tables of `clips` between its marks.

    Raises:
        UserError: it does not hold the two marks once each, in this order.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or END in after or BEGIN in rest:
        raise UserError(
            f"the README does not hold {BEGIN} and, after it, {END}, once each; add them where tables belong"
        )
    return f"{before}{BEGIN}\n{tables(clips)}\n{END}{after}"


def _counted(
    clips: Iterable[ListedClip],
    title: str,
    value: Callable[[ListedClip], object],
    by_size: bool = False,
    least: int = 0,
    rest: str = "",
) -> str:
    """One line a value: clips, hours, generators of fakes, repositories; values below `least` clips share the last."""
    held: dict[str, list[ListedClip]] = defaultdict(list)
    for clip in clips:
        held[_NOT_KNOWN if value(clip) is None else str(value(clip))].append(clip)
    small = [name for name, members in held.items() if len(members) < least]
    for name in small:
        held[rest] += held.pop(name)
    names = sorted(
        held, key=lambda name: (name in (rest, _NOT_KNOWN), -len(held[name]) if by_size or least else 0, name)
    )
    lines = [f"| {title} | clips | hours | generators | repositories |", "|---|---:|---:|---:|---:|"]
    for name in names:
        members = held[name]
        hours = sum(clip.end_s - clip.start_s for clip in members) / 3600
        generators = {clip.generator for clip in members if clip.label == "fake" and clip.generator}
        pages = {clip.page for clip in members}
        lines.append(f"| {_cell(name)} | {len(members):,} | {hours:.1f} | {len(generators):,} | {len(pages):,} |")
    return "\n".join(lines)


def _repositories(clips: Sequence[ListedClip]) -> str:
    held: dict[str, list[ListedClip]] = defaultdict(list)
    for clip in clips:
        held[clip.page].append(clip)
    lines = ["| repository | human | fake | generators | years | licence |", "|---|---:|---:|---:|---|---|"]
    for page in sorted(held, key=str.lower):
        members = held[page]
        counts = Counter(clip.label for clip in members)
        generators = {clip.generator for clip in members if clip.label == "fake" and clip.generator}
        years = sorted({clip.year for clip in members if clip.year is not None})
        licences = ", ".join(sorted({_cell(clip.licence or _NOT_KNOWN) for clip in members}))
        span = "" if not years else str(years[0]) if len(years) == 1 else f"{years[0]}–{years[-1]}"
        link = f"[{page}](https://github.com/{page})"
        lines.append(f"| {link} | {counts['real']} | {counts['fake']} | {len(generators)} | {span} | {licences} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that a table of Markdown shows as it is."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def main(arguments: Sequence[str]) -> int:
    """Rewrite the tables of a README in place.

    Raises:
        UserError: not two arguments, or what `read_list` and `replaced` raise.
    """
    if len(arguments) != 2:
        raise UserError("expected two arguments: the list and the README, e.g. corpora/pages.csv corpora/README.md")
    listed, readme = Path(arguments[0]), Path(arguments[1])
    if not readme.is_file():
        raise UserError(f"there is no {readme}; expected a README that holds {BEGIN} and {END}")
    text = replaced(readme.read_text(encoding="utf-8"), read_list(listed).clips)
    write_text(readme, text)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(lambda: main(sys.argv[1:])))
