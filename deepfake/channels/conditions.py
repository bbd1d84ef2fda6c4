"""The named conditions a detector is tried under, each family from mild to severe."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from deepfake.channels.effects import EFFECTS

Parameters = Mapping[str, float | str]
Step = tuple[str, Parameters]
BENIGN = "benign"  # a group of conditions: what happens to recordings without anybody meaning harm


@dataclass(frozen=True)
class Condition:
    """One effect at one strength: `name` is unique, `family` groups strengths, `label` is for people.

    Attributes:
        effect, parameters: of `EFFECTS`. then: further ones, in turn.
        benign: people's recordings go through it every day, and it should change no verdict on a human speaker.
    """

    name: str
    family: str
    label: str
    effect: str
    parameters: Parameters = field(default_factory=dict)
    then: tuple[Step, ...] = ()
    benign: bool = False

    def apply(self, samples: np.ndarray, seed: int, clip: str) -> np.ndarray:
        """The effect on one clip; what is random depends on (seed, condition, clip) and on nothing else."""
        key = [seed, zlib.crc32(self.name.encode()), zlib.crc32(clip.encode())]
        rng = np.random.default_rng(key)
        for effect, parameters in ((self.effect, self.parameters), *self.then):
            samples = EFFECTS[effect](samples, rng, **parameters)
        return samples


def _chain(name: str, family: str, label: str, *steps: Step) -> Condition:
    """One effect after the other; what they draw comes from one generator."""
    (effect, parameters), *then = steps
    return Condition(name, family, label, effect, parameters, tuple(then))


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


_SNR, _SPEEDS = (30, 20, 10, 5, 0), (0.98, 1.02, 0.95, 1.05, 0.9, 1.1, 0.8, 1.25)
_MP3: Step = ("codec", {"codec": "mp3", "bit_rate": 64_000})
_AAC: Step = ("codec", {"codec": "aac", "bit_rate": 48_000})
_OPUS: Step = ("codec", {"codec": "opus", "bit_rate": 24_000})
_BENIGN = (
    "mp3_64k", "opus_24k", "aac_48k", "g722", "g711_a", "g711_mu", "rate_44100", "rate_11025", "rate_8000",
    "speed_0.98", "speed_1.02", "denoise_12dB", "denoise_24dB", "loudness_-16", "loudness_-23", "again_mp3_aac",
    "again_opus_mp3", "again_call_mp3",
)  # fmt: skip
_ALL = (
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
    *_levels("denoising", (12, 24), "denoise_{}dB", "noise down by {} dB", "denoise", lambda a: {"reduction_db": a}),
    *_levels("loudness", (-16, -23), "loudness_{}", "at {} LUFS", "loudness", lambda a: {"target_lufs": a}),
    _chain("again_mp3_aac", "re-encoding", "MP3 64, then AAC 48 kbit/s", _MP3, _AAC),
    _chain("again_opus_mp3", "re-encoding", "Opus 24, MP3 64, Opus 24 kbit/s", _OPUS, _MP3, _OPUS),
    _chain("again_call_mp3", "re-encoding", "A-law call, then MP3 64 kbit/s", ("telephone", {"law": "a"}), _MP3),
    # What somebody does to a fake so that it is not found; human recordings suffer the same by accident.
    _chain(
        "replayed", "laundered", "played in a room, recorded by a phone, sent",
        ("reverb", {"rt60_s": 0.4}), ("low_pass", {"cutoff_hz": 7000}), ("noise", {"snr_db": 25, "colour": "pink"}),
        _AAC,
    ),
    _chain(
        "cleaned", "laundered", "denoised, brought to −16 LUFS, encoded twice",
        ("denoise", {"reduction_db": 24}), ("loudness", {"target_lufs": -16}), _MP3, _AAC,
    ),
    _chain(
        "stretched", "laundered", "spoken 4 % slower at the same pitch, Opus 24 kbit/s",
        ("stretch", {"factor": 0.96}), _OPUS,
    ),
)  # fmt: skip
CONDITIONS: tuple[Condition, ...] = tuple(replace(one, benign=one.name in _BENIGN) for one in _ALL)
