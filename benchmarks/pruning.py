#!/usr/bin/env python3
"""What pruning costs the shipped detector: its smallest weights set to zero, or its last layer left out.

python -m benchmarks.pruning --corpus FOLDER --clips 80

FOLDER has a metadata.csv with file_name and label; its clips should be none that the detector was fitted on. Nothing is
fitted again after pruning. Of each variant: ROC-AUC, and how far its scores are from those of the whole detector.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from deepfake.architectures.compact import CompactForAudioClassification
from deepfake.audio.decode import load_audio
from deepfake.metrics.definitions import roc_auc
from deepfake.models.checkpoint import default_model, load_checkpoint
from deepfake.models.forward import TorchForward
from deepfake.models.precision import with_precision
from deepfake.text import fake_probability

SHARES = (0.1, 0.2, 0.3, 0.5)


def variants(model: CompactForAudioClassification) -> Iterator[tuple[str, CompactForAudioClassification]]:
    """The whole model, and pruned ones, by what was done to them."""
    yield "as shipped", model
    for share in SHARES:
        yield (
            f"{100 * share:.0f} % of the encoder's weights, the smallest of each matrix, set to zero",
            pruned(model, share),
        )
    for last in (1, 2):
        shorter = copy.deepcopy(model)
        del shorter.layers[-last:], shorter.pooling.projections[-last:]
        yield f"without the last {'layer' if last == 1 else f'{last} layers'}", shorter


def pruned(model: CompactForAudioClassification, share: float) -> CompactForAudioClassification:
    """A copy with the smallest `share` of each of the encoder's matrices and convolutions set to zero."""
    found = copy.deepcopy(model)
    with torch.no_grad():
        for name, weight in found.named_parameters():
            if weight.dim() > 1 and not name.startswith(("pooling", "head")):
                limit = weight.abs().flatten().kthvalue(max(1, round(share * weight.numel()))).values
                weight.mul_(weight.abs() > limit)
    return found


def read_clips(folder: Path, clips: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Samples and labels (1 fake) of `clips` clips a class, drawn by `seed`."""
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row.get("page")]
    rng, waves, labels = np.random.default_rng(seed), [], []
    for label, name in enumerate(("real", "fake")):
        mine = [row["file_name"] for row in rows if row["label"] == name]
        for index in rng.permutation(len(mine))[:clips]:
            waves.append(load_audio(folder / mine[index]))
            labels.append(label)
    return waves, np.array(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--corpus", type=Path, required=True, help="folder with metadata.csv; rows with a page are not used"
    )
    parser.add_argument("--clips", type=int, default=80, help="of each class")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    waves, labels = read_clips(arguments.corpus, arguments.clips, seed=0)
    checkpoint = load_checkpoint(default_model(), "cpu")
    results, whole = {}, None
    for name, model in variants(checkpoint.model):
        forward = TorchForward(with_precision(model, "fp32"), checkpoint.extractor, checkpoint.fake_index, None)
        shown = tqdm(range(0, len(waves), 8), desc=name[:40], file=sys.stderr, disable=None)
        logits = np.array([score.logit for start in shown for score in forward(waves[start : start + 8])])
        scores = np.array([fake_probability(value) for value in logits])
        whole = scores if whole is None else whole
        change = np.abs(scores - whole)
        results[name] = {
            "roc_auc": roc_auc(logits, labels),
            "mean_change": float(change.mean()),
            "largest_change": float(change.max()),
            "other_verdicts": float(((scores >= checkpoint.threshold) != (whole >= checkpoint.threshold)).mean()),
        }
        print(f"{name}: {json.dumps(results[name])}", flush=True)
    if arguments.output:
        facts = {"human": int((labels == 0).sum()), "fake": int((labels == 1).sum())}
        arguments.output.write_text(json.dumps(facts | {"variants": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
