"""The samples of all clips of a fit, in memory: crops of hundreds of them are wanted at every step."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from tqdm import tqdm

from deepfake.audio.decode import SAMPLING_RATE, AudioError, load_audio
from deepfake.errors import UserError
from deepfake.launch import usable_cores
from deepfake.training.stacked.sound import LEVEL

_SHORTEST_S = 0.5


class ClipAudio:
    """Clips end to end as 16-bit samples at one level, 115 MB an hour.

    Attributes:
        kept: which of the rows given it holds, rising, shape (clips,): not those that cannot be decoded, are silent or
            shorter than half a second, or are sample for sample another clip. All indices below count these.
    """

    def __init__(self, rows: Dataset, device: torch.device, workers: int | None = None) -> None:
        """Decode `rows`, in parallel.

        Raises:
            UserError: no clip can be used.
        """
        kept, parts, met = [], [], set()
        for number, samples in enumerate(_decoded(rows, workers or usable_cores())):
            digest = None if samples is None else hashlib.sha256(samples.tobytes()).digest()
            if samples is not None and digest not in met:
                met.add(digest)
                kept.append(number)
                parts.append(samples)
        if not kept:
            raise UserError(f"none of the {len(rows)} clips to fit on can be used; they are silent, short or not audio")
        self.kept = np.array(kept)
        lengths = torch.tensor([len(part) for part in parts])
        self._lengths, self._starts = lengths.to(device), (lengths.cumsum(0) - lengths).to(device)
        self._samples = torch.from_numpy(np.concatenate(parts)).to(device)

    def __len__(self) -> int:
        return len(self.kept)

    def crops(self, clips: Tensor, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """A random stretch of each clip, float32 (clips, size), zeros after its end; and their true lengths."""
        lengths = self._lengths[clips]
        spare = (lengths - size).clamp(min=0)
        start = (torch.rand(len(clips), device=rng.device, generator=rng) * (spare + 1)).long().minimum(spare)
        counts = lengths.clamp(max=size)
        place = torch.arange(size, device=clips.device)
        at = (self._starts[clips] + start)[:, None] + place
        crops = self._samples[at.clamp(max=len(self._samples) - 1)].float() / 32_768
        return crops * (place < counts[:, None]), counts


def _decoded(rows: Dataset, workers: int) -> Iterator[np.ndarray | None]:
    """Each row as int16 samples at `LEVEL`, or None, in order."""
    audio = rows.select_columns(["audio"])
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda i: _at_level(audio[i]["audio"]), range(len(audio)))
        yield from tqdm(
            found, total=len(audio), desc="decoding", unit="clip", file=sys.stderr, leave=False, disable=None
        )


def _at_level(audio: dict[str, bytes | str | None]) -> np.ndarray | None:
    try:
        samples = load_audio(audio["bytes"] or audio["path"]).astype(np.float64)
    except AudioError:
        return None
    samples -= samples.mean() if len(samples) else 0.0
    rms = np.sqrt(np.mean(samples**2)) if len(samples) else 0.0
    if len(samples) < _SHORTEST_S * SAMPLING_RATE or rms < 1e-4:
        return None
    return np.round(samples * (LEVEL / rms * 32_768)).clip(-32_768, 32_767).astype(np.int16)
