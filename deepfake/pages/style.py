"""Colours and type of every plot."""

from __future__ import annotations

REAL, FAKE, INK, MUTED, GRID = "#2b6cb0", "#c2410c", "#1f2933", "#7b8794", "#e4e7eb"
FAILING = "#be123c"
# One a set; dashed for the base model.
CURVES = (INK, "#0f766e", "#7c3aed", "#b7791f", "#be185d", "#2563eb", "#65a30d", "#92400e", "#06b6d4", "#94a3b8")
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.edgecolor": MUTED, "axes.labelcolor": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "axes.grid": True, "grid.color": GRID, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10, "axes.titlelocation": "left",
    "axes.titleweight": "bold", "axes.titlecolor": INK, "legend.frameon": False, "legend.fontsize": 8,
}  # fmt: skip
