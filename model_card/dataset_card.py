"""report.json of `python -m data_prep` → README.md of its dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCard, DatasetCardData

from deepfake.errors import UserError
from deepfake.text import markdown_table, write_text
from model_card.build import template

MIN_RECORDINGS = 20  # per class and split, as for results: see deepfake.judging.limits


def write_dataset_card(folder: Path) -> Path:
    """Write `folder/README.md`.

    Raises:
        UserError: the folder holds no report of a build.
    """
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{folder} has no readable report.json; expected what `python -m data_prep build` left"
        ) from error
    path = folder / "README.md"
    write_text(path, render_dataset_card(report, folder.resolve().name))
    return path


def render_dataset_card(report: dict[str, Any], name: str) -> str:
    """The card's text from the build's report; nothing else is looked at."""
    used = [r for r in report["recordings"] if r["status"] == "used"]
    languages = sorted({r["language"] for r in used if r.get("language")})
    data = DatasetCardData(
        pretty_name=name,
        task_categories=["audio-classification"],
        tags=["audio", "speech", "deepfake-detection", "anti-spoofing"],
        language=languages or None,
    )
    files = [[status.replace("_", " "), count] for status, count in report["files"].items()]
    text = template("dataset_template.md").render(
        card_data=data.to_yaml(),
        name=name,
        splits=_splits(report["totals"]),
        files=markdown_table(["what became of the files", "files"], files),
        gaps=_gaps(report, used),
        options=yaml.safe_dump(report["options"], sort_keys=True, allow_unicode=True).strip(),
        versions=", ".join(f"{package} {version}" for package, version in report["versions"].items()),
    )
    return DatasetCard(text).content.rstrip() + "\n"


def _splits(totals: dict[str, dict[str, dict[str, float]]]) -> str:
    rows = [
        [split, label, cell["recordings"], cell["chunks"], f"{cell['minutes']:.2f}"]
        for split, row in totals.items()
        for label, cell in row.items()
    ]
    return markdown_table(["split", "label", "recordings", "chunks", "minutes"], rows)


def _gaps(report: dict[str, Any], used: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(heading, sentence) for everything that this dataset cannot carry."""
    found = []
    for split, row in report["totals"].items():
        counts = {label: cell["recordings"] for label, cell in row.items()}
        if min(counts.values()) < MIN_RECORDINGS:
            said = " and ".join(f"{n} {label}" for label, n in counts.items())
            text = (
                f"{said} recordings, fewer than {MIN_RECORDINGS} of a class: results on it say little about new ones."
            )
            found.append((f"Too few recordings in {split}", text))
    for column, text in (
        ("speaker", "Who speaks is not recorded: one voice may be in several splits."),
        ("generator", "Which system made the fakes is not recorded: results per generator cannot be given."),
        ("language", "Languages are not recorded."),
    ):
        if not any(r.get(column) for r in used):
            found.append((f"No {column}", text))
    failed = report["files"].get("failed", 0)
    if failed:
        found.append(("Files left out", f"{failed} files could not be read; report.json says why."))
    return found
