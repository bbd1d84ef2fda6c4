"""Can this checkpoint be trusted to be scored? Everything its score silently rests on, checked and written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import soxr

from deepfake.audio.decode import SAMPLING_RATE, encode_flac, load_audio
from deepfake.labels import LABELS, label_of_tokens
from deepfake.models.checkpoint import Checkpoint
from deepfake.models.forward import TorchForward, fuse_head
from deepfake.models.inputs import featurise, has_fixed_length, padding_invariant, reads_waveform, uses_padding_mask
from deepfake.models.precision import MAX_PROBABILITY_CHANGE, with_precision
from deepfake.text import fake_probability, one_line

LOGIT_TOLERANCE = 1e-4  # single against batched
_LENGTHS_S = (2.5, 4.0, 6.5)
_LEVEL_TOLERANCE = 0.05  # on logits, for models that bring clips to one level themselves: 16-bit steps remain
_MEAN_TOLERANCE = 0.02  # of a normalised clip; its standard deviation may be off by twice that


@dataclass(frozen=True)
class Check:
    """One property: its name, whether it holds, and what was found."""

    name: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Probe:
    """What the checks look at.

    Attributes:
        checkpoint: the loaded model, its feature extractor and settings.
        speech: mono 16 kHz float32 speech of at least 8 s, shape (samples,).
        load: decodes a recording to mono 16 kHz; replaced where another program's loading is to be checked.
    """

    checkpoint: Checkpoint
    speech: np.ndarray
    load: Callable[[bytes], np.ndarray] = load_audio

    def logits(self, clips: list[np.ndarray]) -> np.ndarray:
        """Fake minus real, of all clips in one batch exactly as the feature extractor pads it."""
        checkpoint = self.checkpoint
        forward = TorchForward(
            checkpoint.model,
            checkpoint.extractor,
            checkpoint.fake_index,
            fuse_head(checkpoint.model, checkpoint.fake_index),
        )
        return np.array([score.logit for score in forward(clips)])

    def clips(self) -> list[np.ndarray]:
        return [self.speech[1000 * i :][: round(s * SAMPLING_RATE)] for i, s in enumerate(_LENGTHS_S)]


def check_contract(probe: Probe) -> list[Check]:
    """Run all checks; one that cannot be run has failed.

    Args:
        probe: the checkpoint with speech to try it on.
    """
    checks = []
    for name, run in _CHECKS.items():
        try:
            checks.append(run(probe, name))
        except Exception as error:  # a broken checkpoint may break anywhere; that is the finding
            checks.append(Check(name, False, f"{type(error).__name__}: {one_line(error)}"))
    return checks


def contract(probe: Probe, checks: list[Check]) -> dict[str, Any]:
    """What contract.json holds: the checks, and how to feed the model from any other program."""
    checkpoint, extractor = probe.checkpoint, probe.checkpoint.extractor
    return {
        "passed": all(check.passed for check in checks),
        "checks": [asdict(check) for check in checks],
        "input": {
            "sampling_rate": extractor.sampling_rate,
            "channels": "mono, the mean of all channels",
            "resampler": "soxr HQ",
            "normalised": bool(getattr(extractor, "do_normalize", False)),
            "attention_mask": bool(getattr(extractor, "return_attention_mask", False)),
            "padding": "fixed length" if has_fixed_length(extractor) else "longest of the batch",
            "batching": "any lengths" if padding_invariant(checkpoint.model.config) else "equal lengths only",
        },
        "output": {
            "labels": {str(index): name for index, name in checkpoint.model.config.id2label.items()},
            "fake_index": checkpoint.fake_index,
            "threshold": checkpoint.threshold,
            "window_s": checkpoint.window_s,
            "hop_s": checkpoint.hop_s,
            "aggregation": "mean logit over windows with speech",
        },
    }


def _polarity(probe: Probe, name: str) -> Check:
    config = probe.checkpoint.model.config
    index = probe.checkpoint.fake_index
    other = {int(v) for k, v in (config.label2id or {}).items() if label_of_tokens(str(k)) == {LABELS[1]}}
    named = f"logit {index} is {config.id2label[index]!r}, label2id says {sorted(other) or 'nothing'}"
    return Check(name, other <= {index}, named)


def _stored_settings(probe: Probe, name: str) -> Check:
    c = probe.checkpoint
    sound = 0 < c.hop_s <= c.window_s and (c.threshold is None or 0 <= c.threshold <= 1)
    heard_s = getattr(c.extractor, "chunk_length", None) if has_fixed_length(c.extractor) else None
    if heard_s is None and has_fixed_length(c.extractor):
        heard_s = c.extractor.max_length / 100  # spectrogram frames of 10 ms
    sound = sound and (heard_s is None or c.window_s <= heard_s + 0.01)
    limit = "" if heard_s is None else f", the model hears {heard_s:g} s"
    return Check(name, sound, f"window {c.window_s:g} s, hop {c.hop_s:g} s, threshold {c.threshold}{limit}")


def _sampling_rate(probe: Probe, name: str) -> Check:
    """A telephone recording at 8 kHz must come out as the same sound as its 16 kHz version."""
    narrow = soxr.resample(probe.speech[: 4 * SAMPLING_RATE], SAMPLING_RATE, 8000, "HQ")
    heard = probe.load(encode_flac(narrow, 8000))
    wide = soxr.resample(narrow, 8000, SAMPLING_RATE, "HQ")
    close = abs(len(heard) - len(wide)) < 100 and _correlation(heard, wide) > 0.999
    rate = probe.checkpoint.extractor.sampling_rate
    found = f"4 s at 8 kHz are read as {len(heard) / SAMPLING_RATE:.2f} s; the model wants {rate} Hz"
    return Check(name, close and rate == SAMPLING_RATE, found)


def _mono(probe: Probe, name: str) -> Check:
    """A stereo file is the mean of its channels, not the first of them."""
    import io
    import wave

    left, right = probe.speech[: 2 * SAMPLING_RATE], probe.speech[SAMPLING_RATE : 3 * SAMPLING_RATE]
    frames = (np.stack((left, right), axis=1) * 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((2, 2, SAMPLING_RATE, 0, "NONE", ""))
        file.writeframes(frames.tobytes())
    heard = probe.load(buffer.getvalue())
    agreement = _correlation(heard, (left + right) / 2)
    return Check(name, agreement > 0.999, f"correlation with the mean of both channels {agreement:.3f}")


def _normalisation(probe: Probe, name: str) -> Check:
    """Models with layer-normalised convolutions are pre-trained on clips of zero mean and unit variance.

    An architecture that levels clips itself (`levels_input`) is checked by its logits: a quiet clip with an offset must
    get those of the loud clip it was made from.
    """
    extractor = probe.checkpoint.extractor
    config = probe.checkpoint.model.config
    if not (reads_waveform(config) and uses_padding_mask(config)):
        return Check(
            name, True, f"do_normalize is {getattr(extractor, 'do_normalize', None)}; either occurs for this type"
        )
    loud = probe.clips()[0]
    clip = (0.1 * loud + 0.05).astype(np.float32)
    if getattr(config, "levels_input", False):
        change = float(np.abs(probe.logits([clip]) - probe.logits([loud])).max())
        return Check(name, change <= _LEVEL_TOLERANCE, f"a quiet clip with an offset moves the logit by {change:.1e}")
    values = featurise(extractor, [clip])["input_values"][0].double().numpy()
    mean, deviation = float(values.mean()), float(values.std())
    passed = abs(mean) < _MEAN_TOLERANCE and abs(deviation - 1) < 2 * _MEAN_TOLERANCE
    return Check(name, passed, f"a quiet clip with an offset comes out with mean {mean:.3f}, deviation {deviation:.3f}")


def _mask(probe: Probe, name: str) -> Check:
    wanted = uses_padding_mask(probe.checkpoint.model.config)
    returned = "attention_mask" in featurise(probe.checkpoint.extractor, probe.clips())
    passed = returned == wanted or has_fixed_length(probe.checkpoint.extractor)
    found = (
        f"the feature extractor returns {'a' if returned else 'no'} mask, the model wants {'one' if wanted else 'none'}"
    )
    return Check(name, passed, found)


def _batching(probe: Probe, name: str) -> Check:
    clips = probe.clips()
    if not padding_invariant(probe.checkpoint.model.config):
        clips = [clip[: len(clips[0])] for clip in clips]
    single = np.concatenate([probe.logits([clip]) for clip in clips])
    change = float(np.abs(probe.logits(clips) - single).max())
    how = "padded" if len({len(c) for c in clips}) > 1 else "equal lengths"
    return Check(name, change <= LOGIT_TOLERANCE, f"single against batched ({how}): {change:.1e} on logits")


def _repeatable(probe: Probe, name: str) -> Check:
    change = float(np.abs(probe.logits(probe.clips()[:1]) - probe.logits(probe.clips()[:1])).max())
    training = probe.checkpoint.model.training
    return Check(name, change == 0 and not training, f"the same clip twice: {change:.1e}; training mode {training}")


def _alive(probe: Probe, name: str) -> Check:
    """Different sounds give different, finite logits."""
    logits = np.concatenate([probe.logits([clip]) for clip in probe.clips()])
    passed = bool(np.isfinite(logits).all() and np.ptp(logits) > 1e-6)
    return Check(name, passed, "logits " + ", ".join(f"{value:.4f}" for value in logits))


def _minimum_length(probe: Probe, name: str) -> Check:
    """The shortest recording that is scored at all, 0.5 s, gets through."""
    logit = float(probe.logits([probe.speech[: SAMPLING_RATE // 2]])[0])
    return Check(name, bool(np.isfinite(logit)), f"0.5 s gives the logit {logit:.4f}")


def _precision(probe: Probe, name: str) -> Check:
    """The weights survive half precision: what a GPU would run."""
    import torch

    checkpoint = probe.checkpoint
    model = with_precision(checkpoint.model, "bf16")
    limit = torch.finfo(torch.float16).max
    largest = max(float(p.detach().abs().max()) for p in checkpoint.model.parameters())
    reduced = replace(probe, checkpoint=replace(checkpoint, model=model))
    exact = np.concatenate([probe.logits([clip]) for clip in probe.clips()])
    change = max(abs(fake_probability(a) - fake_probability(b)) for a, b in zip(exact, _each(reduced), strict=True))
    passed = change <= MAX_PROBABILITY_CHANGE and largest < limit
    return Check(name, passed, f"bf16 moves fake_probability by {change:.4f}; largest weight {largest:.3g}")


def _each(probe: Probe) -> Iterator[float]:
    return (float(probe.logits([clip])[0]) for clip in probe.clips())


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    length = min(len(a), len(b))
    return float(np.corrcoef(a[:length], b[:length])[0, 1]) if length else 0.0


def probe_speech() -> np.ndarray:
    """Ten seconds of a sound shaped like speech, from a fixed seed: pulses at 120 Hz through moving resonances.

    Returns:
        float32 of shape (160000,), 16 kHz.
    """
    rng = np.random.default_rng(7)
    seconds = np.arange(10 * SAMPLING_RATE) / SAMPLING_RATE
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * seconds)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLING_RATE
    formants = [
        (500 + 250 * np.sin(2 * np.pi * 1.3 * seconds), 90.0),
        (1500 + 600 * np.sin(2 * np.pi * 0.9 * seconds), 140.0),
    ]
    voice = sum(
        np.sin(k * phase) * sum(1 / (1 + ((k * pitch - centre) / width) ** 2) for centre, width in formants)
        for k in range(1, 25)
    )
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * seconds) + 0.4, 0, 1)
    sound = voice * syllables + 0.02 * rng.normal(size=len(seconds))
    return (0.1 * sound / np.abs(sound).max() * 3).astype(np.float32)


_CHECKS: dict[str, Callable[[Probe, str], Check]] = {
    "label polarity": _polarity,
    "stored settings": _stored_settings,
    "sampling rate": _sampling_rate,
    "mono": _mono,
    "normalisation": _normalisation,
    "padding mask": _mask,
    "batch invariance": _batching,
    "repeatable": _repeatable,
    "listens": _alive,
    "minimum length": _minimum_length,
    "precision parity": _precision,
}
