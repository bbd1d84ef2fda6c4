"""What is known of the checkpoint: numbers for /v1/model, its card as HTML, its evaluation plots."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from deepfake.errors import UserError
from deepfake.judging.report import History
from deepfake.judging.run import RESULTS, RunRecord, read_run
from deepfake.models.checkpoint import PortableModel
from deepfake.models.graph import has_graph, parameters_in
from deepfake.scoring.detector import Detector

# The names of the other systems' plots, and ours.
GRAPHS = {
    "training_history": "history", "roc_curve": "roc", "confusion_matrix": "confusion_matrix",
    "probability_distribution": "histogram", "precision_recall": "precision_recall",
    "precision_recall_curve": "precision_recall",
}  # fmt: skip
SPLITS = ("test", "validation")  # the first that was judged is shown
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.S)


class ModelFacts(BaseModel):
    """Of the checkpoint; `metrics` by their names, of the split that `metrics_split` says, null where not recorded."""

    name: str
    architecture: str
    parameters: int | None
    device: str
    window_s: float
    hop_s: float
    languages: list[str] | None
    metrics_split: str | None
    metrics: dict[str, float]


def facts_of(detector: Detector) -> ModelFacts:
    checkpoint = detector.checkpoint
    results = results_of(detector)
    sets = results.judgement.sets if results else {}
    split = next((name for name in SPLITS if name in sets), None)
    values = {name: found.value for name, found in sets[split].metrics.items()} if split else {}
    languages = {name for held in (results.facts.data.splits if results else {}).values() for name in held.languages}
    return ModelFacts(
        name=folder_of(detector).name or "model",
        architecture=next(iter(getattr(checkpoint.model.config, "architectures", None) or ["unknown"])),
        parameters=_parameters(detector),
        device=str(getattr(checkpoint.model, "device", "cpu")),
        window_s=checkpoint.window_s,
        hop_s=checkpoint.hop_s,
        languages=sorted(languages) if languages else None,
        metrics_split=split,
        metrics={name: value for name, value in values.items() if value is not None},
    )


def folder_of(detector: Detector) -> Path:
    """The checkpoint's folder, or its Hub id as a path that does not exist."""
    return Path(detector.checkpoint.name)


def _parameters(detector: Detector) -> int | None:
    """How many weights the model has; None for an exported one, which does not say."""
    model, folder = detector.checkpoint.model, folder_of(detector)
    if not isinstance(model, PortableModel):
        return sum(p.numel() for p in model.parameters())
    return parameters_in(folder) if has_graph(folder) else None


def results_of(detector: Detector) -> RunRecord | None:
    """The results recorded beside the checkpoint; None without any that can be read."""
    try:
        return read_run(folder_of(detector) / RESULTS)
    except (OSError, UserError):
        return None


def graphs_of(detector: Detector) -> list[str]:
    """The names of the evaluation plots there are; see `graph_of`."""
    return sorted(_kept(folder_of(detector)).keys() | _drawn(results_of(detector)).keys())


def graph_of(detector: Detector, name: str) -> bytes | None:
    """A plot as PNG: as `python -m evaluation report` left it beside the checkpoint, else drawn from its results."""
    kept = _kept(folder_of(detector)).get(name)
    if kept is not None:
        return kept.read_bytes()
    draw = _drawn(results_of(detector)).get(name)
    if draw is None:
        return None
    from deepfake.judging import figures  # matplotlib takes a second to import

    file = io.BytesIO()
    figures.save(file, lambda axes: draw(figures, axes))
    return file.getvalue()


def _kept(folder: Path) -> dict[str, Path]:
    return {path.stem: path for place in (folder, folder / "report") for path in sorted(place.glob("*.png"))}


def _drawn(results: RunRecord | None) -> dict[str, Callable[[Any, Any], None]]:
    """What the recorded numbers alone are enough for: functions of the module `deepfake.judging.figures` and axes."""
    found: dict[str, Callable[[Any, Any], None]] = {}
    if results is None:
        return found
    sets, training = results.judgement.sets, results.facts.training
    judged = next((sets[split] for split in SPLITS if split in sets), None)
    if judged is not None and judged.confusion is not None:
        found["confusion_matrix"] = lambda figures, axes: figures.confusion(axes, judged)
    if training.history:
        logged = History(training.history, training.best_step)
        found["history"] = lambda figures, axes: figures.history(axes, logged)
    return found


@lru_cache(maxsize=4)
def card_of(folder: Path) -> str:
    """The model card as HTML. Markup inside it is shown as text, addresses of scripts are dropped."""
    from markdown_it import MarkdownIt

    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except OSError:
        return "<p>This checkpoint comes without a model card.</p>"
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    html = markdown.render(_FRONT_MATTER.sub("", text))
    # The page has its own h1, and wide tables must scroll by themselves, also by keyboard.
    html = re.sub(r"<(/?)h([1-4])>", lambda m: f"<{m[1]}h{int(m[2]) + 1}>", html)
    return html.replace("<table>", '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>').replace(
        "</table>", "</table></div>"
    )
