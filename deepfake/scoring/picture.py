"""The picture of a timeline: the waveform coloured by the evidence, and the evidence as a curve."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from deepfake.audio.files import readable_name
from deepfake.pages.style import FAKE, REAL, SILENT
from deepfake.scoring.engine import Result
from deepfake.scoring.result import Score
from deepfake.scoring.timeline import BIN_S
from deepfake.text import fake_probability

_COLUMNS = 1600  # at most so many strokes, whatever the length
# Blue to red through grey, of similar lightness at both ends: readable without colour vision for red and green.
_SCALE = LinearSegmentedColormap.from_list("real-fake", [REAL, "#8c8cb4", FAKE])


def draw(path: Path, title: str, row: Score, result: Result, curve: np.ndarray) -> None:
    """Draw one scored recording.

    Args:
        path: the .png file to write.
        title: what to call it.
        row: its row.
        result: its sums, read with `peaks`.
        curve: smoothed logits of shape (bins,), NaN where there is no speech.
    """
    peaks = np.concatenate(result.reading.peaks or [np.zeros(1, np.float32)])
    strokes = min(_COLUMNS, len(peaks))
    edges = np.linspace(0, len(peaks), strokes + 1).astype(int)[:-1]
    loudness = np.maximum.reduceat(peaks, edges)
    seconds = edges * BIN_S
    chance = _at(curve, len(peaks), edges)

    figure = Figure(figsize=(12, 4.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    wave, evidence = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.2))
    colours = np.where(np.isnan(chance)[:, None], matplotlib.colors.to_rgba(SILENT), _SCALE(np.nan_to_num(chance)))
    strokes_xy = [[(x, -y), (x, y)] for x, y in zip(seconds, loudness, strict=True)]
    wave.add_collection(LineCollection(strokes_xy, colors=colours, linewidths=1.0))
    limit = float(loudness.max()) * 1.05 or 1.0
    wave.set(ylim=(-limit, limit), ylabel="waveform", yticks=[])
    evidence.fill_between(
        seconds, row.threshold, chance, where=chance >= row.threshold, interpolate=True, color="#f1c9cd", linewidth=0
    )
    points = np.stack((seconds, chance), axis=1)
    pairs = np.stack((points[:-1], points[1:]), axis=1)
    evidence.add_collection(LineCollection(pairs, array=chance[:-1], cmap=_SCALE, norm=Normalize(0, 1), linewidths=2))
    evidence.axhline(row.threshold, color="black", linewidth=1, linestyle="--")
    evidence.annotate(
        f"threshold\n{row.threshold:.2f}", (1.0, row.threshold), xycoords=("axes fraction", "data"),
        xytext=(4, 0), textcoords="offset points", ha="left", va="center", fontsize=9,
    )  # fmt: skip
    evidence.set(ylim=(-0.02, 1.02), ylabel="P(fake), 0.5 s mean", xlim=(0, max(row.duration_s, BIN_S)))
    evidence.xaxis.set_major_formatter(FuncFormatter(lambda s, _: _clock(s, row.duration_s)))
    evidence.set_xlabel("seconds" if row.duration_s < 120 else "time")
    verdict = f"{row.prediction}, P(fake) {row.fake_probability:.3f} over {row.windows} windows"
    wave.set_title(f"{_printable(title)}    {verdict}", loc="left", fontsize=11)
    figure.savefig(path)


def _at(curve: np.ndarray, bins: int, edges: np.ndarray) -> np.ndarray:
    """Probability for each stroke; the mean logit of its bins that have one."""
    padded = np.full(bins, np.nan)
    padded[: min(bins, len(curve))] = curve[:bins]
    known = ~np.isnan(padded)
    total, count = np.add.reduceat(np.where(known, padded, 0.0), edges), np.add.reduceat(known.astype(float), edges)
    with np.errstate(invalid="ignore"):
        return fake_probability(total / count)  # NaN where no bin is known


def _clock(seconds: float, duration_s: float) -> str:
    if duration_s < 120:
        return f"{seconds:g}"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if duration_s >= 3600 else f"{minutes}:{rest:02d}"


def _printable(title: str) -> str:
    """File names may hold anything; "$" starts mathematics in matplotlib."""
    text = readable_name(title).replace("$", r"\$")
    return text if len(text) <= 60 else text[:57] + "…"
