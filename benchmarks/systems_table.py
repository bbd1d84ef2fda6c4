"""The comparison as Markdown and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.systems_rows import HELD_OUT, SEEN, UNTRAINED, Row
from deepfake.judging.figures import save_grid
from deepfake.metrics.intervals import Estimate
from deepfake.pages.style import FAKE, GRID, INK, MUTED, REAL

_HEADS = (
    "system", "accuracy", "F1", "TPR", "TNR", "ROC-AUC", "EER", "parameters", "epochs", "s per epoch", "× realtime",
)  # fmt: skip


def markdown(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """Two tables: all test clips at the validation threshold, and ROC-AUC by generator."""
    splits, test = facts["splits"], facts["splits"]["test"]
    budget = [f"at most {facts['max_epochs']} epochs" if facts["max_epochs"] else "the published epochs"]
    if facts["max_minutes"]:
        budget.append(f"no new epoch after {facts['max_minutes']:g} minutes")
    lines = [
        f"Test split of {facts['dataset']}: {test['clips'] - test['fake']} real and {test['fake']} fake clips; trained "
        f"on {splits['train']['clips']} clips, thresholds from {splits['validation']['clips']} "
        f"validation clips, seed {facts['seed']}, {', '.join(budget)}; {facts['hardware']}, "
        f"{facts['threads']} threads. "
        "Brackets: 95 % intervals over speakers and voices.",
        "",
        *_table(_HEADS, [_cells(row) for row in rows if not row.error]),
    ]
    parts = next((list(row.generators) for row in rows if row.generators), [])
    if parts:
        fakes = next(row.generators for row in rows if row.generators)
        heads = ["ROC-AUC against all real clips", *(f"{part} ({fakes[part].clips})" for part in parts)]
        body = [[row.name, *(_ranked(row, part) for part in parts)] for row in rows[1:] if row.generators]
        lines += ["", *_table(heads, body)]
    lines += ["", *(f"{row.name} failed: {row.error}" for row in rows if row.error)]
    if searched := [f"{row.name} took {row.search_s:.0f} s more" for row in rows if row.search_s]:
        lines += [f"The architecture search of {', '.join(searched)}."]
    if any(row.name.endswith(UNTRAINED) for row in rows):
        lines += [f'"{UNTRAINED.strip(", ")}": not trained here, and it may have been fitted on these very clips.']
    return "\n".join(lines).rstrip() + "\n"


def draw_table(path: Path, rows: Sequence[Row]) -> None:
    """Write a PNG: ranking, with held-out generators apart, and decisions."""
    shown = [row for row in rows if not row.error]

    def draw(panels: Any) -> None:
        ranking, decisions = panels
        for y, row in enumerate(shown):
            _dot(ranking, row.measured["roc_auc"], y, INK, "o")
            for part, offset, colour in ((SEEN, -0.22, REAL), (HELD_OUT, 0.22, FAKE)):
                if part in row.generators:
                    _dot(ranking, row.generators[part].roc_auc, y + offset, colour, "s")
            for key, offset, colour in (
                ("accuracy", 0, INK),
                ("recall_real", -0.22, REAL),
                ("recall_fake", 0.22, FAKE),
            ):
                _dot(decisions, row.measured[key], y + offset, colour, "o" if key == "accuracy" else "s")
        for axes in panels:
            axes.set_xlim(-0.02, 1.02)
            axes.grid(False, axis="y")
            for y in range(1, len(shown)):
                axes.axhline(y - 0.5, color=GRID, lw=0.8)
        ranking.axvline(0.5, color=MUTED, lw=0.8, ls=":")
        ranking.set_yticks(range(len(shown)), [row.name for row in shown], color=INK)
        ranking.set_ylim(len(shown) - 0.4, -0.6)
        _legend(ranking, (("all fakes", INK, "o"), (SEEN, REAL, "s"), (HELD_OUT, FAKE, "s")))
        _legend(decisions, (("accuracy", INK, "o"), ("real called real", REAL, "s"), ("fakes found", FAKE, "s")))
        ranking.set_xlabel("ROC-AUC; bars: 95 % intervals")
        decisions.set_xlabel("at the threshold chosen on validation")

    save_grid(path, draw, (10.0, 1.4 + 0.5 * len(shown)), 2)


def _cells(row: Row) -> list[str]:
    m = row.measured
    plain = [f"{m[key].value:.3f}" for key in ("f1_fake", "recall_fake", "recall_real")]
    return [
        row.name,
        str(m["accuracy"]),
        *plain,
        str(m["roc_auc"]),
        "–" if m["eer"].value is None else str(m["eer"]),
        "–" if row.parameters is None else f"{row.parameters:,}",
        "–" if row.epochs is None else f"{row.epochs:g}",
        "–" if row.epoch_s is None else f"{row.epoch_s:.1f}",
        "–" if row.realtime is None else f"{row.realtime:.0f}",
    ]


def _ranked(row: Row, part: str) -> str:
    found = row.generators.get(part)
    return str(found.roc_auc) if found else "–"


def _table(heads: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *body)]


def _dot(axes: Any, found: Estimate, y: float, colour: str, marker: str) -> None:
    if found.value is None:
        return
    axes.plot(found.value, y, marker, ms=4.5 if marker == "o" else 3.5, color=colour)
    if found.low is not None:
        axes.plot([found.low, found.high], [y, y], color=colour, lw=1.1, alpha=0.7)


def _legend(axes: Any, kinds: Sequence[tuple[str, str, str]]) -> None:
    for label, colour, marker in kinds:
        axes.plot([], [], marker, ms=4, color=colour, label=label)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, borderaxespad=0.2, handletextpad=0.2)
