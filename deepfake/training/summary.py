"""What a run measured, as a few lines for a person: `python -m deepfake.training.summary OUT`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deepfake.errors import run_command
from deepfake.judging.record import OUT_OF_DOMAIN, TEST, JudgedSet
from deepfake.judging.run import RESULTS, RunRecord, read_run
from deepfake.judging.tables import side_by_side
from deepfake.version import add_version

_ROWS = (
    ("ROC-AUC", "roc_auc"),
    ("EER", "eer"),
    ("accuracy", "accuracy"),
    ("balanced accuracy", "balanced_accuracy"),
    ("recall real", "recall_real"),
    ("recall fake", "recall_fake"),
)


def format_results(results: RunRecord, folder: Path) -> str:
    """Validation and test side by side with 95 % intervals, the threshold, and where things lie.

    A third column shows the start checkpoint on test, where it was measured.
    """
    judgement, before = results.judgement, results.judgement.base.sets if results.judgement.base else {}
    columns = {}
    for name, found in judgement.sets.items():
        columns[_title(name, found)] = found
        if name == TEST and name in before:
            columns["test, before fine-tuning"] = before[name]
        elif found.role == OUT_OF_DOMAIN and name in before:
            columns[f"{name}, before"] = before[name]
    values = [(title, [str(found.metrics[key]) for _, key in _ROWS]) for title, found in columns.items()]
    lines = side_by_side([title for title, _ in _ROWS], values)
    threshold = judgement.threshold
    rule = (threshold.rule or "an unnamed rule").replace("_", " ")
    lines.append(f"{'threshold':<20}fake_probability >= {threshold.fake_probability:.4f} ({rule}, on validation)")
    resampled = "pages" if results.facts.training.pages_held_out else "recordings"
    lines.append(f"[low, high]: 95 % intervals over {resampled}")
    notes = {found.metrics[key].warning for found in columns.values() for _, key in _ROWS}
    lines += [f"note: {note}" for note in sorted(notes - {None})]
    lines += [f"warning: {warning}" for warning in judgement.warnings]
    padding = results.facts.training.padding or {}
    if shares := padding.get("share_per_epoch"):
        said = ", left out of the layers" if padding["layers_skip_it"] else ""
        if "grouped_by_length" in padding:
            said += f"; grouped by length it would be {padding['grouped_by_length']:.1%}"
        lines.append(f"{'padding':<20}{sum(shares) / len(shares):.1%} of the training batches{said}")
    lines.append(f"detector  {folder}\ncard      {folder / 'README.md'}")
    return "\n".join(line.rstrip() for line in lines)


def _title(name: str, found: JudgedSet) -> str:
    recordings = [facts.recordings for _, facts in found.facts.of_classes]
    of = "" if None in recordings else f" of {sum(recordings)} recordings"
    return f"{name} ({found.n} clips{of})"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deepfake.training.summary", description="Print what the training run in OUT measured."
    )
    add_version(parser)
    parser.add_argument("folder", metavar="OUT", type=Path, help="output folder of train_wav2vec2.py")
    arguments = parser.parse_args()

    def show() -> None:
        print(format_results(read_run(arguments.folder / RESULTS), arguments.folder))

    return run_command(show)


if __name__ == "__main__":
    sys.exit(main())
