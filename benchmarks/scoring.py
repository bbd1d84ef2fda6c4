#!/usr/bin/env python3
"""How fast a folder is scored: the published usage loop, the transformers pipeline and ours, interleaved in one run.

python benchmarks/scoring.py --audio FOLDER --clips 8 --repeats 3             XLS-R 300M geometry, random weights
python benchmarks/scoring.py --audio FOLDER --model OUT                       a trained checkpoint
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import librosa
import numpy as np
import torch
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    pipeline,
)

from deepfake.audio.decode import load_audio
from deepfake.audio.files import find_audio_files
from deepfake.models.inputs import featurise, has_fixed_length
from infer import Detector

# Encoder and head of XLS-R 300M as published: 315,701,634 parameters.
XLSR = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
    "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True, "classifier_proj_size": 256,
    "id2label": {0: "real", 1: "fake"}, "label2id": {"real": 0, "fake": 1},
}  # fmt: skip


def published_loop(folder: str, files: list[str], device: str) -> Callable[[], list[float]]:
    """What the usage section of the published model card does: one clip at a time, decoded by librosa."""
    model = AutoModelForAudioClassification.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    padding = "max_length" if has_fixed_length(extractor) else True  # as published, where the model allows it

    def run() -> list[float]:
        scores = []
        for path in files:
            audio, _ = librosa.load(path, sr=16000, mono=True)
            inputs = extractor(audio, sampling_rate=16000, return_tensors="pt", padding=padding)
            with torch.no_grad():
                logits = model(**{k: v.to(device) for k, v in inputs.items()}).logits
            scores.append(torch.softmax(logits, dim=-1)[0, 1].item())
        return scores

    return run


def stock_pipeline(folder: str, files: list[str], device: str) -> Callable[[], list[float]]:
    """`transformers.pipeline`, fed with decoded arrays (its own decoder needs an ffmpeg program)."""
    classify = pipeline("audio-classification", model=folder, device=device, dtype=torch.float32)

    def run() -> list[float]:
        arrays = ({"raw": librosa.load(path, sr=16000, mono=True)[0], "sampling_rate": 16000} for path in files)
        answers = (classify(array, top_k=None) for array in arrays)
        return [next(a["score"] for a in answer if a["label"] == "fake") for answer in answers]

    return run


def ours(folder: str, files: list[str], device: str, precision: str) -> Callable[[], list[float]]:
    """`Detector.score_files`. The parity gate has done its work after the warm-up."""
    detector = Detector.from_pretrained(folder, device=device, precision=precision)
    return lambda: [row.fake_probability for row in detector.score_files(files)]


def matmul_peak(device: str, dtype: torch.dtype = torch.float32) -> float:
    """The best of many square products, through the library the model uses, in FLOP/s."""
    from deepfake.models.linear import OneDnnLinear

    size = 2048 if device == "cpu" else 8192
    a = torch.randn(size, size, device=device, dtype=dtype)
    linear = torch.nn.Linear(size, size, bias=False, device=device, dtype=dtype)
    product = OneDnnLinear(linear) if device == "cpu" else linear
    best = float("inf")
    with torch.inference_mode():
        for _ in range(12):
            started = time.perf_counter()
            product(a)
            if device != "cpu":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def int8_peak() -> float:
    """The best of many square products of int8 on a CPU, in operations a second."""
    size, best = 2048, float("inf")
    a = torch.randint(-127, 128, (size, size), dtype=torch.int8)
    for _ in range(12):
        started = time.perf_counter()
        torch._int_mm(a, a)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def flops(folder: str, seconds: float) -> float:
    """Multiply-adds × 2 of one forward pass over a clip, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    model = AutoModelForAudioClassification.from_pretrained(folder, dtype=torch.float32).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    inputs = featurise(extractor, [np.zeros(round(seconds * 16000), "f4")])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs)
    return counter.get_total_flops()


def save_random(folder: Path, layers: int) -> str:
    """XLS-R geometry, random weights, a head widened so that scores differ from clip to clip."""
    torch.manual_seed(0)
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**(XLSR | {"num_hidden_layers": layers})))
    with torch.no_grad():
        model.classifier.weight.mul_(10.0)
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    return str(folder)


def measure(runs: dict[str, Callable[[], list[float]]], repeats: int, audio_s: float) -> dict[str, dict[str, float]]:
    """Time all contenders in turn, so that a busy machine is busy for each; ratios are to the first, by repeat."""
    scores = {name: np.array(run(), dtype=float) for name, run in runs.items()}  # warm-up, and the scores to compare
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
            print(f"  {name}: {times[name][-1]:.2f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    first = next(iter(runs))
    return {
        name: {
            "seconds": statistics.median(values),
            "speedup": statistics.median(a / b for a, b in zip(times[first], values, strict=True)),
            "realtime": audio_s / statistics.median(values),
            "largest_score_change": float(np.abs(scores[name] - scores[first]).max()),
        }
        for name, values in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, required=True, help="folder of clips no longer than the model's window")
    parser.add_argument("--model", help="checkpoint; default: XLS-R 300M geometry with random weights")
    parser.add_argument("--layers", type=int, default=24, help="of the random model")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", nargs="+", help="default: fp32 bf16 int8 on a CPU, fp32 bf16 on a GPU")
    parser.add_argument("--output", type=Path, help="JSON file")
    arguments = parser.parse_args()
    files = [str(file.path) for file in islice(find_audio_files([arguments.audio]), arguments.clips)]
    audio_s = sum(len(load_audio(path)) for path in files) / 16000
    precisions = arguments.precision or (["fp32", "bf16", "int8"] if arguments.device == "cpu" else ["fp32", "bf16"])
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.model or save_random(Path(temporary), arguments.layers)
        runs = {
            "published loop": published_loop(folder, files, arguments.device),
            "transformers pipeline": stock_pipeline(folder, files, arguments.device),
        }
        runs |= {f"ours, {p}": ours(folder, files, arguments.device, p) for p in precisions}
        results = measure(runs, arguments.repeats, audio_s)
        work = flops(folder, audio_s / len(files)) * len(files)
    peak = matmul_peak(arguments.device)
    peaks = {"fp32": peak}
    if arguments.device == "cpu":
        peaks |= {"bf16": matmul_peak("cpu", torch.bfloat16), "int8": int8_peak()}
    said = ", ".join(f"{value / 1e9:.0f} ({name})" for name, value in peaks.items())
    print(f"\n{len(files)} clips, {audio_s:.1f} s of audio, {work / 1e9:.0f} GFLOP; matmul peaks in GFLOP/s: {said}")
    for name, result in results.items():
        result["share_of_peak"] = {kind: work / result["seconds"] / value for kind, value in peaks.items()}
        shares = ", ".join(f"{share:.0%} of {kind}" for kind, share in result["share_of_peak"].items())
        print(
            f"{name:<22} {result['seconds']:7.2f} s  {result['speedup']:5.2f} × loop  "
            f"{result['realtime']:7.1f} × realtime  {shares}  "
            f"|Δ| ≤ {result['largest_score_change']:.1e}"
        )
    if arguments.output:
        arguments.output.write_text(json.dumps({"peak_flops": peaks, "flops": work, "results": results}, indent=2))


if __name__ == "__main__":
    main()
