"""A compact detector's measurements of many clips under several channels, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from channels.catalogue import CONDITIONS
from compact import CompactForAudioClassification
from data_prep.audio import load_audio
from training.channel_draw import augment, levelled

CLEAN, AUGMENTED, TELEPHONE, CODEC = "clean", "augmented", "telephone", "codec"
CHANNELS = (CLEAN, AUGMENTED, TELEPHONE, CODEC)
MEASURED = (CLEAN, TELEPHONE, CODEC)  # those results are reported for
# Half of the clips each, by their name.
_TRIED = {TELEPHONE: ("g711_a", "g711_mu"), CODEC: ("mp3_32k", "opus_12k")}
_CONDITIONS = {condition.name: condition for condition in CONDITIONS}
_LEVEL_DB = -22.0
_GEOMETRY = (
    "channels", "mel_bins", "mel_fft", "mel_hop", "spectrum_fft", "spectrum_hop", "fine_fft", "fine_hop",
    "fine_smoothing", "level_db", "layers", "attention_heads",
)  # fmt: skip
_FORMAT = 2  # raise it when the same clip and seed would give other numbers

Statistics = dict[str, dict[str, np.ndarray]]  # head -> channel -> float32 of shape (clips, width)
Clip = tuple[str, str, bytes]  # unique name, name that the channels are drawn by, encoded audio

# Of a worker process:
_model: CompactForAudioClassification | None = None
_seed = 0


def through(samples: np.ndarray, channel: str, name: str, seed: int) -> np.ndarray:
    """A clip as it arrives through one of `CHANNELS`; what is drawn depends on (seed, channel, name) alone.

    The two clips of a pair have one name, so that they get the same room, noise and line.
    """
    samples = levelled(samples, _LEVEL_DB)
    if channel == CLEAN:
        return samples
    if channel == AUGMENTED:
        return augment(samples, np.random.default_rng([seed, zlib.crc32(name.encode())]))
    conditions = _TRIED[channel]
    return _CONDITIONS[conditions[zlib.crc32(name.encode()) % len(conditions)]].apply(samples, seed, name)


def measure_clips(
    model: CompactForAudioClassification, clips: Sequence[Clip], cache: Path, seed: int, workers: int | None = None
) -> Statistics:
    """The statistics of every clip under every channel, in the order given; from `cache` where it has them.

    Args:
        cache: folder; a file in it is named after the front ends, the clips and the seed, so that it is never stale.
        workers: processes of one thread each; None: one a core. The result does not depend on it.
    """
    path = cache / f"{_key(model, clips, seed)}.npz"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        found = _in_parallel(model, clips, seed, workers or len(os.sched_getaffinity(0)))
        arrays = {f"{head}/{channel}": np.stack([f[channel][head] for f in found])
                  for head in model.heads for channel in CHANNELS}  # fmt: skip
        temporary = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(temporary, **arrays)
        os.replace(temporary, path)
    with np.load(path) as stored:
        return {head: {channel: stored[f"{head}/{channel}"] for channel in CHANNELS} for head in model.heads}


def _key(model: CompactForAudioClassification, clips: Sequence[Clip], seed: int) -> str:
    geometry = [(name, getattr(model.config, name)) for name in _GEOMETRY]
    digest = hashlib.sha256(repr((_FORMAT, seed, geometry)).encode())
    for tensor in (*model.conv1.parameters(), *model.conv2.parameters(), *model.layers.parameters()):
        digest.update(tensor.detach().float().numpy().tobytes())
    for unique, name, audio in clips:
        digest.update(f"{unique} {name} ".encode() + hashlib.sha256(audio).digest())
    return digest.hexdigest()[:16]


def _in_parallel(
    model: CompactForAudioClassification, clips: Sequence[Clip], seed: int, workers: int
) -> list[dict[str, dict[str, np.ndarray]]]:
    bar: Callable[..., object] = tqdm(total=len(clips), desc="measuring", unit="clip", smoothing=0, disable=None)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    context = get_context("spawn")  # torch's threads do not survive a fork
    with bar, ProcessPoolExecutor(workers, context, _start, (model.config, state, seed)) as pool:
        found = []
        for one in pool.map(_measure, [(name, audio) for _, name, audio in clips], chunksize=8):
            found.append(one)
            bar.update()
    return found


def _start(config: object, state: dict[str, np.ndarray], seed: int) -> None:
    global _model, _seed
    torch.set_num_threads(1)
    _model = CompactForAudioClassification(config).eval()
    _model.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    _seed = seed


def _measure(clip: tuple[str, bytes]) -> dict[str, dict[str, np.ndarray]]:
    name, audio = clip
    samples = load_audio(audio)
    return {
        channel: {
            head: values.numpy()
            for head, values in _model.statistics(torch.tensor(through(samples, channel, name, _seed))).items()
        }
        for channel in CHANNELS
    }
