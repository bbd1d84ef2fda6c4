"""The named conditions a detector is tried under, each family from mild to severe."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from deepfake.channels.band import band_pass, low_pass, through_rate
from deepfake.channels.codecs import round_trip
from deepfake.channels.filters import denoise, normalise_loudness, stretch
from deepfake.channels.level import clip_share, gain
from deepfake.channels.noise import add_noise
from deepfake.channels.packets import lose_packets
from deepfake.channels.room import reverberate
from deepfake.channels.telephone import telephone
from deepfake.channels.timing import lead_silence, speed, trim_edges

Effect = Callable[[np.ndarray, np.random.Generator], np.ndarray]
BENIGN = "benign"  # a group of families: what happens to recordings without anybody meaning harm


@dataclass(frozen=True)
class Condition:
    """One channel at one strength: `name` is unique, `family` groups strengths, `label` is for people.

    benign: what people's recordings go through every day, and what should change no verdict on a human speaker.
    """

    name: str
    family: str
    label: str
    effect: Effect
    benign: bool = False

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


def _chain(*steps: Effect) -> Effect:
    """One effect after the other; what they draw comes from one generator."""

    def apply(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for step in steps:
            samples = step(samples, rng)
        return samples

    return apply


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


_MP3, _AAC, _OPUS = (_fixed(round_trip, *of) for of in (("mp3", 64_000), ("aac", 48_000), ("opus", 24_000)))
_BENIGN = (
    "mp3_64k", "opus_24k", "aac_48k", "g722", "g711_a", "g711_mu", "rate_44100", "rate_11025", "rate_8000",
    "speed_0.98", "speed_1.02", "denoise_12dB", "denoise_24dB", "loudness_-16", "loudness_-23", "again_mp3_aac",
    "again_opus_mp3", "again_call_mp3",
)  # fmt: skip

_ALL = (
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
        "speed",
        (0.98, 1.02, 0.95, 1.05, 0.9, 1.1, 0.8, 1.25),
        "speed_{:g}",
        "{:g} times as fast",
        lambda a: _fixed(speed, a),
    ),
    Condition("trimmed", "silence", "silent edges cut off", _fixed(trim_edges)),
    *_levels("silence", (0.5, 1, 3), "lead_{:g}s", "{:g} s in front", lambda a: _fixed(lead_silence, a)),
    *_levels("denoising", (12, 24), "denoise_{}dB", "noise down by {} dB", lambda a: _fixed(denoise, a)),
    *_levels("loudness", (-16, -23), "loudness_{}", "at {} LUFS", lambda a: _fixed(normalise_loudness, a)),
    Condition("again_mp3_aac", "re-encoding", "MP3 64, then AAC 48 kbit/s", _chain(_MP3, _AAC)),
    Condition("again_opus_mp3", "re-encoding", "Opus 24, MP3 64, Opus 24 kbit/s", _chain(_OPUS, _MP3, _OPUS)),
    Condition("again_call_mp3", "re-encoding", "A-law call, then MP3 64 kbit/s", _chain(_fixed(telephone, "a"), _MP3)),
    # What somebody does to a fake so that it is not found; human recordings suffer the same by accident.
    Condition(
        "replayed",
        "laundered",
        "played in a room, recorded by a phone, sent",
        _chain(_drawn(reverberate, 0.4), _fixed(band_pass, 120.0, 7000.0), _drawn(add_noise, 25, colour="pink"), _AAC),
    ),
    Condition(
        "cleaned",
        "laundered",
        "denoised, brought to −16 LUFS, encoded twice",
        _chain(_fixed(denoise, 24), _fixed(normalise_loudness, -16), _MP3, _AAC),
    ),
    Condition(
        "stretched",
        "laundered",
        "spoken 4 % slower at the same pitch, Opus 24 kbit/s",
        _chain(_fixed(stretch, 0.96), _OPUS),
    ),
)
CONDITIONS: tuple[Condition, ...] = tuple(replace(one, benign=one.name in _BENIGN) for one in _ALL)
