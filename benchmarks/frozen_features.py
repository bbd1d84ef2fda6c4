"""Statistics of a frozen encoder's stages over every clip of a corpus: what a linear head can be fitted on in seconds.

The encoder is the convolutions and low layers of Whisper base, as published and not fine-tuned, or another of
benchmarks/frozen_encoders.py. Each stage gives the mean, the deviation and the mean absolute change of its frames.
"""

from __future__ import annotations

import csv
import hashlib
import sys
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from torch.nn import functional
from tqdm import tqdm

from benchmarks.frozen_encoders import Stages
from deepfake.architectures.compact import CompactConfig, CompactForAudioClassification
from deepfake.audio.decode import SAMPLING_RATE, AudioError, load_audio
from deepfake.audio.files import find_audio_files
from deepfake.channels.lines import telephone
from deepfake.dataset import read_splits
from deepfake.errors import UserError
from deepfake.models.precision import with_precision
from deepfake.training.stacked.encoder import load_encoder
from deepfake.training.stacked.sampling import FAKE, ClipFacts, column_of
from deepfake.training.stacked.sound import compressor

CLEAN, TELEPHONE, DENOISED, COMPRESSED = "clean", "telephone", "denoised", "compressed"
_LONGEST_S, _SHORTEST_S = 13.0, 0.5
_CHUNK = 128  # clips between two writes
_PIECE = 3 * SAMPLING_RATE
_EMBEDDED = Path(__file__).parents[1] / "examples" / "recordings"
_FACTS = ("page", "kind", "family", "generator", "speaker", "language", "year", "group_id", "licence", "source")

Change = Callable[[np.ndarray, str], np.ndarray]


@dataclass(frozen=True)
class Corpus:
    """Clips that have features.

    Attributes:
        facts: of each clip.
        licence: what its page states, "" where nothing is known, shape (clips,).
        features: by condition, float32 of shape (clips, values), scaled by what they are on the embedded recordings of
            people: minus their mean there, divided by their deviation. So no clip of the corpus decides how others
            are seen.
    """

    facts: ClipFacts
    licence: np.ndarray
    features: dict[str, np.ndarray]


def read_corpus(place: str) -> Dataset:
    """The rows of a prepared dataset (all splits), or of a folder with a metadata.csv that names pages.

    Raises:
        UserError: it is neither.
    """
    table = Path(place) / "metadata.csv"
    if not table.is_file():
        return concatenate_datasets(list(read_splits(place).values()))
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("page")]
    if not rows:
        raise UserError(f"no row of {table} names a page; expected what `python -m data_prep fetch` writes")
    columns = {name: [row.get(name) or None for row in rows] for name in _FACTS}
    columns["year"] = [int(float(year)) if year else None for year in columns["year"]]
    audio = [{"bytes": None, "path": str(table.parent / row["file_name"])} for row in rows]
    return Dataset.from_dict({"audio": audio, "label": [int(row["label"] == "fake") for row in rows], **columns})


def frozen_encoder(source: str, layers: int = 4) -> CompactForAudioClassification:
    """The convolutions and `layers` layers of a published Whisper base, with linear layers in their fastest form."""
    model = CompactForAudioClassification(CompactConfig(layers=layers, edge=0))
    load_encoder(model, source)
    return with_precision(model.eval(), "fp32")


def statistics(model: Stages, samples: np.ndarray) -> np.ndarray:
    """One clip, float32 of shape (samples,), as float32: three times its channels for each stage, one after another."""
    with torch.inference_mode():
        found = []
        for frames in model.stages(torch.from_numpy(samples)):
            frames = functional.layer_norm(frames, frames.shape[-1:])
            found += [frames.mean(0), frames.std(0, correction=0), frames.diff(dim=0).abs().mean(0)]
        return torch.cat(found).numpy()


def by_telephone(samples: np.ndarray, name: str) -> np.ndarray:
    """As the shipped detector's held-out clips were: G.711, half of them A-law."""
    return telephone(samples, "a" if zlib.crc32(name.encode()) % 2 else "mu")


def denoised(samples: np.ndarray, name: str) -> np.ndarray:
    """Spectral gating: from each frequency two and a half times its 15 % quantile is taken, and 5 % left at least."""
    window = torch.hann_window(512)
    spectrum = torch.stft(torch.from_numpy(samples), 512, 128, window=window, return_complex=True)
    magnitude = spectrum.abs()
    floor = 2.5 * torch.quantile(magnitude, 0.15, dim=1, keepdim=True)
    gate = ((magnitude - floor) / (magnitude + 1e-9)).clamp(min=0.05)
    return torch.istft(spectrum * gate, 512, 128, window=window, length=len(samples)).numpy()


def loudness_levelled(samples: np.ndarray, name: str) -> np.ndarray:
    """Loud and soft parts brought nearer to each other, as broadcasters and portals do; the strength is drawn."""
    batch = torch.from_numpy(samples)[None]
    rng = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return compressor(batch, batch, torch.tensor([len(samples)]), rng)[0].numpy()


CHANGES: dict[str, Change | None] = {
    CLEAN: None, TELEPHONE: by_telephone, DENOISED: denoised, COMPRESSED: loudness_levelled,
}  # fmt: skip
_HUMAN_ONLY = (DENOISED, COMPRESSED)


def corpus_features(
    place: str,
    encoder: str,
    work: Path,
    layers: int = 4,
    workers: int | None = None,
    conditions: Sequence[str] = tuple(CHANGES),
    load: Callable[[], Stages] | None = None,
) -> Corpus:
    """Features of every clip under some of `CHANGES`, clean and telephone at least, from `work` if there.

    A run that was killed goes on where it stopped. Denoised and compressed are features of human clips alone; those of
    fakes are NaN.

    Args:
        place: see `read_corpus`. encoder: folder or Hub id of Whisper base. work: folder for the features, 31 MB for
            1,000 clips. workers: threads; default: as torch has. load: makes an encoder of another kind or size, of
            which `encoder` and `layers` are then no more than the name under which its features are kept.
    """
    rows = read_corpus(place)
    facts = ClipFacts.of(rows)
    names = [str(source or row) for row, source in enumerate(column_of(rows, "source"))]
    key = hashlib.sha256("\n".join([encoder, str(layers), *names]).encode()).hexdigest()[:12]
    folder = work / f"frozen_{key}"
    folder.mkdir(parents=True, exist_ok=True)
    load = load or (lambda: frozen_encoder(encoder, layers))
    model: Stages | None = None
    found = {}
    workers = workers or torch.get_num_threads()
    for condition in conditions:
        parts = []
        starts = range(0, len(rows), _CHUNK)
        for start in tqdm(starts, desc=condition, unit=f"{_CHUNK} clips", file=sys.stderr, disable=None):
            path = folder / f"{condition}_{start:06d}.npy"
            if not path.is_file():
                model = model or load()
                chosen = list(range(start, min(start + _CHUNK, len(rows))))
                wanted = [condition not in _HUMAN_ONLY or facts.label[i] != FAKE for i in chosen]
                _write(path, _features(model, rows, names, chosen, wanted, CHANGES[condition], workers))
            parts.append(np.load(path))
        found[condition] = np.concatenate(parts).astype(np.float32)
    path = folder / "reference.npy"
    if not path.is_file():
        _write(path, _of_embedded_people(model or load()))
    reference = np.load(path)
    mean, deviation = reference.mean(0), reference.std(0) + 1e-3
    kept = np.isfinite(found[CLEAN]).all(1) & np.isfinite(found[TELEPHONE]).all(1)
    licence = np.array([str(one or "") for one in column_of(rows, "licence")])
    return Corpus(
        facts[kept], licence[kept], {name: (values[kept] - mean) / deviation for name, values in found.items()}
    )


def _of_embedded_people(model: Stages) -> np.ndarray:
    """Features of every 3 s of the embedded recordings of people, float32 of shape (pieces, values)."""
    pieces = []
    for file in find_audio_files([_EMBEDDED / "real"]):
        samples = load_audio(file.path)
        pieces += [samples[start : start + _PIECE] for start in range(0, len(samples) - _PIECE, _PIECE)]
    return np.stack([statistics(model, piece) for piece in pieces])


def _features(
    model: Stages,
    rows: Dataset,
    names: list[str],
    chosen: list[int],
    wanted: list[bool],
    change: Change | None,
    workers: int,
) -> np.ndarray:
    """float16 of shape (clips, values), NaN where a clip is not wanted, cannot be decoded or is too short."""
    values = len(statistics(model, np.zeros(SAMPLING_RATE, np.float32)))
    audio = rows.select(chosen)["audio"]

    def one(number: int) -> np.ndarray:
        nothing = np.full(values, np.nan, np.float16)
        if not wanted[number]:
            return nothing
        try:
            samples = load_audio(audio[number]["bytes"] or audio[number]["path"])[: round(_LONGEST_S * SAMPLING_RATE)]
        except AudioError:
            return nothing
        if len(samples) < _SHORTEST_S * SAMPLING_RATE:
            return nothing
        if change is not None:
            samples = change(samples, names[chosen[number]])
        return statistics(model, samples).astype(np.float16)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a clip a thread: many small operations wait for each other otherwise
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return np.stack(list(pool.map(one, range(len(chosen)))))
    finally:
        torch.set_num_threads(threads)


def _write(path: Path, values: np.ndarray) -> None:
    partial = path.with_suffix(".partial.npy")
    np.save(partial, values)
    partial.replace(path)
