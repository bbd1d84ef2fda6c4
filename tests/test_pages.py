"""Pages: a palette that can be read, an index of every heading, and nothing from elsewhere."""

from __future__ import annotations

import re

import numpy as np
import pytest

from deepfake.pages.page import INDEX_PLACE, html_table, page, with_index
from deepfake.pages.plots import histogram, intervals
from deepfake.pages.style import DARK, LIGHT, css

WORDS = ("ink", "muted", "real", "fake", "unsure", "good", "bad", "accent")
BEHIND = {"unsure": ("unsure-soft",), "real": ("real-soft",), "fake": ("fake-soft",)}


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb" (WCAG 2.2)."""
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_every_word_can_be_read_on_what_it_stands_on(palette: dict[str, str]) -> None:
    for word in WORDS:
        for ground in ("paper", "soft", "raised", *BEHIND.get(word, ())):
            lower, higher = sorted((luminance(palette[word]), luminance(palette[ground])))
            assert (higher + 0.05) / (lower + 0.05) >= 4.5, (word, ground)


def test_both_palettes_have_every_colour_that_the_style_names() -> None:
    used = set(re.findall(r"var\(--([a-z-]+)\)", css()))
    assert LIGHT.keys() == DARK.keys() >= used


def test_the_index_names_every_heading_and_leads_to_it() -> None:
    headings = ["One", "Two &amp; three", "<em>Four</em>", "Five"]
    document = with_index(INDEX_PLACE + "".join(f"<h2>{heading}</h2><p>text</p>" for heading in headings))
    links = re.findall(r'<a href="#([^"]+)">([^<]*)</a>', document)
    assert [text for _, text in links] == ["One", "Two &amp; three", "Four", "Five"]
    assert [place for place, _ in links] == re.findall(r'<h2 id="([^"]+)">', document)
    assert "nav" not in with_index(INDEX_PLACE + "<h2>One</h2>")  # a short page needs none


def test_a_page_holds_all_it_needs_and_escapes_what_it_is_given() -> None:
    values = {"real": np.arange(5.0), "fake": np.full(5, 2.0)}
    rows = [("<b>", 1_234, 0.5)]
    body = [histogram(values, "T<", "s"), intervals([("a<", 0.6, 0.5, 0.7, True)], "I"), html_table("abc", rows)]
    text = page("a < b", body)
    assert "<title>a &lt; b</title>" in text
    assert "http" not in text
    assert text.count("data:image/png;base64,") == 2
    assert 'alt="T&lt;: median 2 of real clips, median 2 of fake clips"' in text
    assert "<td>&lt;b&gt;</td><td class=n>1,234</td><td class=n>0.5</td>" in text


def test_equal_values_are_drawn_equally() -> None:
    values = {"real": np.linspace(0, 1, 9), "fake": np.zeros(9)}
    assert histogram(values, "T", "s") == histogram(values, "T", "s")
