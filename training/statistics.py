"""A compact detector's measurements of many clips under several channels, computed once and kept on disk.

A clip is measured in the windows that scoring would cut it into, those of them in which somebody speaks.
"""

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
from data_prep.audio import SAMPLING_RATE, AudioError, load_audio
from data_prep.errors import UserError
from scoring.reading import Reading
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
_FORMAT = 3  # raise it when the same clip and seed would give other numbers

Statistics = dict[str, dict[str, np.ndarray]]  # head -> channel -> float32 of shape (windows, width)
Clip = tuple[str, str, bytes]  # unique name, name that the channels are drawn by, encoded audio
Cut = tuple[int, int]  # length of windows and distance between them, in samples

Measurement = dict[str, dict[str, np.ndarray]]  # channel -> head -> float32 of shape (width,)

# Of a worker process:
_model: CompactForAudioClassification | None = None
_seed = 0
_cut: Cut | None = None


def through(samples: np.ndarray, channel: str, name: str, seed: int) -> np.ndarray:
    """A clip as it arrives through one of `CHANNELS`; what is drawn depends on (seed, channel, name) alone.

    The two clips of a pair have one name, so that they get the same room, noise and line.
    """
    if channel == CLEAN:
        return samples  # the detector levels what it hears itself
    samples = levelled(samples, _LEVEL_DB)
    if channel == AUGMENTED:
        return augment(samples, np.random.default_rng([seed, zlib.crc32(name.encode())]))
    conditions = _TRIED[channel]
    return _CONDITIONS[conditions[zlib.crc32(name.encode()) % len(conditions)]].apply(samples, seed, name)


def measure_clips(
    model: CompactForAudioClassification,
    clips: Sequence[Clip],
    cache: Path,
    seed: int,
    cut: Cut | None,
    workers: int | None = None,
) -> tuple[Statistics, np.ndarray]:
    """The statistics of every clip under every channel, in the order given; from `cache` where it has them.

    Args:
        cache: folder; a file in it is named after the front ends, the clips, the cut and the seed, so that it is never
            stale.
        cut: windows as in scoring: a clip has one row for each in which somebody speaks, so none where nobody does.
            Where the windows lie is found in the clean clip, and is the same under every channel. None: every clip is
            measured whole.
        workers: processes of one thread each; None: one a core. The result does not depend on it.

    Returns:
        statistics, and the index of the clip that each of their rows belongs to, rising, shape (windows,).
    """
    path = cache / f"{_key(model, clips, seed, cut)}.npz"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        found = _in_parallel(model, clips, seed, cut, workers or len(os.sched_getaffinity(0)))
        clip_of = np.repeat(np.arange(len(found)), [len(windows) for windows in found])
        rows = [window for windows in found for window in windows]
        if not rows:
            raise UserError(f"nobody speaks in any of the {len(clips)} clips; there is nothing to fit on")
        arrays = {f"{head}/{channel}": np.stack([row[channel][head] for row in rows])
                  for head in model.heads for channel in CHANNELS}  # fmt: skip
        temporary = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(temporary, clip_of=clip_of, **arrays)
        os.replace(temporary, path)
    with np.load(path) as stored:
        statistics = {head: {channel: stored[f"{head}/{channel}"] for channel in CHANNELS} for head in model.heads}
        return statistics, stored["clip_of"]


def _key(model: CompactForAudioClassification, clips: Sequence[Clip], seed: int, cut: Cut | None) -> str:
    geometry = [(name, getattr(model.config, name)) for name in _GEOMETRY]
    digest = hashlib.sha256(repr((_FORMAT, seed, cut, geometry)).encode())
    for tensor in (*model.conv1.parameters(), *model.conv2.parameters(), *model.layers.parameters()):
        digest.update(tensor.detach().float().numpy().tobytes())
    for unique, name, audio in clips:
        digest.update(f"{unique} {name} ".encode() + hashlib.sha256(audio).digest())
    return digest.hexdigest()[:16]


def _in_parallel(
    model: CompactForAudioClassification, clips: Sequence[Clip], seed: int, cut: Cut | None, workers: int
) -> list[list[Measurement]]:
    bar: Callable[..., object] = tqdm(total=len(clips), desc="measuring", unit="clip", smoothing=0)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    context = get_context("spawn")  # torch's threads do not survive a fork
    with bar, ProcessPoolExecutor(workers, context, _start, (model.config, state, seed, cut)) as pool:
        found = []
        for one in pool.map(_measure, [(name, audio) for _, name, audio in clips], chunksize=8):
            found.append(one)
            bar.update()
    return found


def _start(config: object, state: dict[str, np.ndarray], seed: int, cut: Cut | None) -> None:
    global _model, _seed, _cut
    torch.set_num_threads(1)
    _model = CompactForAudioClassification(config).eval()
    _model.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    _seed, _cut = seed, cut


def _measure(clip: tuple[str, bytes]) -> list[Measurement]:
    """One measurement for each window with speech."""
    name, audio = clip
    samples = load_audio(audio)
    spans = [slice(None)] if _cut is None else spoken(samples, _cut)
    heard = {channel: through(samples, channel, name, _seed) for channel in CHANNELS} if spans else {}
    return [
        {
            channel: {head: values.numpy() for head, values in _model.statistics(torch.tensor(whole[span])).items()}
            for channel, whole in heard.items()
        }
        for span in spans
    ]


def spoken(samples: np.ndarray, cut: Cut) -> list[slice]:
    """The windows of a clip, float32 of shape (samples,) at 16 kHz, that scoring would score; [] for one it refuses."""
    try:
        found = list(Reading(samples, SAMPLING_RATE).windows(*cut))
    except AudioError:  # nobody speaks, or it is too short
        return []
    return [slice(window.start, window.stop) for window in found]
