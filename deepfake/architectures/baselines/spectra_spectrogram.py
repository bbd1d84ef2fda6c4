"""Mel spectrograms and cepstra of many segments at once, equal to librosa's, in float64."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

_FLOOR = 1e-10  # of power before the logarithm, librosa's amin
_VALUES_AT_ONCE = 2**19  # of a spectrum: 8 MB
_RANGE_DB = 80.0  # below the maximum of a segment, librosa's top_db


def frame_counts(lengths: Tensor, hop_length: int) -> Tensor:
    """How many frames segments of `lengths` samples have: one centred on each multiple of the hop."""
    return 1 + lengths // hop_length


def mel_spectrogram(
    segments: Tensor, lengths: Tensor, n_fft: int, hop_length: int, edge: str, filters: Tensor
) -> Tensor:
    """Power through mel filters (bins, n_fft / 2 + 1), float64 of shape (segments, bins, frames).

    Arguments as for `power_spectrogram`. A few segments at a time: spectra that outgrow the cache cost four times as
    much as those that stay in it.
    """
    values = (n_fft // 2 + 1) * (1 + segments.shape[1] // hop_length)
    at_once = max(1, _VALUES_AT_ONCE // values)
    parts = zip(segments.split(at_once), lengths.split(at_once), strict=True)
    return torch.cat([filters @ power_spectrogram(part, many, n_fft, hop_length, edge) for part, many in parts])


def power_spectrogram(segments: Tensor, lengths: Tensor, n_fft: int, hop_length: int, edge: str) -> Tensor:
    """|STFT|^2 with a periodic Hann window, frames centred on multiples of the hop.

    Args:
        segments: (segments, samples), filled up with anything behind the length of each.
        lengths: (segments,), in samples.
        edge: "constant": silence before and after a segment (librosa); "reflect": mirrored (torchaudio).

    Returns:
        float64 of shape (segments, n_fft / 2 + 1, frames). Frames up to `frame_counts` depend on the segment's own
        samples alone.
    """
    places = torch.arange(-(n_fft // 2), segments.shape[1] + n_fft // 2)[None]
    last = lengths[:, None] - 1
    if edge == "reflect":
        period = (2 * last).clamp(min=1)
        places = places.remainder(period)
        places = torch.minimum(places, period - places)
    inside = (places >= 0) & (places <= last)
    places = places.expand(len(segments), -1).clamp(0, max(segments.shape[1] - 1, 0))
    padded = segments.double().gather(1, places) * inside
    window = torch.hann_window(n_fft, dtype=torch.float64)
    spectrum = torch.stft(padded, n_fft, hop_length, window=window, center=False, return_complex=True)
    return spectrum.real.square() + spectrum.imag.square()


@lru_cache(maxsize=8)
def mel_filters(
    n_fft: int, num_mel_bins: int, min_frequency: float, max_frequency: float, sampling_rate: int, scale: str
) -> Tensor:
    """Triangular filters, float64 of shape (num_mel_bins, n_fft / 2 + 1).

    Args:
        scale: "slaney", with filters of equal area (librosa's default), or "htk", with filters of equal height
            (torchaudio's).
    """
    norm = "slaney" if scale == "slaney" else None
    filters = mel_filter_bank(
        n_fft // 2 + 1, num_mel_bins, min_frequency, max_frequency, sampling_rate, norm=norm, mel_scale=scale
    )
    return torch.tensor(filters.T, dtype=torch.float64)


def decibels(power: Tensor, mask: Tensor, relative: bool) -> Tensor:
    """10 log10 of power, not less than 80 dB below the segment's maximum, as librosa.power_to_db does.

    Args:
        power: (segments, bins, frames).
        mask: (segments, frames), true where a frame belongs to its segment.
        relative: measured from the segment's maximum, which becomes 0 dB; else from 1.
    """
    level = 10.0 * power.clamp(min=_FLOOR).log10()
    top = level.masked_fill(~mask[:, None], -torch.inf).amax((1, 2), keepdim=True)
    level = torch.maximum(level, top - _RANGE_DB)
    return level - top if relative else level


@lru_cache(maxsize=8)
def cosine_transform(coefficients: int, bins: int) -> Tensor:
    """The orthonormal DCT-II as a float64 matrix of shape (coefficients, bins)."""
    k, n = torch.arange(coefficients, dtype=torch.float64)[:, None], torch.arange(bins, dtype=torch.float64)[None]
    matrix = torch.cos(torch.pi / bins * (n + 0.5) * k) * (2.0 / bins) ** 0.5
    matrix[0] /= 2.0**0.5
    return matrix


def standardised(features: Tensor, mask: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Zero mean and unit deviation over `dims` of (segments, bins, frames), counting only frames in `mask`.

    What does not vary at all becomes zero. Frames outside the mask are zero as well.
    """
    weight = mask[:, None].to(features.dtype).expand_as(features)
    count = weight.sum(dims, keepdim=True)
    mean = (features * weight).sum(dims, keepdim=True) / count
    centred = (features - mean) * weight
    deviation = (centred.square().sum(dims, keepdim=True) / count).sqrt()
    return centred / torch.where(deviation > 1e-12, deviation, torch.ones_like(deviation))
