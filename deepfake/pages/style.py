"""One look: the colours of pages and plots, the type of plots, and the style sheet of every page."""

from __future__ import annotations

from functools import cache
from pathlib import Path

# By name, on paper and on a dark screen. Text in any of them has a contrast of 4.5 or more on its background
# (WCAG 2.2, 1.4.3), and real and fake are told apart by colour-blind readers too.
LIGHT = {
    "ink": "#1c2530", "muted": "#52606d", "line": "#d5dce4", "soft": "#f3f6f9", "paper": "#ffffff", "raised": "#ffffff",
    "real": "#1d5fa6", "real-soft": "#e6f0fa", "fake": "#b3321b", "fake-soft": "#fcebe6",
    "unsure": "#6b5300", "unsure-soft": "#fbf3d9", "good": "#1b6e3c", "bad": "#a61b29",
    "accent": "#1d5fa6", "on-accent": "#ffffff", "focus": "#0b63ce", "silent": "#aeb8c2",
    "shadow": "0 1px 2px rgb(20 32 46 / .06), 0 6px 24px rgb(20 32 46 / .07)",
}  # fmt: skip
DARK = {
    "ink": "#e8edf2", "muted": "#a7b3bf", "line": "#33404d", "soft": "#1a232d", "paper": "#10161d", "raised": "#161e27",
    "real": "#7fb8f0", "real-soft": "#15293f", "fake": "#ff9a7a", "fake-soft": "#3d1d15",
    "unsure": "#e8c964", "unsure-soft": "#332a10", "good": "#7ddba0", "bad": "#ff9aa5",
    "accent": "#7fb8f0", "on-accent": "#0c1a28", "focus": "#9ccbff", "silent": "#566472",
    "shadow": "0 1px 2px rgb(0 0 0 / .4), 0 6px 24px rgb(0 0 0 / .35)",
}  # fmt: skip

# Plots are drawn on paper, and stand on paper in a dark page too.
REAL, FAKE, INK, MUTED, GRID = (LIGHT[name] for name in ("real", "fake", "ink", "muted", "line"))
FAILING, SILENT = LIGHT["bad"], LIGHT["silent"]
CLASSES = {"real": REAL, "fake": FAKE}
# One a set; dashed for the base model.
CURVES = (INK, "#0f766e", "#7c3aed", "#b7791f", "#be185d", "#2563eb", "#65a30d", "#92400e", "#06b6d4", "#94a3b8")
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.edgecolor": MUTED, "axes.labelcolor": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "axes.grid": True, "grid.color": GRID, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10, "axes.titlelocation": "left",
    "axes.titleweight": "bold", "axes.titlecolor": INK, "legend.frameon": False, "legend.fontsize": 8,
}  # fmt: skip


@cache
def css() -> str:
    """The style sheet: the colours as custom properties (`--real`, `--fake`, …), then `style.css`."""
    rules = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_properties(DARK)} }} }}"
    return f":root {{ {_properties(LIGHT)} }}\n{dark}\n{rules}"


def _properties(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
