"""The named conditions a detector is tried under, each family from mild to severe."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from deepfake.channels.effects import EFFECTS

Parameters = Mapping[str, float | str]


@dataclass(frozen=True)
class Condition:
    """One effect at one strength: `name` is unique, `family` groups strengths, `label` is for people."""

    name: str
    family: str
    label: str
    effect: str
    parameters: Parameters = field(default_factory=dict)

    def apply(self, samples: np.ndarray, seed: int, clip: str) -> np.ndarray:
        """The effect on one clip; what is random depends on (seed, condition, clip) and on nothing else."""
        key = [seed, zlib.crc32(self.name.encode()), zlib.crc32(clip.encode())]
        return EFFECTS[self.effect](samples, np.random.default_rng(key), **self.parameters)


def _codec(label: str, *kilobits: int) -> list[Condition]:
    name = label.lower()
    return [
        Condition(f"{name}_{k}k", label, f"{label} {k} kbit/s", "codec", {"codec": name, "bit_rate": k * 1000})
        for k in kilobits
    ]


def _levels(
    family: str,
    amounts: Iterable[float],
    name: str,
    label: str,
    effect: str,
    parameters: Callable[[float], Parameters],
) -> list[Condition]:
    """One family, mild to severe; `{}` in `name` and `label` stands for the amount."""
    return [
        Condition(name.format(a), family, label.format(a).replace("-", "−"), effect, parameters(a)) for a in amounts
    ]


_SNR, _SPEEDS = (30, 20, 10, 5, 0), (0.95, 1.05, 0.9, 1.1, 0.8, 1.25)
CONDITIONS: tuple[Condition, ...] = (
    Condition("clean", "clean", "as it is", "nothing"),
    *_codec("MP3", 64, 32, 16),
    *_codec("Opus", 24, 12, 6),
    *_codec("AAC", 48, 32, 16),
    Condition("g722", "telephone", "G.722 wideband call", "codec", {"codec": "g722"}),
    Condition("g711_a", "telephone", "G.711 A-law call", "telephone", {"law": "a"}),
    Condition("g711_mu", "telephone", "G.711 µ-law call", "telephone", {"law": "mu"}),
    *_levels(
        "packet loss", (1, 5, 10, 20), "loss_{}", "{} % of packets lost", "packet_loss", lambda a: {"loss": a / 100}
    ),
    *_levels("resampling", (44100, 11025, 8000), "rate_{}", "stored at {:,} Hz", "resample", lambda a: {"rate_hz": a}),
    *_levels(
        "band limit", (7000, 5500, 4000, 3000), "low_pass_{}", "up to {:,} Hz", "low_pass", lambda a: {"cutoff_hz": a}
    ),
    *_levels("white noise", _SNR, "white_{}dB", "SNR {} dB", "noise", lambda a: {"snr_db": a}),
    *_levels("pink noise", _SNR, "pink_{}dB", "SNR {} dB", "noise", lambda a: {"snr_db": a, "colour": "pink"}),
    *_levels("reverberation", (0.3, 0.6, 1.0), "reverb_{}s", "RT60 {} s", "reverb", lambda a: {"rt60_s": a}),
    *_levels("gain", (-10, -20, -40, 10), "gain_{:+d}dB", "{:+d} dB", "gain", lambda a: {"gain_db": a}),
    *_levels("clipping", (1, 5, 20), "clip_{}", "{} % of samples", "clip", lambda a: {"share": a / 100}),
    *_levels("speed", _SPEEDS, "speed_{:g}", "{:g} times as fast", "speed", lambda a: {"factor": a}),
    Condition("trimmed", "silence", "silent edges cut off", "trim_edges"),
    *_levels("silence", (0.5, 1, 3), "lead_{:g}s", "{:g} s in front", "lead_silence", lambda a: {"duration_s": a}),
)
