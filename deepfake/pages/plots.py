"""Plots of clips for pages: histograms and intervals by matplotlib, spectrograms by librosa, embedded as PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepfake.pages.style import CLASSES, FAILING, MUTED, STYLE

_DPI = 160
_FFT, _HOP = 512, 128  # 32 ms, 8 ms
SPECTROGRAM_RANGE_DB = 70.0


def embedded(draw: Callable[[Axes], None], size: tuple[float, float], title: str, told: str = "") -> str:
    """A plot as a figure of a page.

    Args:
        draw: draws into the axes it is given.
        size: width and height in inches.
        title: stands above the plot. told: what the plot says, for those who cannot see it.
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<img alt="{escape(": ".join(filter(None, (title, told))))}" src="data:image/png;base64,{data}"></figure>'
    )


def histogram(values: Mapping[str, np.ndarray], title: str, unit: str, bins: int = 40) -> str:
    """Overlaid histograms, one per class, each as a share of its class.

    Args:
        values: label → float array of shape (clips of the label,).
    """
    everything = np.concatenate(list(values.values()))
    low, high = (float(edge) for edge in np.percentile(everything, (0.5, 99.5)))  # outliers pile up in the end bins
    if high <= low:
        low, high = low - 0.5, high + 0.5

    def draw(axes: Axes) -> None:
        for label, held in values.items():
            counts, edges = np.histogram(np.clip(held, low, high), bins=bins, range=(low, high))
            share = counts / max(1, len(held))
            axes.stairs(share, edges, color=CLASSES[label], fill=True, alpha=0.3)
            axes.stairs(share, edges, color=CLASSES[label], lw=1.3)
        axes.set(xlabel=unit, yticks=[], xlim=(low, high))
        axes.spines["left"].set_visible(False)
        axes.grid(False)

    medians = ", ".join(f"median {np.median(held):.4g} of {label} clips" for label, held in values.items())
    return embedded(draw, (3.6, 2.0), title, medians)


def intervals(rows: Sequence[tuple[str, float, float, float, bool]], title: str) -> str:
    """Points with intervals between 0 and 1, and a line at 0.5. Rows are (name, value, low, high, marked)."""

    def draw(axes: Axes) -> None:
        axes.axvline(0.5, color=MUTED, lw=1, ls="--")
        for y, (_, value, low, high, marked) in enumerate(rows):
            colour = FAILING if marked else MUTED
            axes.plot([low, high], [y, y], color=colour, lw=1.8)
            axes.plot(value, y, "o", color=colour, ms=5)
        axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
        axes.set(xlim=(-0.01, 1.01), ylim=(len(rows) - 0.5, -0.5))
        axes.grid(False, axis="y")

    told = "; ".join(f"{name} {value:.2f} [{low:.2f}, {high:.2f}]" for name, value, low, high, _ in rows)
    return embedded(draw, (7.2, 0.6 + 0.26 * len(rows)), title, told)


def spectrogram(axes: Axes, samples: np.ndarray, sampling_rate: int, full_scale: bool = False) -> None:
    """Draw a linear-frequency spectrogram of 70 dB.

    Args:
        samples: mono, shape (n,), full scale 1.
        full_scale: the same colour is the same level in every picture; else the loudest place has the last colour.
    """
    import librosa  # with numba, most of a second: only for those who draw

    padded = np.pad(samples, (0, max(0, _FFT - len(samples)))).astype(np.float32)
    magnitude = np.abs(librosa.stft(padded, n_fft=_FFT, hop_length=_HOP))
    loudest = _FFT / 8 if full_scale else float(magnitude.max()) or 1.0  # a loud voice reaches an eighth of the window
    levels = librosa.amplitude_to_db(magnitude, ref=loudest, amin=1e-7, top_db=None)
    librosa.display.specshow(
        levels, sr=sampling_rate, hop_length=_HOP, x_axis="s", y_axis="linear", ax=axes, cmap="magma",
        vmin=-SPECTROGRAM_RANGE_DB, vmax=0.0,
    )  # fmt: skip
    axes.set(xlabel="seconds", ylabel="hertz")
    axes.grid(False)
