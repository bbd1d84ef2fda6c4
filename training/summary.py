"""What a run measured, as a few lines for a person: `python -m training.summary OUT`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from data_prep.errors import UserError, run_command
from data_prep.version import add_version
from evaluation.text import side_by_side, with_interval

_ROWS = (
    ("ROC-AUC", "roc_auc"),
    ("EER", "eer"),
    ("accuracy", "accuracy"),
    ("balanced accuracy", "balanced_accuracy"),
    ("recall real", "recall_real"),
    ("recall fake", "recall_fake"),
)


def format_results(results: dict[str, Any], folder: Path) -> str:
    """Validation and test side by side with 95 % intervals, the threshold, and where things lie.

    A third column shows the start checkpoint on test, where it was measured.
    """
    columns = {_title(name, results[name]): results[name] for name in ("validation", "test") if name in results}
    if "test" in results.get("base", {}):
        columns["test, before fine-tuning"] = results["base"]["test"]
    for name, found in results.get("outside", {}).items():
        columns[_title(name, found)] = found
        if name in results.get("base", {}):
            columns[f"{name}, before"] = results["base"][name]
    values = [(title, [format_value(column, key) for _, key in _ROWS]) for title, column in columns.items()]
    lines = side_by_side([title for title, _ in _ROWS], values)
    threshold = results["threshold"]
    rule = threshold["rule"].replace("_", " ")
    lines.append(f"{'threshold':<20}fake_probability >= {threshold['fake_probability']:.4f} ({rule}, on validation)")
    lines.append("[low, high]: 95 % intervals over recordings")
    warnings = {i["warning"] for column in columns.values() for i in column["intervals"].values() if i["warning"]}
    lines += [f"note: {warning}" for warning in sorted(warnings)]
    lines += [f"warning: {warning}" for warning in results.get("warnings", [])]
    padding = results["training"].get("padding") or {}
    if shares := padding.get("share_per_epoch"):
        said = ", left out of the layers" if padding["layers_skip_it"] else ""
        if "grouped_by_length" in padding:
            said += f"; grouped by length it would be {padding['grouped_by_length']:.1%}"
        lines.append(f"{'padding':<20}{sum(shares) / len(shares):.1%} of the training batches{said}")
    lines.append(f"detector  {folder}\ncard      {folder / 'README.md'}")
    return "\n".join(line.rstrip() for line in lines)


def format_value(result: dict[str, Any], key: str) -> str:
    """0.912 [0.850, 0.960], or without the bracket when no interval can be given."""
    return with_interval(result["metrics"][key], result["intervals"].get(key))


def _title(name: str, result: dict[str, Any]) -> str:
    recordings = sum(result["recordings"].values())
    return f"{name} ({result['metrics']['n']} clips of {recordings} recordings)"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.summary", description="Print what the training run in OUT measured."
    )
    add_version(parser)
    parser.add_argument("folder", metavar="OUT", type=Path, help="output folder of train_wav2vec2.py")
    arguments = parser.parse_args()

    def show() -> None:
        path = arguments.folder / "results.json"
        if not path.is_file():
            raise UserError(
                f"{arguments.folder} has no results.json; expected the output folder of a finished training"
            )
        print(format_results(json.loads(path.read_text(encoding="utf-8")), arguments.folder))

    return run_command(show)


if __name__ == "__main__":
    sys.exit(main())
