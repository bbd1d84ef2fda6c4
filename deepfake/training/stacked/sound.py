"""Random ways from a mouth to a detector, for whole batches at once and on the device that trains.

All functions take float32 samples of shape (clips, samples) at 16 kHz and give such samples. Clips shorter than the
batch are padded with zeros at their end; `counts`, (clips,), says how many samples are theirs. Everything random comes
from `rng`, which lies on the samples' device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from deepfake.audio.decode import SAMPLING_RATE

LEVEL = 10 ** (-23 / 20)  # RMS of every clip, as the compact detector sets it
_NYQUIST = SAMPLING_RATE / 2


def heard(counts: Tensor, samples: int) -> Tensor:
    """Which samples of a batch belong to its clips, bool of shape (clips, samples)."""
    return torch.arange(samples, device=counts.device) < counts[:, None]


def levelled(samples: Tensor, counts: Tensor) -> Tensor:
    """Without offset and at `LEVEL`, over each clip's own samples; the padding becomes zero."""
    own = heard(counts, samples.shape[1])
    samples = (samples - (samples * own).sum(1, keepdim=True) / counts[:, None]) * own
    return samples * (LEVEL / (_rms(samples, counts) + 1e-6))


def augmented(samples: Tensor, counts: Tensor, strengths: Tensor, rng: torch.Generator) -> Tensor:
    """A levelled batch as it comes through random rooms, microphones, denoisers, codecs and lines.

    Args:
        strengths: of each clip, shape (clips,); an effect is applied with its own probability times this.
    """
    own = heard(counts, samples.shape[1])
    for effect in (*BEFORE_THE_LINE, CLIPPING):
        samples = _applied(effect, samples, counts, strengths, rng)
    samples = levelled(samples, counts)
    samples = levelled(_applied(LINE, samples, counts, strengths, rng) * own, counts)
    samples = _applied(FLOOR, samples, counts, strengths, rng)
    return torch.nan_to_num(levelled(samples * own, counts))


def room(samples: Tensor, batch: Tensor, counts: Tensor, rng: torch.Generator) -> Tensor:
    """The direct sound and a tail of noise that dies away: RT60 of 0.08 to 0.68 s, 4 to -14 dB beside the direct."""
    clips, length = samples.shape
    size = round(0.4 * SAMPLING_RATE)
    seconds = torch.arange(size, device=samples.device) / SAMPLING_RATE
    rt60_s = 0.08 + 0.6 * _uniform(rng, clips, 1)
    response = _normal(rng, clips, size) * torch.exp(-6.9 * seconds / rt60_s) * (seconds > 0.0025)
    tail_db = 4 - 18 * _uniform(rng, clips, 1)
    response = response / response.square().sum(1, keepdim=True).sqrt() * 10 ** (tail_db / 20)
    response[:, 0] = 1.0
    return _filtered(samples, torch.fft.rfft(response, n=length + size), length + size)


def equaliser(samples: Tensor, batch: Tensor, counts: Tensor, rng: torch.Generator) -> Tensor:
    """Another microphone: a smooth random response, a tilt, and for half of the clips limits of the band.

    Nine points on a logarithmic axis from 60 to 8000 Hz, of 0 to 3.5 dB deviation, on a tilt of 4 dB deviation at its
    ends. Below 20 to 400 Hz or above 3 to 8 kHz nothing is left, along gentle or steep edges.
    """
    clips, length = samples.shape
    octaves = torch.log2(_frequencies(length, samples.device).clamp(min=60) / 60) / math.log2(_NYQUIST / 60)
    points = torch.linspace(-1, 1, 9, device=samples.device)
    curve = _normal(rng, clips, 9) * 3.5 * _uniform(rng, clips, 1) + points * 4 * _normal(rng, clips, 1)
    response = 10 ** (_interpolated(curve, octaves) / 20)
    low_hz = torch.where(_uniform(rng, clips, 1) < 0.5, 20 + 380 * _uniform(rng, clips, 1) ** 2, 1.0)
    high_hz = torch.where(_uniform(rng, clips, 1) < 0.45, 3000 + 5000 * _uniform(rng, clips, 1), 12_000.0)
    order = torch.where(_uniform(rng, clips, 1) < 0.5, 6.0, 40.0)
    return _filtered(samples, response * _band(length, low_hz, high_hz, order), length)


def compressor(samples: Tensor, batch: Tensor, counts: Tensor, rng: torch.Generator) -> Tensor:
    """Loud and soft parts brought nearer to each other: gain falls with the 50 ms envelope to the power 0.15 to 0.65"""
    envelope = functional.avg_pool1d(samples.abs()[:, None], 801, 80, 400)
    envelope = functional.interpolate(envelope, size=samples.shape[1], mode="linear")[:, 0] + 1e-4
    return samples * (envelope / 0.05) ** -(0.15 + 0.5 * _uniform(rng, len(samples), 1))


def noise(samples: Tensor, batch: Tensor, counts: Tensor, rng: torch.Generator) -> Tensor:
    """White to brown noise, steady or swelling, or the babble of three other clips backwards: SNR of 3 to 35 dB."""
    clips, length = samples.shape
    babble = torch.zeros_like(samples)
    for _ in range(3):
        others = batch[torch.randint(len(batch), (clips,), device=rng.device, generator=rng)]
        shift = int(torch.randint(length, (1,), device=rng.device, generator=rng))
        babble = babble + others.roll(shift, 1).flip(1)
    added = torch.where(_uniform(rng, clips, 1) < 0.25, babble, _coloured(clips, length, rng))
    added = added / (added.square().mean(1, keepdim=True).sqrt() + 1e-6)
    snr_db = 3 + 32 * _uniform(rng, clips, 1)
    return samples + added * _rms(samples, counts) * 10 ** (-snr_db / 20)


def gate_or_codec(samples: Tensor, batch: Tensor, counts: Tensor, rng: torch.Generator) -> Tensor:
    """A denoiser that gates what lies near the noise floor, or a low bit rate that rounds soft parts away to nothing.

    Both change the magnitudes of a short-time spectrum and leave its phases: the first takes the 15 % quantile of each
    frequency, once to four times, from all of it (leaving at least 5 %); the second rounds to steps that follow the
    spectrum's own envelope, which leaves holes, as perceptual codecs do.
    """
    clips, length = samples.shape
    window = torch.hann_window(512, device=samples.device)
    spectrum = torch.stft(samples, 512, 128, window=window, return_complex=True)
    magnitude = spectrum.abs()
    gated = _uniform(rng, clips, 1, 1) < 0.45
    floor = torch.quantile(magnitude[:, :, ::4], 0.15, dim=2, keepdim=True) * (1 + 3 * _uniform(rng, clips, 1, 1))
    gate = ((magnitude - floor) / (magnitude + 1e-6)).clamp(min=0.05)
    envelope = functional.avg_pool2d(magnitude[:, None], (9, 3), 1, (4, 1))[:, 0]
    absolute = 10 ** -(2.2 + _uniform(rng, clips, 1, 1)) * 0.3 * envelope.amax(1, keepdim=True)
    step = (0.15 + 1.1 * _uniform(rng, clips, 1, 1)) * envelope + absolute + 1e-7
    rounded = torch.round(magnitude / step) * step / (magnitude + 1e-6)
    return torch.istft(spectrum * torch.where(gated, gate, rounded), 512, 128, window=window, length=length)


def clipping(samples: Tensor, batch: Tensor, counts: Tensor, rng: torch.Generator) -> Tensor:
    """Peaks cut off at 25 to 85 % of the highest."""
    limit = samples.abs().amax(1, keepdim=True) * (0.25 + 0.6 * _uniform(rng, len(samples), 1))
    return torch.maximum(torch.minimum(samples, limit), -limit)


def line(samples: Tensor, batch: Tensor, counts: Tensor, rng: torch.Generator) -> Tensor:
    """A telephone line at levels from -6 to 14 dB beside the usual: 200–350 to 3100–3800 Hz, 8 kHz, mu-law."""
    clips = len(samples)
    gain_db = 20 * _uniform(rng, clips, 1) - 6
    low_hz, high_hz = 200 + 150 * _uniform(rng, clips, 1), 3100 + 700 * _uniform(rng, clips, 1)
    return telephone(samples * 10 ** (gain_db / 20), low_hz, high_hz)


def noise_floor(samples: Tensor, batch: Tensor, counts: Tensor, rng: torch.Generator) -> Tensor:
    """White noise 35 to 85 dB below the level of the clip, which covers what makes digital silence tell."""
    level = LEVEL * 10 ** (-(35 + 50 * _uniform(rng, len(samples), 1)) / 20)
    return samples + _normal(rng, *samples.shape) * level


def telephone(samples: Tensor, low_hz: Tensor, high_hz: Tensor) -> Tensor:
    """Band-passed, at 8 kHz through mu-law companding in 256 steps, and back; limits of shape (clips, 1)."""
    length = samples.shape[1] - samples.shape[1] % 4
    half, kept = length // 2, length // 4  # samples at 8 kHz, and frequencies below 4 kHz
    order = torch.full_like(low_hz, 8.0)
    spectrum = torch.fft.rfft(samples[:, :length]) * _band(length, low_hz, high_hz, order)
    spectrum[:, kept:] = 0
    narrow = torch.fft.irfft(spectrum[:, : kept + 1], n=half) / 2
    wide = torch.zeros_like(spectrum)
    wide[:, :kept] = torch.fft.rfft(_mu_law(narrow.clamp(-1, 1)))[:, :kept] * 2
    return functional.pad(torch.fft.irfft(wide, n=length), (0, samples.shape[1] - length))


@dataclass(frozen=True)
class Effect:
    """Something that happens to a share of the clips; `apply` is given these, the whole batch, their counts, `rng`."""

    share: float
    apply: Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor]


BEFORE_THE_LINE = (
    Effect(0.18, room),
    Effect(0.75, equaliser),
    Effect(0.12, compressor),
    Effect(0.45, noise),
    Effect(0.22, gate_or_codec),
)
CLIPPING, LINE, FLOOR = Effect(0.08, clipping), Effect(0.22, line), Effect(0.6, noise_floor)


def log_mel(samples: Tensor, counts: Tensor, filters: Tensor, fft: int, hop: int) -> tuple[Tensor, Tensor]:
    """The compact detector's spectrogram of a batch.

    Args:
        samples: levelled. filters: of shape (bands, fft / 2 + 1).

    Returns:
        (clips, frames, bands), zero beyond a clip's end, and which frames are a clip's own, bool (clips, frames).
    """
    window = torch.hann_window(fft, device=samples.device)
    power = torch.stft(samples, fft, hop, window=window, return_complex=True)[..., :-1].abs().square()
    decades = (filters @ power).clamp(min=1e-10).log10().transpose(1, 2)
    own = heard(counts // hop, decades.shape[1])
    highest = torch.where(own[..., None], decades, -10.0).amax((1, 2), keepdim=True)
    return (torch.maximum(decades, highest - 8) + 4) / 4 * own[..., None], own


def band_masked(mel: Tensor, strengths: Tensor, rng: torch.Generator) -> Tensor:
    """Up to 13 neighbouring bands set to zero in three of ten clips (SpecAugment: Park et al., 2019).

    Args:
        mel: (clips, frames, bands). strengths: as of `augmented`, shape (clips,).
    """
    clips, _, bands = mel.shape
    first = torch.randint(bands, (clips, 1, 1), device=rng.device, generator=rng)
    width = torch.randint(14, (clips, 1, 1), device=rng.device, generator=rng)
    width = width * (_uniform(rng, clips, 1, 1) < 0.3 * strengths[:, None, None])
    band = torch.arange(bands, device=mel.device)
    return mel * ~((band >= first) & (band < first + width))


def _applied(effect: Effect, samples: Tensor, counts: Tensor, strengths: Tensor, rng: torch.Generator) -> Tensor:
    chosen = torch.nonzero(_uniform(rng, len(samples)) < effect.share * strengths).flatten()
    if not len(chosen):
        return samples
    return samples.index_copy(0, chosen, effect.apply(samples[chosen], samples, counts[chosen], rng))


def _rms(samples: Tensor, counts: Tensor) -> Tensor:
    return (samples.square().sum(1, keepdim=True) / counts[:, None]).sqrt()


def _coloured(clips: int, length: int, rng: torch.Generator) -> Tensor:
    """Noise whose amplitude falls with frequency to the power -0.15 to 1.15; half of it swells and fades."""
    tilt = 1.3 * _uniform(rng, clips, 1) - 0.15
    spectrum = torch.fft.rfft(_normal(rng, clips, length))
    steady = torch.fft.irfft(spectrum * ((_frequencies(length, rng.device) + 20) / 1000) ** -tilt, n=length)
    swell = functional.interpolate(_uniform(rng, clips, 1, 8), size=length, mode="linear")[:, 0] ** 2
    return torch.where(_uniform(rng, clips, 1) < 0.5, steady * swell, steady)


def _band(length: int, low_hz: Tensor, high_hz: Tensor, order: Tensor) -> Tensor:
    """Butterworth magnitudes, (clips, length / 2 + 1), of `order` above and half of it below; all (clips, 1)."""
    hertz = _frequencies(length, low_hz.device)
    above = torch.sqrt(1 + (hertz / high_hz) ** (2 * order))
    return 1 / above / torch.sqrt(1 + (low_hz / (hertz + 1e-3)) ** order)


def _filtered(samples: Tensor, response: Tensor, size: int) -> Tensor:
    return torch.fft.irfft(torch.fft.rfft(samples, n=size) * response, n=size)[:, : samples.shape[1]]


def _interpolated(points: Tensor, places: Tensor) -> Tensor:
    """(clips, points) along a line from 0 to 1, read at `places`, (n,), to (clips, n)."""
    at = places.clamp(0, 1) * (points.shape[1] - 1)
    left = at.floor().long().clamp(max=points.shape[1] - 2)
    return torch.lerp(points[:, left], points[:, left + 1], at - left)


def _mu_law(samples: Tensor) -> Tensor:
    """Companded by mu = 255, rounded to 256 steps, expanded (ITU-T G.711 in its continuous form)."""
    small = samples.sign() * torch.log1p(255 * samples.abs()) / math.log1p(255)
    small = torch.round(small * 127.5) / 127.5
    return small.sign() * torch.expm1(small.abs() * math.log1p(255)) / 255


def _frequencies(length: int, device: torch.device) -> Tensor:
    return torch.fft.rfftfreq(length, 1 / SAMPLING_RATE, device=device)


def _uniform(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, device=rng.device, generator=rng)


def _normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, device=rng.device, generator=rng)
