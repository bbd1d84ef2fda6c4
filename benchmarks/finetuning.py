"""Fine-tuning at XLS-R geometry: the published recipe, the prefix freeze, and the cached prefix, in one run.

    python -m benchmarks.finetuning --dataset DIR --output benchmarks/results/finetuning.json

Weights are random, which costs what real ones cost. Each variant runs in a process of its own, so that its peak memory
is its own; epochs are timed from first to last step, evaluation left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForAudioClassification, TrainerCallback, Wav2Vec2FeatureExtractor, set_seed

from data_prep.errors import UserError, run_command
from training.arguments import parse_recipe
from training.data import load_splits
from training.model import load_feature_extractor, load_model, planned_config
from training.prefix import build_cache
from training.trainer import build_trainer, train_from_cache, train_or_stop

VARIANTS = {
    "published": ("configs/wav2vec2_xlsr.yaml", ()),
    "prefix": ("configs/wav2vec2_xlsr_prefix.yaml", ()),
    "cached": ("configs/wav2vec2_xlsr_prefix.yaml", ("--cache_prefix", "true")),
}


class EpochClock(TrainerCallback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._begun = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._begun)


def measure(variant: str, start: Path, dataset_dir: str, clips: int, epochs: int, work: Path) -> dict[str, Any]:
    """Train `epochs` epochs on `clips` training clips; returns seconds per epoch and peak memory in GB."""
    config, extra = VARIANTS[variant]
    recipe = parse_recipe(
        ["--config", config, "--model_name_or_path", str(start), "--dataset", dataset_dir, "--output_dir", str(work),
         "--num_train_epochs", str(epochs), "--eval_strategy", "no", "--save_strategy", "no",
         "--load_best_model_at_end", "false", "--early_stopping_patience", "0", "--logging_steps", "1000",
         "--per_device_train_batch_size", "4", "--gradient_accumulation_steps", str(max(1, clips // 4)),
         "--precision", "fp16" if torch.cuda.is_available() else "fp32", *extra]
    )  # fmt: skip
    dataset = load_splits(dataset_dir)
    dataset["train"] = dataset["train"].sort("duration_s").select(range(clips))
    dataset["validation"] = dataset["validation"].select(range(1))
    set_seed(0)
    model = load_model(recipe)
    extractor = load_feature_extractor(recipe, model.config)
    trainer = build_trainer(recipe, model, extractor, dataset)
    clock = EpochClock()
    trainer.add_callback(clock)
    caching = 0.0
    if recipe.arguments.cache_prefix:
        begun = time.perf_counter()
        cache = build_cache(work / "cache", model, extractor, dataset, recipe)
        caching = time.perf_counter() - begun
        train_from_cache(trainer, None, cache)
    else:
        train_or_stop(trainer, None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {
        "variant": variant,
        "audio_s": round(sum(dataset["train"]["duration_s"]), 2),
        "epoch_s": [round(s, 3) for s in clock.seconds],
        "later_epochs_s": round(sorted(clock.seconds[1:])[len(clock.seconds[1:]) // 2], 3),
        "caching_s": round(caching, 3),
        "peak_memory_gb": round(peak, 2),
        "peak_gpu_memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if torch.cuda.is_available() else None,
    }


def compare(arguments: argparse.Namespace) -> None:
    if arguments.epochs < 2:
        raise UserError(f"--epochs is {arguments.epochs}; expected 2 or more, as the first epoch is not compared")
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start"
        recipe = parse_recipe(["--config", VARIANTS["published"][0], "--plan"])
        set_seed(0)
        AutoModelForAudioClassification.from_config(planned_config(recipe)).save_pretrained(start)
        Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(start)
        results = []
        for variant in VARIANTS:
            work = Path(folder) / variant
            command = [
                sys.executable,
                "-m",
                "benchmarks.finetuning",
                "--dataset",
                arguments.dataset,
                "--variant",
                variant,
            ]
            command += ["--clips", str(arguments.clips), "--epochs", str(arguments.epochs), "--work", str(work)]
            done = subprocess.run([*command, "--start", str(start)], stdout=subprocess.PIPE, text=True, check=True)
            results.append(json.loads(done.stdout))
            print(f"{variant}: {results[-1]}", file=sys.stderr)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    base = results[0]["later_epochs_s"]
    for row in results:
        row["times_published"] = round(base / row["later_epochs_s"], 2)
    report = {"hardware": device, "torch": torch.__version__, "clips": arguments.clips, "results": results}
    print(f"{'variant':<10} {'s per epoch':>12} {'faster':>8} {'caching s':>10} {'peak GB':>8}   ({device})")
    for r in results:
        times, peak = f"{r['times_published']:.2f}x", r["peak_memory_gb"]
        print(f"{r['variant']:<10} {r['later_epochs_s']:>12.2f} {times:>8} {r['caching_s']:>10.2f} {peak:>8.2f}")
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.finetuning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", required=True, help="folder written by `python -m data_prep build`")
    parser.add_argument("--clips", type=int, default=8, help="training clips, the shortest ones (default 8)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each variant; the first is not compared")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant is None:
        return run_command(lambda: compare(arguments))
    found = measure(
        arguments.variant, arguments.start, arguments.dataset, arguments.clips, arguments.epochs, arguments.work
    )
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
