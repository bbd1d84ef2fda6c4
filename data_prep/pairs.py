"""Same-clip pairs: a stretch of human speech and the vocoder's copy of it, alike in everything but what made it.

Words, speaker, room and level are the same in both, so what a detector learns from a pair can only be the vocoder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from datasets import load_from_disk
from tqdm import tqdm

from data_prep.vocoder import LJSPEECH, UNIVERSAL, HifiGan
from deepfake.audio.decode import SAMPLING_RATE, encode_flac, load_audio
from deepfake.errors import UserError
from deepfake.provenance import read_provenance
from deepfake.schema import SPLITS

FOLDER, _INDEX = "pairs", "pairs.jsonl"
GENERATOR = "hifigan-pair"
CROP_S = 2.5
_LEVEL = 0.08  # RMS of both, full scale 1 (-22 dBFS)


@dataclass(frozen=True)
class Pair:
    """One pair as `pairs.jsonl` lists it. `real` and `fake` are file names beside it; `source` is the human clip's."""

    real: str
    fake: str
    source: str
    split: str
    weights: str


def make_pairs(dataset: Path, count: int, leave_out: str | None, seed: int) -> Path:
    """Write `count` pairs into `dataset`/pairs; what an interrupted call left there is kept and gone on with.

    Args:
        dataset: folder written by `python -m data_prep build`.
        leave_out: no pair is made of a recording whose name matches this, or that shares a group with one that does.
        seed: which clips, which crops, which variation.

    Raises:
        UserError: not a built dataset, too few human clips, or no vocoder installed.
    """
    clips = _human_clips(dataset, leave_out)
    if len(clips) < count:
        raise UserError(f"{dataset} has {len(clips)} usable human clips; expected {count}: lower --count")
    folder = dataset / FOLDER
    folder.mkdir(exist_ok=True)
    done = len(read_pairs(dataset)) if (folder / _INDEX).exists() else 0
    vocoders = {name: HifiGan(name) for name in (UNIVERSAL, LJSPEECH)}
    order = np.random.default_rng(seed).permutation(len(clips))[:count]
    with (folder / _INDEX).open("a", encoding="utf-8") as index:
        for number in tqdm(range(done, count), initial=done, total=count, desc="pairs", unit="pair"):
            rng = np.random.default_rng([seed, number])
            split, row = clips[order[number]]
            pair = _make(folder, number, split, row, vocoders, rng)
            index.write(json.dumps(asdict(pair)) + "\n")
            index.flush()
    print(f"{count} pairs are in {folder}", file=sys.stderr)
    return folder


def read_pairs(dataset: Path) -> list[Pair]:
    """What `make_pairs` wrote.

    Raises:
        UserError: nothing was made there.
    """
    path = dataset / FOLDER / _INDEX
    if not path.is_file():
        raise UserError(f"{dataset} has no pairs; make them with: python -m data_prep pairs {dataset}")
    return [Pair(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _human_clips(dataset: Path, leave_out: str | None) -> list[tuple[str, dict]]:
    if not (dataset / "dataset_dict.json").is_file():
        raise UserError(f"{dataset} holds no finished dataset; expected a folder written by: data_prep build")
    left_out = read_provenance(dataset).related(leave_out) if leave_out else set()
    splits = load_from_disk(str(dataset))
    return [pair for split in SPLITS if split in splits for pair in _rows(split, splits[split], left_out)]


def _rows(split: str, rows: object, left_out: set[str]) -> Iterator[tuple[str, dict]]:
    for row in rows:
        if row["generator"] == "human" and row["source"] not in left_out:
            yield split, row


def _make(
    folder: Path, number: int, split: str, row: dict, vocoders: dict[str, HifiGan], rng: np.random.Generator
) -> Pair:
    samples, length = load_audio(row["audio"]["bytes"]), round(CROP_S * SAMPLING_RATE)
    start = int(rng.integers(max(1, len(samples) - length + 1)))
    crop = samples[start : start + length]
    weights = LJSPEECH if (row["speaker"] or "").startswith("LJ") and rng.random() < 0.5 else UNIVERSAL
    names = [f"{number:04d}_{label}.flac" for label in ("real", "fake")]
    for name, made in zip(names, (crop, vocoders[weights].copy(crop, rng)), strict=True):
        scale = _LEVEL / (float(np.sqrt(np.mean(np.square(made, dtype=np.float64)))) + 1e-9)
        (folder / name).write_bytes(encode_flac(made * np.float32(scale)))
    return Pair(*names, row["source"], split, weights)
