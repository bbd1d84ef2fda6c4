"""What is measured on a clip, one clip at a time and over its own samples only, so that no padding can matter."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .configuration_compact import CompactConfig

_ACTIVE = 1e-4  # power of the quietest frames that count as speech, relative to the loudest: 40 dB below it
_ROW = 4096  # samples that are added up by halves
_FLOOR, _FINE_FLOOR = 1e-4, 1e-5  # added to magnitudes before the logarithm


def levelled(samples: Tensor, config: CompactConfig) -> Tensor:
    """A clip, shape (n,), at the level of the training data and in its 16-bit steps, which set the floor of silence.

    Clips shorter than the longest FFT are filled up with silence.
    """
    samples = samples.float()
    samples = samples - _mean(samples)  # an offset says something about a sound card, and would count as level
    # In units of 2^-20, which changes no digit: exporting drops the addition of a constant as small as 1e-8.
    gain = 10 ** (config.level_db / 20) * 2**20 / (_mean(samples.square()).sqrt() * 2**20 + 1e-8 * 2**20)
    stepped = ((samples * gain).clamp(-1, 1) * 32767).trunc() / 32768
    missing = config.fine_fft - stepped.shape[0]
    return functional.pad(stepped, (0, missing)) if missing > 0 else stepped


def log_mel(samples: Tensor, filters: Tensor, config: CompactConfig) -> Tensor:
    """Whisper's input, shape (mel_bins, frames): log10 mel power, at most 80 dB below its maximum, scaled to about 1.

    As published with Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), but over
    the clip's own length in place of 30 s.
    """
    power = _magnitudes(samples, config.mel_fft, config.mel_hop)[:, :-1].square()
    decades = (filters @ power).clamp(min=1e-10).log10()
    return (torch.maximum(decades, decades.max() - 8.0) + 4.0) / 4.0


def frame_statistics(frames: Tensor) -> Tensor:
    """Mean, deviation and mean absolute change over time of each channel of (frames, channels): (3 channels,)."""
    return torch.cat([frames.mean(0), frames.std(0), frames.diff(dim=0).abs().mean(0)])


def spectrum_statistics(samples: Tensor, config: CompactConfig) -> Tensor:
    """Shape, roughness and fine tones of the linear spectrum; shape (spectrum_width,).

    Per bin: mean and deviation of the log magnitude relative to its frame's mean, over active frames; mean absolute
    first and second difference in time, over all frames; mean absolute second difference in frequency, over active
    frames. Then the mean log magnitude at the long FFT against its moving average: the steady tones that upsampling
    layers leave.
    """
    magnitudes = _magnitudes(samples, config.spectrum_fft, config.spectrum_hop)
    power = magnitudes.square().sum(0)
    active = power >= power.max() * _ACTIVE
    active = (active | (active.sum() < 2)).float()  # as weights: no shape depends on them, which exporting needs
    count = active.sum()
    log = (magnitudes + _FLOOR).log()
    relative = log - log.mean(0, keepdim=True)
    mean = relative @ active / count
    change = log.diff(dim=1)
    curvature = log.diff(n=2, dim=0).abs() @ active / count
    fine = (_magnitudes(samples, config.fine_fft, config.fine_hop) + _FINE_FLOOR).log().mean(1)
    return torch.cat(
        [
            mean,
            ((relative - mean[:, None]).square() @ active / (count - 1)).sqrt(),
            change.abs().mean(1),
            change.diff(dim=1).abs().mean(1),
            curvature,
            fine - _moving_average(fine, config.fine_smoothing),
        ]
    )


def _magnitudes(samples: Tensor, fft: int, hop: int) -> Tensor:
    """Shape (fft / 2 + 1, frames); Hann window, frames centred on multiples of `hop`, edges mirrored."""
    window = torch.hann_window(fft, device=samples.device)
    if not torch.compiler.is_compiling():
        return torch.stft(samples, fft, hop, window=window, return_complex=True).abs()
    # What torch.stft becomes in an exported file takes one length only, or is too coarse. So: a product of matrices.
    frames = functional.pad(samples[None], (fft // 2, fft // 2), mode="reflect")[0].unfold(0, fft, hop)
    turns = torch.outer(torch.arange(fft), torch.arange(fft // 2 + 1)).remainder(fft).double() / fft
    real, imaginary = ((window[:, None] * wave(2 * math.pi * turns)).float() for wave in (torch.cos, torch.sin))
    return ((frames @ real).square() + (frames @ imaginary).square()).sqrt().T


def _mean(values: Tensor) -> Tensor:
    """Of shape (n,). To the last places: the level decides which 16-bit steps samples fall on."""
    if not torch.compiler.is_compiling():
        return values.mean()
    rows = functional.pad(values, (0, _ROW - values.shape[0] % _ROW)).unflatten(0, (-1, _ROW)).double()
    while rows.shape[1] > 1:  # by halves: some runtimes have no float64, and add up one number after the other
        rows = rows.unflatten(1, (2, -1))
        rows = rows[:, 0] + rows[:, 1]
    return (rows.sum() / values.shape[0]).float()


def _moving_average(values: Tensor, width: int) -> Tensor:
    half = width // 2
    padded = functional.pad(values[None, None], (half, half), mode="reflect")
    return functional.avg_pool1d(padded, width, 1)[0, 0]
