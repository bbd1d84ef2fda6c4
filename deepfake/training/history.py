"""What was logged during a run, as a file and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepfake.judging.run import TrainingFacts
from deepfake.pages.style import FAKE, INK, MUTED, REAL, STYLE
from deepfake.text import write_json


def write_history(folder: Path, training: TrainingFacts) -> None:
    """`training_history.json` with all that was logged, `training_history.png` with loss, ROC-AUC, EER, learning rate.

    The step of the kept checkpoint is marked in every panel.
    """
    history, best_step = training.history, training.best_step
    write_json(folder / "training_history.json", history)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 3.4), layout="constrained")
        loss, ranking, rate = figure.subplots(1, 3)
        _line(loss, history, "loss", "training", MUTED)
        _line(loss, history, "eval_loss", "validation", INK)
        loss.set_title("Loss")
        _line(ranking, history, "eval_roc_auc", "ROC-AUC", REAL)
        _line(ranking, history, "eval_eer", "EER", FAKE)
        ranking.set(title="Validation", ylim=(0, 1.02))
        _line(rate, history, "learning_rate", "learning rate", INK)
        rate.set_title("Learning rate")
        for axes in (loss, ranking, rate):
            axes.set_xlabel("step")
            if best_step is not None:
                axes.axvline(best_step, color=MUTED, lw=1, ls="--", label="kept checkpoint")
            if axes.lines:
                axes.legend()
        figure.savefig(folder / "training_history.png", dpi=130, metadata={"Software": None})


def _line(axes: Axes, history: Sequence[dict[str, Any]], key: str, label: str, colour: str) -> None:
    points = [(entry["step"], entry[key]) for entry in history if key in entry]
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, color=colour, lw=1.5, marker="o", ms=2.5, label=label)
