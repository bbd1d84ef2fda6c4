"""Pieces of a self-contained HTML page: histograms and interval plots as SVG, spectrograms as PNG. No dependencies."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

COLOURS = {"real": "#2166ac", "fake": "#d6604d"}  # told apart by colour-blind readers too
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1c2530;background:#fff}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2rem}
table{border-collapse:collapse}td,th{padding:.3rem .8rem;text-align:left;border-bottom:1px solid #dde3ea}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(21rem,1fr));gap:1.2rem}
figure{margin:0}figcaption{font-size:.9rem;color:#4a5866;overflow-wrap:anywhere}svg,img{max-width:100%;height:auto}
.bad{color:#a61b29;font-weight:600}.good{color:#1b7a3d;font-weight:600}.open{color:#4a5866;font-weight:600}.muted{color:#4a5866}
.key span{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em;border-radius:2px}
"""


def page(title: str, body: Sequence[str]) -> str:
    """A whole document. `title` is escaped, `body` is HTML."""
    return page_start(title) + "\n".join(body) + "</body></html>\n"


def page_start(title: str) -> str:
    """A document up to its heading. HTML needs no closing tags, so that a page may grow as long as there is news."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
    )


def legend() -> str:
    marks = "".join(f'<span style="background:{colour}"></span>{label}' for label, colour in COLOURS.items())
    return f'<p class="key muted">{marks}</p>'


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Cells that are numbers stand to the right; text is escaped."""

    def cell(value: object, tag: str) -> str:
        number = ' class="n"' if isinstance(value, (int, float)) else ""
        return f"<{tag}{number}>{escape(f'{value:,.4g}' if isinstance(value, float) else str(value))}</{tag}>"

    lines = ["<tr>" + "".join(cell(value, "th") for value in header) + "</tr>"]
    lines += ["<tr>" + "".join(cell(value, "td") for value in row) + "</tr>" for row in rows]
    return "<table>" + "".join(lines) + "</table>"


def histogram(values: Mapping[str, np.ndarray], title: str, unit: str, bins: int = 40) -> str:
    """Overlaid step histograms, one per class, each as a share of its class.

    Args:
        values: label → float array of shape (clips of the label,).
    """
    everything = np.concatenate(list(values.values()))
    low, high = (float(edge) for edge in np.percentile(everything, (0.5, 99.5)))  # outliers pile up in the end bins
    if high <= low:
        low, high = low - 0.5, high + 0.5
    shares = {}
    for label, held in values.items():
        counts = np.histogram(np.clip(held, low, high), bins=bins, range=(low, high))[0]
        shares[label] = counts / max(1, len(held))
    top = max(float(share.max()) for share in shares.values()) or 1.0
    width, height, left, base = 360, 190, 10, 150
    parts = []
    for label, share in shares.items():
        x = left + np.repeat(np.arange(bins + 1), 2) * (width - 2 * left) / bins
        y = base - np.concatenate(([0], np.repeat(share, 2), [0])) / top * (base - 12)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        colour = COLOURS[label]
        parts.append(
            f'<polygon points="{points}" fill="{colour}" fill-opacity=".28" stroke="{colour}" stroke-width="1.5"/>'
        )
    for position in range(5):
        x, value = left + position * (width - 2 * left) / 4, low + position * (high - low) / 4
        anchor = ("start", "middle", "middle", "middle", "end")[position]
        parts.append(
            f'<text x="{x:.0f}" y="{base + 16}" text-anchor="{anchor}">{escape(_tick(value, high - low))}</text>'
        )
    parts.append(f'<line x1="{left}" y1="{base}" x2="{width - left}" y2="{base}" stroke="#8794a1"/>')
    parts.append(f'<text x="{width / 2:.0f}" y="{base + 34}" text-anchor="middle">{escape(unit)}</text>')
    return _figure(_svg(width, height, title, parts), title)


def intervals(rows: Sequence[tuple[str, float, float, float, bool]], title: str) -> str:
    """Points with intervals between 0 and 1, and a line at 0.5. Rows are (name, value, low, high, marked)."""
    width, left, right, line = 720, 170, 30, 28
    height = line * len(rows) + 44

    def x(value: float) -> float:
        return left + value * (width - left - right)

    bottom = height - 30
    parts = [
        f'<line x1="{x(0.5):.1f}" y1="4" x2="{x(0.5):.1f}" y2="{bottom}" stroke="#8794a1" stroke-dasharray="4 3"/>'
    ]
    for index, (name, value, low, high, marked) in enumerate(rows):
        y, colour = line * index + 20, "#a61b29" if marked else "#4a5866"
        parts.append(f'<text x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        parts.append(
            f'<line x1="{x(low):.1f}" y1="{y}" x2="{x(high):.1f}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(f'<circle cx="{x(value):.1f}" cy="{y}" r="5" fill="{colour}"/>')
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<text x="{x(tick):.1f}" y="{height - 10}" text-anchor="middle">{tick:g}</text>')
    return _figure(_svg(width, height, title, parts), title)


def picture(levels: np.ndarray, caption: str) -> str:
    """A spectrogram as an image: `levels` in [0, 1] of shape (frequencies, frames), low frequencies first."""
    image = np.rint(255 * np.clip(levels, 0, 1)).astype(np.uint8)[::-1]
    data = base64.b64encode(_png(_COLOUR_MAP[image])).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}" style="width:100%;height:11rem">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _png(pixels: np.ndarray) -> bytes:
    """uint8 of shape (height, width, 3) as PNG (ISO 15948): one zlib stream of rows, each led by filter type 0."""
    height, width, _ = pixels.shape
    rows = np.concatenate((np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)), axis=1).tobytes()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def _colour_map() -> np.ndarray:
    """256 colours from black over violet and orange to pale yellow, lightness rising throughout."""
    stops = np.array([(0, 0, 4), (60, 15, 110), (150, 40, 100), (225, 90, 50), (250, 165, 40), (250, 250, 170)], float)
    positions = np.linspace(0, 255, len(stops))
    channels = [np.interp(np.arange(256), positions, stops[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)


_COLOUR_MAP = _colour_map()


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" font-size="12" fill="#4a5866" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _figure(svg: str, caption: str) -> str:
    return f"<figure><figcaption><b>{escape(caption)}</b></figcaption>{svg}</figure>"


def _tick(value: float, span: float) -> str:
    return f"{value:,.{0 if span >= 20 else 1 if span >= 2 else 2 if span >= 0.2 else 4}f}"
