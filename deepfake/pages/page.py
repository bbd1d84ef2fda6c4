"""Pieces of a self-contained HTML page in the project's look: head, index, tables, legend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from html import escape, unescape
from pathlib import Path

from deepfake.pages.style import CLASSES, css

COLOURS = CLASSES  # of the two classes
_INDEXED = 4  # headings from which a page has an index
INDEX_PLACE = "<!-- index -->"
_HEADING = re.compile(r"<h2>(.*?)</h2>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


def page(title: str, body: Sequence[str]) -> str:
    """A whole document with an index of its second-level headings. `title` is escaped, `body` is HTML."""
    return with_index(page_start(title) + INDEX_PLACE + "\n".join(body) + page_end())


def page_start(title: str) -> str:
    """A document up to its heading. HTML needs no closing tags, so that a page may grow as long as there is news."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{css()}</style></head><body>"
        '<header><div class="inner"><p class="brand">Speech deepfake detection</p></div></header>'
        f"<main><h1>{escape(title)}</h1>"
    )


def page_end() -> str:
    """The end of a document, with the script that sorts its tables."""
    return f"</main><script>{_sorting()}</script></body></html>\n"


def with_index(document: str) -> str:
    """Give each second-level heading an anchor, and name them all where the document has its mark for an index."""
    titles: list[str] = []

    def anchored(found: re.Match[str]) -> str:
        titles.append(unescape(_TAG.sub("", found[1])).strip())
        return f'<h2 id="part-{len(titles)}">{found[1]}</h2>'

    document = _HEADING.sub(anchored, document)
    links = "".join(f'<li><a href="#part-{n}">{escape(title)}</a></li>' for n, title in enumerate(titles, 1))
    index = f'<nav class="index" aria-label="Contents"><b>Contents</b><ul>{links}</ul></nav>'
    return document.replace(INDEX_PLACE, index if len(titles) >= _INDEXED else "", 1)


def legend() -> str:
    """Which colour is which class."""
    marks = "".join(f'<span><i style="background:{colour}"></i>{label}</span>' for label, colour in CLASSES.items())
    return f'<p class="key">{marks}</p>'


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns that are numbers stand to the right; text is escaped. A table wider than the page is scrolled."""
    numeric = [
        bool(rows) and all(isinstance(row[column], (int, float)) for row in rows) for column in range(len(header))
    ]

    def cell(value: object, tag: str, column: int) -> str:
        text = f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        return f"<{tag}{' class=n' if numeric[column] else ''}>{escape(text)}</{tag}>"

    def line(values: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(cell(value, tag, column) for column, value in enumerate(values)) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table><thead>{line(header, "th")}</thead><tbody>{body}</tbody></table></div>'


@cache
def _sorting() -> str:
    return Path(__file__).with_name("sort.js").read_text(encoding="utf-8")
