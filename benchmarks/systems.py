"""Every system side by side: trained on one dataset with one seed and one budget, judged on the same clips.

    python -m benchmarks.systems --dataset DIR --output out/systems
    python -m benchmarks.systems --dataset DIR --output out/systems --systems lstm resnet18 --max_epochs 3

Each system is its recipe in configs/, run by train_wav2vec2.py; thresholds come from validation. A system that is
finished in --output is not trained again, so that the same command goes on after a crash, and more --systems add to the
table. Writes systems.json, systems.md and systems.png there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from benchmarks.systems_rows import Row, constant_row, score_column, trained_row, untrained_row
from benchmarks.systems_speed import kept, realtime, seconds_per_epoch
from benchmarks.systems_table import draw_table, markdown
from deepfake.audio.files import find_audio_files
from deepfake.errors import EXIT_SOME_FAILED, UserError, run_command
from deepfake.judging.codec import to_json
from deepfake.judging.run import RESULTS, read_run
from deepfake.scoring.clips import score_clips
from deepfake.scoring.detector import Detector
from deepfake.training.data import load_splits
from deepfake.training.recipe import read_recipe

ROOT = Path(__file__).parents[1]
RECORDINGS = ROOT / "examples" / "recordings"
SYSTEMS = ("cnn_a", "cnn_b", "cnn_mfcc", "resnet18", "res2net50", "senet154", "gnn", "lstm", "darts_lstm")
SHIPPED = "checkpoints/compact"


def compare(arguments: argparse.Namespace) -> int:
    """Train what is not trained yet, measure, write the table.

    Raises:
        UserError: an unknown system, a dataset without a test split, or an output folder of another comparison.
    """
    unknown = [name for name in arguments.systems if not recipe_of(name).is_file()]
    if unknown:
        raise UserError(f"no recipe configs/{unknown[0]}.yaml; expected some of {', '.join(SYSTEMS)}")
    dataset = load_splits(arguments.dataset)
    if "test" not in dataset:
        raise UserError(f"{arguments.dataset} has no test split to compare systems on; build it with one")
    output: Path = arguments.output
    _require_same_budget(output, arguments)
    seen = set(dataset["train"]["generator"]) if "generator" in dataset["train"].column_names else None
    test = dataset["test"]
    rows = [constant_row(test, seen)]
    for number, name in enumerate(arguments.systems, start=1):
        _say(f"{name} ({number} of {len(arguments.systems)})")
        rows.append(_system(name, arguments, test, seen))
        _say(rows[-1].summary())
    for model in arguments.model:
        _say(f"{model}, as it is")
        rows.append(_reference(model, test, seen, output, arguments.retime))
        _say(rows[-1].summary())
    facts = _facts(arguments, dataset)
    values = {**facts, "rows": [to_json(row) for row in rows]}
    (output / "systems.json").write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    text = markdown(rows, facts)
    (output / "systems.md").write_text(text, encoding="utf-8")
    draw_table(output / "systems.png", rows)
    print(text)
    return EXIT_SOME_FAILED if any(row.error for row in rows) else 0


def recipe_of(name: str) -> Path:
    """The recipe of a system."""
    return ROOT / "configs" / f"{name}.yaml"


def train(name: str, arguments: argparse.Namespace, folder: Path) -> str | None:
    """Run the system's recipe into `folder`; returns why that failed, None if it did not."""
    epochs = read_recipe(recipe_of(name)).get("num_train_epochs", 1)
    command = [sys.executable, "train_wav2vec2.py", "--config", recipe_of(name), "--seed", arguments.seed,
               "--dataset", Path(arguments.dataset).absolute(), "--output_dir", folder.absolute()]  # fmt: skip
    if arguments.max_epochs:
        command += ["--num_train_epochs", min(epochs, arguments.max_epochs)]
    if arguments.max_minutes:
        command += ["--max_minutes", arguments.max_minutes]
    words = [str(word) for word in (*command, *arguments.extra)]
    last = ""
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:  # bars end in \r, which reads as a line, too
            sys.stderr.write(line)
            last = line.strip() or last
    return None if process.returncode == 0 else last.removeprefix("error: ") or f"exit status {process.returncode}"


def _system(name: str, arguments: argparse.Namespace, test: Dataset, seen: set[str] | None) -> Row:
    folder = arguments.output / name
    try:
        error = None if (folder / RESULTS).is_file() else train(name, arguments, folder)
        if error:
            return Row(name, error=error)
        results = read_run(folder / RESULTS)
        scores = score_column(folder / "scores_test.csv", len(test))
        speed = kept(
            folder / "speed.json",
            arguments.retime,
            lambda: _speed(str(folder), lambda: seconds_per_epoch(recipe_of(name), folder, arguments.dataset)),
        )
        return trained_row(name, results, scores, speed, test, seen)
    except (UserError, OSError, ValueError, RuntimeError) as error:  # the others are compared all the same
        return Row(name, error=" ".join(str(error).split()))


def _reference(model: str, test: Dataset, seen: set[str] | None, output: Path, retime: bool) -> Row:
    name = Path(model).name
    try:
        detector = Detector.from_pretrained(model)
        scores = score_clips(detector, test, name).logits
        speed = kept(output / f"speed_{name}.json", retime, lambda: _speed(model, None))
        return untrained_row(name, detector, scores, speed, test, seen)
    except (UserError, OSError, ValueError, RuntimeError) as error:
        return Row(name, error=" ".join(str(error).split()))


def _speed(model: str, measure_epoch: Callable[[], float] | None) -> dict[str, float | None]:
    files = [file.path for file in find_audio_files([RECORDINGS])]
    return {
        "realtime": round(realtime(model, files), 1),
        "epoch_s": None if measure_epoch is None else round(measure_epoch(), 3),
    }


def _require_same_budget(output: Path, arguments: argparse.Namespace) -> None:
    asked = {
        "dataset": Path(arguments.dataset).absolute().name,
        "seed": arguments.seed,
        "max_epochs": arguments.max_epochs,
        "max_minutes": arguments.max_minutes,
        "extra": arguments.extra,
    }
    output.mkdir(parents=True, exist_ok=True)
    path = output / "budget.json"
    if path.is_file() and (held := json.loads(path.read_text(encoding="utf-8"))) != asked:
        raise UserError(f"{output} holds a comparison under {held}, asked for was {asked}; give another --output")
    path.write_text(json.dumps(asked) + "\n", encoding="utf-8")


def _facts(arguments: argparse.Namespace, dataset: dict[str, Dataset]) -> dict[str, Any]:
    sizes = {name: {"clips": len(rows), "fake": sum(rows["label"]), "recordings": len(set(rows["source"]))
                    if "source" in rows.column_names else None} for name, rows in dataset.items()}  # fmt: skip
    return {
        "dataset": Path(arguments.dataset).absolute().name,
        "splits": sizes,
        "seed": arguments.seed,
        "max_epochs": arguments.max_epochs,
        "max_minutes": arguments.max_minutes,
        "hardware": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.systems",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--dataset", required=True, help="folder written by `python -m data_prep build`, with a test split"
    )
    parser.add_argument("--output", type=Path, default=Path("out/systems"), help="default: out/systems")
    parser.add_argument("--systems", nargs="+", default=SYSTEMS, metavar="NAME", help=f"default: {' '.join(SYSTEMS)}")
    parser.add_argument("--model", nargs="*", default=[SHIPPED], help=f"detectors to compare with; default: {SHIPPED}")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--max_epochs", type=int, help="at most so many epochs each; default: as published")
    parser.add_argument("--max_minutes", type=float, help="no new epoch after so many minutes; default: no limit")
    parser.add_argument("--retime", action="store_true", help="measure all speeds again, e.g. on a quiet machine")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="the rest goes to train_wav2vec2.py")
    arguments = parser.parse_args(argv)
    return run_command(lambda: compare(arguments))


if __name__ == "__main__":
    sys.exit(main())
