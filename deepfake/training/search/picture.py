"""A found architecture as a picture: the chain that was kept, and how the choices came to differ."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepfake.pages.style import CURVES, GRID, INK, MUTED, REAL, STYLE
from deepfake.training.search.options import Epoch, Found, Genotype, Layer, SearchOptions


def draw_architecture(path: Path, found: Found, options: SearchOptions) -> None:
    """Write a PNG: the network on the left, the weights of all choices in the middle, their entropy on the right.

    Args:
        found: genotype, path, weights and history of a `SearchResult`.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12.0, 4.4), layout="constrained")
        chain, choices, entropy = figure.subplots(1, 3, width_ratios=(0.7, 1.5, 0.9))
        _chain(chain, found["genotype"])
        _choices(choices, found, options)
        _entropy(entropy, found["history"], options.warmup_epochs)
        figure.savefig(path, dpi=130, metadata={"Software": None})


def _chain(axes: Axes, genotype: Genotype) -> None:
    width = genotype["width"]
    steps = [f"linear {width}", *(_name(layer) for layer in genotype["layers"]), "mean over frames"]
    steps += [f"linear {width}, dropout {genotype['dropout']:g}", "real / fake"]
    steps.insert(0, "spectrogram")
    for y, step in enumerate(steps):
        found = 1 < y < len(steps) - 3
        box = {"boxstyle": "round,pad=0.45", "fc": REAL if found else "white", "ec": MUTED}
        axes.text(0.5, -y, step, ha="center", va="center", color="white" if found else INK, bbox=box)
        if y:
            axes.annotate("", (0.5, -y + 0.3), (0.5, -y + 0.7), arrowprops={"arrowstyle": "-|>", "color": MUTED})
    axes.set(title="What was found", xlim=(0, 1), ylim=(-len(steps) + 0.4, 0.6))
    axes.axis("off")


def _choices(axes: Axes, found: Found, options: SearchOptions) -> None:
    """One row a decision: its choices, shaded by weight; the strongest is printed bold, kept layers first in ink."""
    names = _decisions(options)
    for y, (decision, label, choices) in enumerate(names):
        weights = found["weights"][decision]
        used = decision in ("output", "dropout") or int(decision.rpartition("_")[2]) in found["path"]
        for x, (choice, weight) in enumerate(zip(choices, weights, strict=True)):
            best = weight == max(weights)
            axes.barh(y, 0.94, left=x, height=0.8, color=REAL, alpha=0.06 + 0.8 * weight)
            axes.text(x + 0.47, y, f"{choice}  {weight:.2f}", ha="center", va="center", fontsize=6.5,
                      color="white" if weight > 0.6 else INK, weight="bold" if best and used else "normal")  # fmt: skip
        axes.text(-0.1, y, label, ha="right", va="center", fontsize=8, color=INK if used else MUTED)
    widest = max(len(choices) for _, _, choices in names)
    axes.set(title="Weights of the choices", xlim=(-1.6, widest), ylim=(len(names) - 0.4, -0.6))
    axes.axis("off")


def _entropy(axes: Axes, history: list[Epoch], warmup_epochs: int) -> None:
    epochs = [entry["epoch"] for entry in history]
    for colour, kind in zip(CURVES, history[0]["entropy"], strict=False):
        values = [entry["entropy"][kind] for entry in history]
        axes.plot(epochs, values, color=colour, lw=1.5, marker="o", ms=2.5, label=kind.replace("_", " "))
    if warmup_epochs:
        axes.axvspan(0.5, warmup_epochs + 0.5, color=GRID, lw=0, label="weights only")
    axes.set(title="Entropy of the choices (1: undecided)", xlabel="epoch", ylim=(0, 1.03))
    axes.legend(loc="lower left")


def _decisions(options: SearchOptions) -> list[tuple[str, str, list[str]]]:
    """(key in the weights, label, choices) of every decision."""
    rows = []
    for i in range(options.layers):
        before = ["stem", *(f"layer {j + 1}" for j in range(i))]
        rows.append((f"input_{i}", f"layer {i + 1} reads", before))
        rows.append((f"operation_{i}", "operation", list(options.operations)))
        rows.append((f"hidden_size_{i}", "hidden size", [str(size) for size in options.hidden_sizes]))
    rows.append(("output", "output", [f"layer {i + 1}" for i in range(options.layers)]))
    return [*rows, ("dropout", "dropout", [f"{rate:g}" for rate in options.dropouts])]


def _name(layer: Layer) -> str:
    size = layer.get("hidden_size")
    return f"{layer['operation'].upper()} {size}" if size else "convolution, 3 frames"
