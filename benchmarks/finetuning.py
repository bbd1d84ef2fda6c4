"""Fine-tuning at XLS-R geometry: the published recipe, the prefix freeze, and the cached prefix, in one run.

    python -m data_prep build examples/recordings --output DIR
    python -m benchmarks.finetuning --dataset DIR --output benchmarks/results/finetuning_cpu.json

Weights are random, which costs what real ones cost. All variants take the same clips, one optimiser step of the same
AdamW an epoch. `published` is the published recipe on transformers' own kernels; `published, packed` is the same freeze
with what our recipe adds besides freezing (packed clips, oneDNN linear layers), so that the two can be told apart. Each
variant runs in a process of its own, so that its peak memory is its own; epochs are timed from first to last step,
evaluation left out. On CUDA everything runs in fp16.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForAudioClassification, TrainerCallback, Wav2Vec2FeatureExtractor, set_seed

from benchmarks.scoring import matmul_peak
from deepfake.errors import UserError, run_command
from deepfake.models.freeze import freeze, on_meta
from deepfake.training.arguments import parse_recipe
from deepfake.training.data import load_splits
from deepfake.training.model import load_feature_extractor, load_model, planned_config
from deepfake.training.plan import dummy_input, step_cost
from deepfake.training.prefix import build_cache
from deepfake.training.recipe import Recipe, freeze_plan
from deepfake.training.trainer import build_trainer, train_from_cache, train_or_stop

_PUBLISHED, _PREFIX = "configs/wav2vec2_xlsr.yaml", "configs/wav2vec2_xlsr_prefix.yaml"
VARIANTS = {
    "published": (_PUBLISHED, ("--optim", "adamw_torch_fused")),
    "published, packed": (_PUBLISHED, ("--optim", "adamw_torch_fused", "--pack_clips", "true", "--one_dnn", "true")),
    "prefix": (_PREFIX, ()),
    "cached": (_PREFIX, ("--cache_prefix", "true")),
}
_BATCH = 4  # clips at once, as in the published recipe
_CUDA = torch.cuda.is_available()


class EpochClock(TrainerCallback):
    """Seconds of each epoch; no third one is begun when two took longer than `enough_s`."""

    def __init__(self, enough_s: float) -> None:
        self.seconds: list[float] = []
        self._enough_s = enough_s
        self._begun = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._begun = _now()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(_now() - self._begun)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if len(self.seconds) == 1 and self.seconds[0] + _now() - self._begun > self._enough_s:
            control.should_training_stop = True


def measure(variant: str, start: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train on some training clips, their durations evenly over the dataset's; seconds, memory, operations."""
    config, extra = VARIANTS[variant]
    recipe = parse_recipe(
        ["--config", config, "--model_name_or_path", str(start), "--dataset", arguments.dataset, "--output_dir",
         str(arguments.work), "--num_train_epochs", str(arguments.epochs), "--eval_strategy", "no",
         "--save_strategy", "no", "--load_best_model_at_end", "false", "--early_stopping_patience", "0",
         "--logging_steps", "1000", "--per_device_train_batch_size", str(_BATCH), "--gradient_accumulation_steps",
         str(max(1, arguments.clips // _BATCH)), "--precision", "fp16" if _CUDA else "fp32", *extra]
    )  # fmt: skip
    dataset = load_splits(arguments.dataset)
    train = dataset["train"].sort("duration_s")
    middles = (np.arange(arguments.clips) + 0.5) / arguments.clips  # of as many equal parts, sorted by duration
    dataset["train"] = train.select((middles * len(train)).astype(int))
    dataset["validation"] = dataset["validation"].select(range(1))
    peak = matmul_peak("cuda" if _CUDA else "cpu", torch.float16 if _CUDA else torch.float32)
    set_seed(0)
    model = load_model(recipe)
    extractor = load_feature_extractor(recipe, model.config)
    trainer = build_trainer(recipe, model, extractor, dataset)
    clock = EpochClock(arguments.enough_s)
    trainer.add_callback(clock)
    caching = 0.0
    if recipe.arguments.cache_prefix:
        begun = _now()
        cache = build_cache(arguments.work / "cache", model, extractor, dataset, recipe)
        caching = _now() - begun
        train_from_cache(trainer, None, cache)
    else:
        train_or_stop(trainer, None)
    epoch_s = statistics.median(clock.seconds[1:])
    work = operations(recipe, dataset["train"]["duration_s"])
    return {
        "variant": variant,
        "audio_s": round(sum(dataset["train"]["duration_s"]), 2),
        "epoch_s": [round(s, 3) for s in clock.seconds],
        "later_epochs_s": round(epoch_s, 3),
        "clips_per_s": round(arguments.clips / epoch_s, 3),
        "caching_s": round(caching, 3),
        "tflop_per_epoch": round(work / 1e12, 3),
        "matmul_gflop_per_s": round(peak / 1e9),
        "share_of_matmul": round(work / epoch_s / peak, 3),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "peak_gpu_memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if _CUDA else None,
    }


def operations(recipe: Recipe, durations_s: list[float]) -> float:
    """Floating point operations that an epoch needs, none of them on padding."""
    model = on_meta(AutoModelForAudioClassification.from_config, planned_config(recipe))
    freeze(model, freeze_plan(recipe.arguments))
    total = 0.0
    for seconds in durations_s:
        cost = step_cost(model, dummy_input(model.config, 1, seconds))
        # Above the cache, backward is two products for each one of forward.
        total += cost.backward * 1.5 if recipe.arguments.cache_prefix else cost.forward + cost.backward
    return total


def compare(arguments: argparse.Namespace) -> None:
    if arguments.epochs < 2:
        raise UserError(f"--epochs is {arguments.epochs}; expected 2 or more, as the first epoch is not compared")
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start"
        recipe = parse_recipe(["--config", _PUBLISHED, "--plan"])
        set_seed(0)
        AutoModelForAudioClassification.from_config(planned_config(recipe)).save_pretrained(start)
        Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(start)
        results = []
        for number, variant in enumerate(arguments.variants):
            command = [sys.executable, "-m", "benchmarks.finetuning", "--dataset", arguments.dataset]
            command += ["--clips", str(arguments.clips), "--epochs", str(arguments.epochs)]
            command += ["--enough_s", str(arguments.enough_s)]
            command += ["--one", variant, "--start", str(start), "--work", str(Path(folder) / str(number))]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results.append(json.loads(done.stdout))
            print(f"{variant}: {results[-1]}", file=sys.stderr)
    base = next((r["later_epochs_s"] for r in results if r["variant"] == "published"), None)
    for row in results:
        row["times_published"] = None if base is None else round(base / row["later_epochs_s"], 2)
    device = torch.cuda.get_device_name() if _CUDA else f"CPU, {os.cpu_count()} cores"
    report = {
        "hardware": device,
        "torch": torch.__version__,
        "precision": "fp16" if _CUDA else "fp32",
        "clips": arguments.clips,
        "clips_at_once": min(_BATCH, arguments.clips),
        "optimizer_steps_per_epoch": 1,
        "results": results,
    }
    print(_table(results, device))
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _table(results: list[dict[str, Any]], device: str) -> str:
    lines = [
        f"{'variant':<18} {'s per epoch':>12} {'faster':>8} {'of matmul':>10} {'caching s':>10} {'GB':>6}   {device}"
    ]
    for r in results:
        times = f"{r['times_published']:.2f}x" if r["times_published"] else ""
        memory = r["peak_gpu_memory_gb"] or r["peak_memory_gb"]
        lines.append(
            f"{r['variant']:<18} {r['later_epochs_s']:>12.2f} {times:>8} {r['share_of_matmul']:>10.0%} "
            f"{r['caching_s']:>10.2f} {memory:>6.2f}"
        )
    return "\n".join(lines)


def _now() -> float:
    if _CUDA:
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.finetuning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", required=True, help="folder written by `python -m data_prep build`")
    parser.add_argument("--clips", type=int, default=16, help="training clips of one optimiser step (default 16)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each variant; the first is not compared")
    parser.add_argument("--enough_s", type=float, default=60.0, help="begin no third epoch after two of this together")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="which to run")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is None:
        return run_command(lambda: compare(arguments))
    print(json.dumps(measure(arguments.one, arguments.start, arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
