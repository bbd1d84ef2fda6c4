"""report.json or compare.json and its pictures → one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from deepfake import text
from deepfake.judging.comparison import Comparison
from deepfake.judging.judge import SHOWN
from deepfake.judging.report import Report
from deepfake.judging.tables import p_value
from deepfake.metrics.intervals import Estimate
from deepfake.pages.page import INDEX_PLACE, page_end, page_start, with_index

_HEADLINE = (
    ("roc_auc", "ROC-AUC"),
    ("eer", "Equal error rate"),
    ("balanced_accuracy", "Balanced accuracy"),
    ("fpr", "Real called fake"),
    ("fnr", "Fakes missed"),
)
_METRICS = (
    ("roc_auc", "ROC-AUC"), ("eer", "EER (ASVspoof)"), ("eer_interpolated", "EER, interpolated"),
    ("pr_auc", "PR-AUC (average precision)"), ("accuracy", "accuracy"), ("balanced_accuracy", "balanced accuracy"),
    ("precision_fake", "precision, fake"), ("recall_fake", "recall, fake (TPR)"), ("f1_fake", "F1, fake"),
    ("precision_real", "precision, real"), ("recall_real", "recall, real (TNR)"), ("f1_real", "F1, real"),
    ("min_dcf", "minDCF (ASVspoof 5)"), ("act_dcf", "actDCF, calibrated"), ("cllr", "Cllr, calibrated (bits)"),
    ("brier", "Brier score"), ("ece", "ECE"), ("brier_calibrated", "Brier score, calibrated"),
    ("ece_calibrated", "ECE, calibrated"),
)  # fmt: skip
_PARTS = {
    "generator": "generator (its fakes against all real clips)",
    "language": "language",
    "speaker_group": "speaker group",
    "duration": "duration",
    "container": "container of the recording",
}


_HEADS = ("ROC-AUC", "EER", "balanced accuracy", "real called fake", "fakes missed")  # of SHOWN
_AXES = ("generators", "human speech", "channel")  # of the matrix
_MOST_PLACES = 30  # in a table


def write_page(report: Report, pictures: list[Path], path: Path) -> None:
    """Write the page; `pictures` are embedded."""
    body = _rendered(
        "page.html",
        report=report,
        judgement=report.judgement,
        pictures=_embedded(pictures),
        headline=_HEADLINE,
        metrics=_METRICS,
        parts=_PARTS,
        shown=tuple(zip(SHOWN, _HEADS, strict=True)),
        ratio="{:,g}".format,
        matrix_axes=lambda matrix: tuple(zip(matrix.columns, _AXES, strict=True)),
    )
    text.write_text(path, with_index(page_start(f"{report.system.name}: evaluation") + body + page_end()))


def write_comparison_page(found: Comparison, pictures: list[Path], path: Path) -> None:
    """Write the page of a comparison; `pictures` are embedded."""
    shown = tuple(zip(SHOWN, _HEADS, strict=True))
    body = _rendered("compare.html", found=found, pictures=_embedded(pictures), shown=shown, most=_MOST_PLACES)
    title = f"{len(found.systems)} detectors on {found.labels}"
    text.write_text(path, with_index(page_start(title) + body + page_end()))


def _rendered(template: str, **facts: object) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "interval": interval, "p_value": p_value}
    return environment.get_template(template).render(index_place=Markup(INDEX_PLACE), **facts)


def _embedded(pictures: list[Path]) -> list[tuple[str, str]]:
    """(title, PNG as base64)"""
    return [(p.stem.replace("_", " "), base64.b64encode(p.read_bytes()).decode("ascii")) for p in pictures]


def number(value: float | None, digits: int = 3) -> str:
    """0.912, a whole number with separators, or a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else text.number(value, digits)


def interval(found: Estimate | None) -> str:
    """[0.850, 0.960], or nothing when no interval can be given."""
    return "" if found is None else text.bracket(found.low, found.high)
