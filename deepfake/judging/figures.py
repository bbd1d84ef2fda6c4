"""The report's pictures, drawn from the points kept in report.json and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.special import ndtri

from deepfake.judging.record import JudgedSet, Threshold
from deepfake.judging.report import History, StressRecord
from deepfake.judging.series import Tippett
from deepfake.judging.transfer import Transfer
from deepfake.pages.style import CURVES, FAILING, FAKE, GRID, INK, MUTED, REAL, STYLE

_CURVE_SIZE = (4.6, 3.9)  # inches
_LEGEND_INSIDE = 3  # curves whose legend has room beside them; more are listed below the axes
_LEGEND_LINE_IN = 0.17
DET_TICKS = (0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99)


@dataclass(frozen=True)
class Curve:
    """One curve of a picture: its legend, the set it shows, and whether that is the base model's."""

    legend: str
    judged: JudgedSet
    is_base: bool


def save(
    path: Path | BinaryIO, draw: Callable[[Axes], None], size: tuple[float, float] = _CURVE_SIZE
) -> Path | BinaryIO:
    """Draw into a PNG without anything in it that changes from run to run."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        figure.savefig(path, dpi=160, metadata={"Software": None})
    return path


def save_grid(path: Path, draw: Callable[[Any], None], size: tuple[float, float], columns: int) -> Path:
    """As `save`, for several panels in a row that share their y axis; `draw` takes an array of axes."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots(1, columns, sharey=True))
        figure.savefig(path, dpi=130, metadata={"Software": None})
    return path


def roc(axes: Axes, curves: Sequence[Curve]) -> None:
    axes.plot([0, 1], [0, 1], color=GRID, lw=1)
    for colour, style, name, judged in _drawn(curves):
        found, label = judged.series.roc, f"{name}, AUC {judged.value('roc_auc'):.3f}"
        axes.plot(found.fpr, found.tpr, color=colour, ls=style, lw=1.6, label=label)
    axes.set(title="ROC", xlabel="real clips called fake (FPR)", ylabel="fakes found (TPR)", xlim=(-0.01, 1.01))
    axes.set_ylim(-0.01, 1.01)
    _curve_legend(axes, "lower right")


def det(axes: Axes, curves: Sequence[Curve]) -> None:
    low, high = ndtri(DET_TICKS[0]), ndtri(DET_TICKS[-1])
    axes.plot([low, high], [low, high], color=GRID, lw=1)
    for colour, style, name, judged in _drawn(curves):
        found = judged.series.roc
        fpr, fnr = (np.clip(x, 1e-6, 1 - 1e-6) for x in (np.array(found.fpr), 1 - np.array(found.tpr)))
        label = f"{name}, EER {100 * judged.value('eer'):.1f} %"
        axes.plot(ndtri(fpr), ndtri(fnr), color=colour, ls=style, lw=1.6, label=label, drawstyle="steps-post")
    ticks = [f"{100 * t:g}" for t in DET_TICKS]
    axes.set_xticks(ndtri(DET_TICKS), ticks)
    axes.set_yticks(ndtri(DET_TICKS), ticks)
    axes.set(
        title="DET", xlabel="real clips called fake (%)", ylabel="fakes missed (%)", xlim=(low, high), ylim=(low, high)
    )
    _curve_legend(axes, "upper right")


def precision_recall(axes: Axes, curves: Sequence[Curve]) -> None:
    for colour, style, name, judged in _drawn(curves):
        found, label = judged.series.precision_recall, f"{name}, AP {judged.value('pr_auc'):.3f}"
        axes.plot(found.recall, found.precision, color=colour, ls=style, lw=1.6, label=label)
    first = curves[0].judged
    share = first.facts.fake.clips / first.n
    axes.axhline(share, color=MUTED, lw=1, ls=":")
    axes.text(1.0, share - 0.045, "share of fakes", color=MUTED, fontsize=7.5, ha="right")
    axes.set(
        title="Precision and recall of fakes", xlabel="recall", ylabel="precision", xlim=(-0.01, 1.01), ylim=(0, 1.03)
    )
    _curve_legend(axes, "lower left")


def confusion(axes: Axes, judged: JudgedSet) -> None:
    c = judged.confusion
    counts = np.array([[c.tn, c.fp], [c.fn, c.tp]])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1.15)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if share[row, column] > 0.6 else INK
        axes.text(column, row - 0.06, f"{count:,}", ha="center", va="center", color=colour, fontsize=15, weight="bold")
        axes.text(column, row + 0.2, f"{100 * share[row, column]:.1f} %", ha="center", va="center", color=colour)
    axes.set_xticks([0, 1], ["called real", "called fake"], color=INK)
    axes.set_yticks([0, 1], ["real", "fake"], color=INK)
    axes.set_title("Confusion matrix")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def histogram(axes: Axes, judged: JudgedSet, threshold: Threshold) -> None:
    h = judged.series.histogram
    edges = np.array(h.edges)
    for name, colour, counts in (("real", REAL, h.real), ("fake", FAKE, h.fake)):
        share = np.array(counts) / max(sum(counts), 1)
        axes.stairs(share, edges, color=colour, fill=True, alpha=0.35)
        axes.stairs(share, edges, color=colour, lw=1.2, label=f"{name} ({sum(counts):,})")
    if np.isfinite(threshold.value):
        axes.axvline(threshold.value, color=INK, lw=1, ls="--", label="threshold")
    axes.set(title="Scores", xlabel=threshold.unit.replace("_", " "), ylabel="share of the class")
    axes.legend()


def reliability(axes: Axes, judged: JudgedSet) -> None:
    r = judged.series.reliability
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=":")
    p, fake, low, high = np.array([(b.p, b.fake.value, b.fake.low, b.fake.high) for b in r.bins]).T
    errors = np.maximum([fake - low, high - fake], 0)
    axes.errorbar(p, fake, yerr=errors, color=INK, ecolor=MUTED, fmt="o-", ms=4, lw=1.4, elinewidth=1, capsize=2)
    for b in r.bins:
        axes.annotate(f"{b.n:,}", (b.p, b.fake.value), (5, -9), textcoords="offset points", fontsize=6.5, color=MUTED)
    kind = "calibrated P(fake)" if r.calibrated else "P(fake) as given"
    axes.set(
        title="Reliability",
        xlabel=f"{kind}; bars take clips as independent",
        ylabel="share that is fake",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )


def generators(axes: Axes, judged: JudgedSet, seen: frozenset[str] | None) -> None:
    missed = {row.name: row.metrics["fnr"] for row in judged.breakdowns["generator"]}
    rows = sorted(judged.breakdowns["generator"], key=lambda row: 1 - (missed[row.name].value or 0))
    for y, row in enumerate(rows):
        fnr = missed[row.name]
        new = seen is not None and row.name not in seen
        known = fnr.low is not None
        axes.barh(y, 1 - fnr.value, color=FAKE if new else REAL, alpha=0.75 if known else 0.3, height=0.62)
        if known:
            axes.plot([1 - fnr.high, 1 - fnr.low], [y, y], color=INK, lw=1.3)
    names = [f"{row.name} ({row.fake.clips})" for row in rows]
    axes.set_yticks(range(len(rows)), names, color=INK, fontsize=8)
    axes.set(title="Fakes found per generator", xlim=(0, 1.0))
    axes.set_xlabel("recall at the fixed threshold, 95 % interval\n(pale: too few recordings for one)")
    axes.grid(False, axis="y")
    if seen is not None:
        kinds = [Rectangle((0, 0), 1, 1, color=c, alpha=0.75) for c in (REAL, FAKE)]
        axes.legend(kinds, ["in training", "not in training"], loc="upper center", bbox_to_anchor=(0.4, -0.2), ncols=2)


def stress(panels: Any, result: StressRecord) -> None:
    """One row a condition: ranking, decisions, and the two errors, each with its interval."""
    rows = result.conditions
    shown = (
        ("ROC-AUC", (("roc_auc", INK),)),
        ("Balanced accuracy", (("balanced_accuracy", INK),)),
        ("", (("fpr", REAL), ("fnr", FAKE))),
    )
    for axes, (title, keys) in zip(panels, shown, strict=True):
        for offset, (key, colour) in zip((-0.17, 0.17) if len(keys) == 2 else (0,), keys, strict=True):
            for y, row in enumerate(rows):
                found, failing = row.metrics[key], row.fails and colour == INK
                if found.value is None:
                    continue
                drawn = FAILING if failing else colour
                axes.plot(found.value, y + offset, "o", ms=4, color=drawn)
                if found.low is not None:
                    axes.plot([found.low, found.high], [y + offset] * 2, color=drawn, lw=1.1, alpha=0.7)
            clean = rows[0].metrics[key].value
            if clean is not None:
                axes.axvline(clean, color=colour, lw=0.8, ls=":", alpha=0.7)
        edges = [y for y in range(1, len(rows)) if rows[y].family != rows[y - 1].family]
        for y in edges:
            axes.axhline(y - 0.5, color=GRID, lw=1)
        axes.set_title(title)
        axes.set_xlim(-0.02, 1.02)
        axes.grid(False, axis="y")
    labels = [row.label if row.family.lower() in row.label.lower() else f"{row.family}, {row.label}" for row in rows]
    panels[0].set_yticks(range(len(rows)), labels, color=INK, fontsize=7.5)
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    panels[0].set_xlabel("bars: 95 % intervals; dotted: clean")
    panels[1].set_xlabel("at the fixed threshold; red: fails")
    panels[2].set_xlabel("at the fixed threshold")
    panels[2].plot([], [], "o", ms=4, color=REAL, label="real called fake")
    panels[2].plot([], [], "o", ms=4, color=FAKE, label="fakes missed")
    panels[2].legend(loc="lower left", bbox_to_anchor=(-0.03, 0.995), ncols=2, borderaxespad=0.2)


def history(axes: Axes, logged: History) -> None:
    entries, best_step = logged.history, logged.best_step
    losses = [(e["step"], e["loss"]) for e in entries if "loss" in e]
    axes.plot(*zip(*losses, strict=True), color=MUTED, lw=1.2, label="training loss") if losses else None
    checks = [(e["step"], e["eval_loss"]) for e in entries if "eval_loss" in e]
    axes.plot(
        *zip(*checks, strict=True), color=INK, lw=1.6, marker="o", ms=3, label="validation loss"
    ) if checks else None
    axes.set(title="Training history", xlabel="step", ylabel="loss")
    lines, labels = axes.get_legend_handles_labels()
    ranked = [(e["step"], e["eval_roc_auc"]) for e in entries if "eval_roc_auc" in e]
    if ranked:
        right = axes.twinx()
        right.plot(*zip(*ranked, strict=True), color=FAKE, lw=1.6, marker="o", ms=3, label="validation ROC-AUC")
        right.set_ylim(0, 1.02)
        right.set_ylabel("ROC-AUC", color=FAKE)
        right.grid(False)
        lines, labels = lines + right.get_lines(), labels + ["validation ROC-AUC"]
    if best_step is not None:
        lines.append(axes.axvline(best_step, color=MUTED, lw=1, ls="--"))
        labels.append("kept checkpoint")
    axes.legend(lines, labels, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def transfer(axes: Axes, sets: Sequence[tuple[str, Transfer]]) -> None:
    """Per set a line from its own best error to the error at the stored threshold."""
    for y, (_, found) in enumerate(sets):
        axes.plot([found.eer, found.hter], [y, y], color=MUTED, lw=2)
        axes.plot(found.eer, y, "o", color=REAL, ms=6)
        axes.plot(found.hter, y, "o", color=FAKE, ms=6)
        points = round(100 * found.excess.value, 1) + 0.0  # never "-0.0"
        axes.annotate(f"{points:+.1f} points", (found.hter, y), (7, 5), textcoords="offset points", fontsize=8)
    for colour, label in ((REAL, "EER, at the set's own threshold"), (FAKE, "HTER, at the stored threshold")):
        axes.plot([], [], "o", color=colour, label=label)
    axes.set_yticks(range(len(sets)), [name for name, _ in sets], color=INK)
    right = max(max(found.hter, found.eer) for _, found in sets)
    axes.set(title="What the threshold\nloses elsewhere", xlabel="error rate", xlim=(-0.01, right * 1.35 + 0.05))
    axes.set_ylim(len(sets) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=1)


def tippett(axes: Axes, found: Tippett) -> None:
    """Per class the share of clips whose ratio is at least that large; shaded where nothing is stated."""
    for label, colour, share in (("human", REAL, found.real), ("fake", FAKE, found.fake)):
        axes.step(found.log10_lr, share, color=colour, lw=1.6, where="post", label=label)
    low, high = min(found.log10_lr[0], found.low), max(found.log10_lr[-1], found.high)
    for start, stop in ((low, found.low), (found.high, high)):
        axes.axvspan(start, stop, color=GRID, alpha=0.7, lw=0)
    axes.axvline(0, color=MUTED, lw=1, ls=":")
    axes.set(
        title="Likelihood ratios (Tippett plot)",
        xlabel="log10 of the likelihood ratio, fake over human",
        xlim=(low, high),
    )
    axes.set_ylabel("share of the class with this ratio or more")
    axes.set_ylim(-0.01, 1.01)
    axes.legend(loc="lower left", title="grey: beyond what\nvalidation supports", title_fontsize=7.5)


def curve_size(curves: Sequence[Curve]) -> tuple[float, float]:
    """Width and height in inches of a picture of curves, with room below them for a legend that has none inside."""
    width, height = _CURVE_SIZE
    return width, height + (_LEGEND_LINE_IN * (len(curves) + 1) if len(curves) > _LEGEND_INSIDE else 0)


def _curve_legend(axes: Axes, corner: str) -> None:
    handles, _ = axes.get_legend_handles_labels()
    if len(handles) <= _LEGEND_INSIDE:
        axes.legend(loc=corner)
    else:
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.14), borderaxespad=0.3)


def _drawn(curves: Sequence[Curve]) -> list[tuple[str, str, str, JudgedSet]]:
    """(colour, line style, legend, set) of the curves that are defined."""
    names = [curve.legend.removeprefix("base: ") for curve in curves]
    order = list(dict.fromkeys(names))
    return [
        (CURVES[order.index(short) % len(CURVES)], "--" if curve.is_base else "-", curve.legend, curve.judged)
        for short, curve in zip(names, curves, strict=True)
        if curve.judged.series.roc is not None
    ]
