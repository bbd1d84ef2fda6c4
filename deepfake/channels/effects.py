"""The one list of effects: what can happen to speech, by name and called alike.

Augmentation recipes and the conditions of the stress test name an effect and its parameters. To add one, write a
function `samples, parameters → samples` in this folder, or `samples, rng, parameters → samples` where it draws, and
give it a name here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepfake.channels.acoustics import add_noise, clip_share, gain, gaussian_noise, reverberate
from deepfake.channels.codecs import round_trip
from deepfake.channels.edits import lead_silence, mask_frequency, mask_time, pitch, speed, trim_edges
from deepfake.channels.filters import denoise, normalise_loudness, stretch
from deepfake.channels.lines import lose_packets, low_pass, telephone, through_rate
from deepfake.channels.rawboost import rawboost

Samples = np.ndarray


@dataclass(frozen=True)
class Effect:
    """One change of samples.

    Attributes:
        function: takes samples, a generator where it draws, and parameters by name.
    """

    function: Callable[..., Samples]

    def __call__(self, samples: Samples, rng: np.random.Generator, **parameters: float | str | None) -> Samples:
        """The changed samples; equal generators give equal samples, and what does not draw leaves `rng` untouched.

        Args:
            samples: mono float32 of shape (n,), 16 kHz, full scale 1.
        """
        return self.function(samples, *((rng,) if self.draws else ()), **parameters)

    @property
    def draws(self) -> bool:
        """Whether it takes anything from the generator."""
        return "rng" in inspect.signature(self.function).parameters

    @property
    def parameters(self) -> tuple[str, ...]:
        """What it can be given by name."""
        return tuple(name for name in inspect.signature(self.function).parameters if name not in ("samples", "rng"))


def nothing(samples: Samples) -> Samples:
    """The samples themselves."""
    return samples


EFFECTS: dict[str, Effect] = {
    "nothing": Effect(nothing),
    "gaussian_noise": Effect(gaussian_noise),
    "noise": Effect(add_noise),
    "reverb": Effect(reverberate),
    "codec": Effect(round_trip),
    "telephone": Effect(telephone),
    "packet_loss": Effect(lose_packets),
    "low_pass": Effect(low_pass),
    "resample": Effect(through_rate),
    "gain": Effect(gain),
    "clip": Effect(clip_share),
    "speed": Effect(speed),
    "pitch": Effect(pitch),
    "rawboost": Effect(rawboost),
    "mask_time": Effect(mask_time),
    "mask_frequency": Effect(mask_frequency),
    "denoise": Effect(denoise),
    "loudness": Effect(normalise_loudness),
    "stretch": Effect(stretch),
    "trim_edges": Effect(trim_edges),
    "lead_silence": Effect(lead_silence),
}
