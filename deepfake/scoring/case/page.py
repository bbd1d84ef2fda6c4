"""case.json → one HTML page that needs nothing beside it and holds nothing that case.json does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from deepfake.pages.page import INDEX_PLACE, page_start, with_index
from deepfake.scoring.case.record import Case, Curve, Finding

_WIDTH, _WAVE, _CHANCE, _GUTTER = 800, 70, 110, 22  # of a picture, its two panels, and the room for its axis
_TONES = {"fake": "fake", "real": "real", "uncertain": "unsure"}
_MOST_PASSAGES = 12


def case_page(case: Case, digest: str) -> str:
    """The page of a report.

    Args:
        digest: SHA-256 of its case.json.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"share": _share, "percent": _percent, "bytes": _bytes, "clock": _clock}
    body = environment.get_template("page.html").render(
        case=case,
        digest=digest,
        picture=lambda found: _picture(found, case.decided.threshold),
        tone=_tone,
        name_of=_name_of,
        passages=_worth_hearing,
        index_place=Markup(INDEX_PLACE),
    )
    # No script: a page that is evidence does nothing by itself.
    return with_index(page_start(case.title) + body + "</main></body></html>\n")


def _tone(found: Finding) -> str:
    """The class of a verdict's colour. What the words leave open is not coloured by the threshold."""
    return "unsure" if found.headline == "cannot tell" else _TONES.get(found.prediction or "", "unsure")


def _name_of(found: Finding) -> str:
    return "" if found.channel is None else f"channel {found.channel}"


def _worth_hearing(found: Finding) -> Sequence[object]:
    """Passages over the threshold, the highest first."""
    fakes = [one for one in found.passages if one.label == "fake"]
    return sorted(fakes, key=lambda one: (-one.fake_probability, one.start_s))[:_MOST_PASSAGES]


def _picture(found: Finding, threshold: float) -> Markup:
    """Waveform and P(fake) over time as SVG, in the colours of the page whichever they are."""
    curve: Curve = found.curve
    columns = len(curve.loudness)
    top = max(curve.loudness) or 1.0
    x = [(_WIDTH * (i + 0.5)) / columns for i in range(columns)]
    bars: dict[str, list[str]] = {"quiet": [], "real": [], "fake": []}
    for place, loud, p in zip(x, curve.loudness, curve.fake_probability, strict=True):
        half = max(0.5, loud / top * (_WAVE / 2 - 2))
        kind = "quiet" if p is None else "fake" if p >= threshold else "real"
        bars[kind].append(f"M{place:.1f} {_WAVE / 2 - half:.1f}V{_WAVE / 2 + half:.1f}")
    base = _WAVE + 14
    lines, stroke = [], ""
    for place, p in zip(x, curve.fake_probability, strict=True):
        if p is None:
            stroke = ""
            continue
        stroke = f"{'L' if stroke else 'M'}{place:.1f} {base + (1 - p) * _CHANCE:.1f}"
        lines.append(stroke)
    at = base + (1 - threshold) * _CHANCE
    ticks = "".join(
        f'<text x="{_WIDTH * k / 4:.0f}" y="{base + _CHANCE + 16}" text-anchor="{anchor}">'
        f"{_clock(found.duration_s * k / 4)}</text>"
        for k, anchor in enumerate(("start", "middle", "middle", "middle", "end"))
    )
    waves = "".join(f'<path class="{kind}" d="{"".join(held)}"/>' for kind, held in bars.items() if held)
    return Markup(
        f'<svg viewBox="{-_GUTTER} -4 {_WIDTH + _GUTTER} {base + _CHANCE + 26}" role="img" '
        'aria-label="waveform, and P(fake) over time">'
        f'<g class="wave">{waves}</g>'
        f'<rect class="panel" x="0" y="{base}" width="{_WIDTH}" height="{_CHANCE}"/>'
        f'<path class="limit" d="M0 {at:.1f}H{_WIDTH}"/><path class="curve" d="{"".join(lines)}"/>'
        f'<text x="{_WIDTH - 4}" y="{at - 4:.1f}" text-anchor="end">threshold {threshold:.2f}</text>'
        f'<text x="-6" y="{base + 10}" text-anchor="end">1</text>'
        f'<text x="-6" y="{base + _CHANCE}" text-anchor="end">0</text>{ticks}</svg>'
    )


def _share(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _percent(pair: tuple[float, float] | float) -> str:
    """6.3 %, or 3.1 to 6.3 % of two that differ."""
    low, high = (pair, pair) if isinstance(pair, (int, float)) else sorted(pair)
    return f"{100 * low:.1f} %" if low == high else f"{100 * low:.1f} to {100 * high:.1f} %"


def _bytes(size: int) -> str:
    return f"{size:,} bytes"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    if seconds >= 3600:
        return f"{int(minutes) // 60}:{int(minutes) % 60:02d}:{int(rest):02d}"
    return f"{int(minutes)}:{rest:04.1f}"
