"""The named conditions a detector is tried under, each family from mild to severe."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from deepfake.channels.band import low_pass, through_rate
from deepfake.channels.codecs import round_trip
from deepfake.channels.level import clip_share, gain
from deepfake.channels.noise import add_noise
from deepfake.channels.packets import lose_packets
from deepfake.channels.room import reverberate
from deepfake.channels.telephone import telephone
from deepfake.channels.timing import lead_silence, speed, trim_edges

Effect = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Condition:
    """One channel at one strength: `name` is unique, `family` groups strengths, `label` is for people."""

    name: str
    family: str
    label: str
    effect: Effect

    def apply(self, samples: np.ndarray, seed: int, clip: str) -> np.ndarray:
        """The effect on one clip; what is random depends on (seed, condition, clip) and on nothing else."""
        key = [seed, zlib.crc32(self.name.encode()), zlib.crc32(clip.encode())]
        return self.effect(samples, np.random.default_rng(key))


def _fixed(function: Callable[..., np.ndarray], *arguments: object) -> Effect:
    return lambda samples, _: function(samples, *arguments)


def _drawn(function: Callable[..., np.ndarray], amount: float, **options: object) -> Effect:
    return lambda samples, rng: function(samples, amount, rng, **options)


def _identity(samples: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return samples


def _codec(label: str, *kilobits: int) -> list[Condition]:
    name = label.lower()
    return [
        Condition(f"{name}_{k}k", label, f"{label} {k} kbit/s", _fixed(round_trip, name, k * 1000)) for k in kilobits
    ]


def _levels(
    family: str, amounts: Iterable[float], name: str, label: str, effect: Callable[[float], Effect]
) -> list[Condition]:
    """One family, mild to severe; `{}` in `name` and `label` stands for the amount."""
    return [Condition(name.format(a), family, label.format(a).replace("-", "−"), effect(a)) for a in amounts]


CONDITIONS: tuple[Condition, ...] = (
    Condition("clean", "clean", "as it is", _identity),
    *_codec("MP3", 64, 32, 16),
    *_codec("Opus", 24, 12, 6),
    *_codec("AAC", 48, 32, 16),
    Condition("g722", "telephone", "G.722 wideband call", _fixed(round_trip, "g722")),
    Condition("g711_a", "telephone", "G.711 A-law call", _fixed(telephone, "a")),
    Condition("g711_mu", "telephone", "G.711 µ-law call", _fixed(telephone, "mu")),
    *_levels("packet loss", (1, 5, 10, 20), "loss_{}", "{} % of packets lost", lambda a: _drawn(lose_packets, a / 100)),
    *_levels("resampling", (44100, 11025, 8000), "rate_{}", "stored at {:,} Hz", lambda a: _fixed(through_rate, a)),
    *_levels("band limit", (7000, 5500, 4000, 3000), "low_pass_{}", "up to {:,} Hz", lambda a: _fixed(low_pass, a)),
    *_levels("white noise", (30, 20, 10, 5, 0), "white_{}dB", "SNR {} dB", lambda a: _drawn(add_noise, a)),
    *_levels("pink noise", (30, 20, 10, 5, 0), "pink_{}dB", "SNR {} dB", lambda a: _drawn(add_noise, a, colour="pink")),
    *_levels("reverberation", (0.3, 0.6, 1.0), "reverb_{}s", "RT60 {} s", lambda a: _drawn(reverberate, a)),
    *_levels("gain", (-10, -20, -40, 10), "gain_{:+d}dB", "{:+d} dB", lambda a: _fixed(gain, a)),
    *_levels("clipping", (1, 5, 20), "clip_{}", "{} % of samples", lambda a: _fixed(clip_share, a / 100)),
    *_levels(
        "speed", (0.95, 1.05, 0.9, 1.1, 0.8, 1.25), "speed_{:g}", "{:g} times as fast", lambda a: _fixed(speed, a)
    ),
    Condition("trimmed", "silence", "silent edges cut off", _fixed(trim_edges)),
    *_levels("silence", (0.5, 1, 3), "lead_{:g}s", "{:g} s in front", lambda a: _fixed(lead_silence, a)),
)
