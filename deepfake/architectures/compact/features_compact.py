"""What the layers are given of a clip: of its own samples only, so that no padding can matter."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .configuration_compact import CompactConfig

_ROW = 4096  # samples that are added up by halves


def levelled(samples: Tensor, config: CompactConfig) -> Tensor:
    """A clip, shape (n,), without its offset, at the level of the training data, between two stretches of silence."""
    samples = samples.float()
    samples = samples - _mean(samples)  # an offset says something about a sound card, and would count as level
    # In units of 2^-20, which changes no digit: exporting drops the addition of a constant as small as 1e-8.
    gain = 10 ** (config.level_db / 20) * 2**20 / (_mean(samples.square()).sqrt() * 2**20 + 1e-8 * 2**20)
    return functional.pad(samples * gain, (config.edge, config.edge))


def log_mel(samples: Tensor, filters: Tensor, config: CompactConfig) -> Tensor:
    """Whisper's input, shape (mel_bins, frames): log10 mel power, at most 80 dB below its maximum, scaled to about 1.

    As published with Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), but over
    the clip's own length in place of 30 s.
    """
    power = _magnitudes(samples, config.mel_fft, config.mel_hop)[:, :-1].square()
    decades = (filters @ power).clamp(min=1e-10).log10()
    return (torch.maximum(decades, decades.max() - 8.0) + 4.0) / 4.0


def _magnitudes(samples: Tensor, fft: int, hop: int) -> Tensor:
    """Shape (fft / 2 + 1, frames); Hann window, frames centred on multiples of `hop`, edges mirrored."""
    window = torch.hann_window(fft, device=samples.device)
    if not torch.compiler.is_compiling():
        return torch.stft(samples, fft, hop, window=window, return_complex=True).abs()
    # What torch.stft becomes in an exported file takes one length only, or is too coarse. So: a product of matrices.
    padded = functional.pad(samples[None], (fft // 2, fft // 2), mode="reflect")[0]
    frames = _overlapping(padded, samples.shape[0] // hop + 1, fft, hop)
    turns = torch.outer(torch.arange(fft), torch.arange(fft // 2 + 1)).remainder(fft).double() / fft
    real, imaginary = ((window[:, None] * wave(2 * math.pi * turns)).float() for wave in (torch.cos, torch.sin))
    return ((frames @ real).square() + (frames @ imaginary).square()).sqrt().T


def _overlapping(samples: Tensor, count: int, size: int, hop: int) -> Tensor:
    """Shape (count, size): what `Tensor.unfold` gives, from a few long slices; a gathering of samples takes longer."""
    steps = -(-size // hop)
    samples = functional.pad(samples, (0, steps * hop - size))
    parts = [samples[step * hop : (count + step) * hop].unflatten(0, (count, hop)) for step in range(steps)]
    return torch.cat(parts, dim=1)[:, :size]


def _mean(values: Tensor) -> Tensor:
    """Of shape (n,), exact to the last places, as an exported file must give it too."""
    if not torch.compiler.is_compiling():
        return values.mean()
    rows = functional.pad(values, (0, _ROW - values.shape[0] % _ROW)).unflatten(0, (-1, _ROW)).double()
    while rows.shape[1] > 1:  # by halves: some runtimes have no float64, and add up one number after the other
        rows = rows.unflatten(1, (2, -1))
        rows = rows[:, 0] + rows[:, 1]
    return (rows.sum() / values.shape[0]).float()
