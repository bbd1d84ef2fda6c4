"""The loop: AdamW over stacked models, a running average of each, and a state from which a killed fit goes on."""

from __future__ import annotations

import math
import os
import pickle
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from deepfake.architectures.compact import CompactForAudioClassification
from deepfake.audio.decode import SAMPLING_RATE
from deepfake.errors import UserError
from deepfake.text import one_line
from deepfake.training.stacked.audio import ClipAudio
from deepfake.training.stacked.model import KINDS_HEAD, Parameters, StackedForward, stacked_parameters
from deepfake.training.stacked.options import STATE, StackedOptions
from deepfake.training.stacked.sampling import ClipFacts, drawing_weights, drawn_clips
from deepfake.training.stacked.sound import augmented, band_masked, levelled, log_mel

_BETAS = 0.9, 0.98
_LOGGED_EVERY = 50
_LAST_RATE = 0.03  # of the highest, at the end


@dataclass(frozen=True)
class OneFit:
    """One of the models that are fitted at once: which clips it may be given, the seed of its draws, its strength."""

    fitted: np.ndarray  # bool of shape (clips,)
    seed: int
    strength: float = 1.0


@dataclass(frozen=True)
class Averages:
    """Running averages of the parameters, each of shape (models, …), and what was logged: step, loss, learning rate."""

    parameters: Parameters
    history: list[dict[str, float]]


class StackedFit:
    """A fit of several models at once.

    The result depends on the clips, the options, the models' seeds and `seed` alone; one that was killed ends as one
    that was not.

    Args:
        model: where all of them start.
        audio, facts: of the clips.
        fits: one entry for each model.
        seed: of crops and channels.
        dtype: of the products; see `StackedForward`.
        folder: where the state is kept.
    """

    def __init__(
        self,
        model: CompactForAudioClassification,
        audio: ClipAudio,
        facts: ClipFacts,
        fits: Sequence[OneFit],
        options: StackedOptions,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        folder: Path,
    ) -> None:
        self.audio, self.options, self.device, self.seed = audio, options, device, seed
        self.config, self.filters = model.config, model.mel_filters.float().to(device)
        self.forward = StackedForward(model.config, dtype)
        self.size = round(options.crop_s * SAMPLING_RATE)
        draws = [
            drawn_clips(
                *drawing_weights(facts, one.fitted, options), options.steps, options.batch_size, (seed, one.seed)
            )
            for one in fits
        ]
        self.draws = torch.from_numpy(np.stack(draws))  # (models, steps, batch)
        self.strengths = torch.tensor([one.strength for one in fits], device=device)
        self.label = torch.tensor(facts.label, device=device, dtype=torch.float32)
        self.kind = torch.tensor(facts.target, device=device)
        counted = facts.copy & (options.copies != "fake")
        self.counts = torch.tensor(~counted, device=device, dtype=torch.float32)  # in the loss of real or fake
        self.parameters = stacked_parameters(model, len(fits), device)
        self.state = _State.fresh(self.parameters)
        self.path = folder / STATE

    def run(self) -> Averages:
        """All steps, from the state that lies in the folder where there is one.

        Raises:
            KeyboardInterrupt: after the state is written.
            UserError: the loss is no longer a finite number, or the state on disk cannot be read.
        """
        state, options = self.state, self.options
        if self.path.is_file():
            state.load(self.path, self.parameters)
        written = time.monotonic()
        bar = tqdm(total=options.steps, initial=state.step, desc="fitting", unit="step", file=sys.stderr, disable=None)
        with bar:
            try:
                while state.step < options.steps:
                    loss = self._step(state.step)
                    state.step += 1
                    if state.step % _LOGGED_EVERY == 0 or state.step == options.steps:
                        self._log(loss, bar)
                    bar.update()
                    if time.monotonic() - written >= 60 * options.save_minutes or state.step == options.steps:
                        _require_finite(loss, state.step)
                        state.save(self.path, self.parameters)
                        written = time.monotonic()
            except KeyboardInterrupt:
                state.save(self.path, self.parameters)
                raise
        return Averages(dict(zip(self.parameters, state.average, strict=True)), state.history)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor, torch.Generator]:
        """What the models are given at a step: spectrograms (models, batch, frames, bands), which frames are a clip's
        own, the clips (models, batch), and the generator of whatever else is drawn in the step."""
        rng = torch.Generator(self.device).manual_seed(
            int(np.random.SeedSequence([self.seed, step]).generate_state(1)[0])
        )
        clips = self.draws[:, step].to(self.device)
        strengths = self.strengths.repeat_interleave(clips.shape[1])
        samples, counts = self.audio.crops(clips.flatten(), self.size, rng)
        samples = augmented(levelled(samples, counts), counts, strengths, rng)
        mel, own = log_mel(samples, counts, self.filters, self.config.mel_fft, self.config.mel_hop)
        mel = band_masked(mel, strengths, rng)
        return mel.unflatten(0, clips.shape), own.unflatten(0, clips.shape), clips, rng

    def losses(
        self, mel: Tensor, own: Tensor, clips: Tensor, dropout: float = 0.0, rng: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Of each model, (models,): of real or fake alone, and with the second head's, which is what is minimised."""
        odds, kinds = self.forward(self.parameters, mel, own, dropout, rng)
        smoothing, counts = self.options.label_smoothing, self.counts[clips]
        target = self.label[clips] * (1 - smoothing) + 0.5 * smoothing
        each = functional.binary_cross_entropy_with_logits(odds, target, reduction="none")
        main = (each * counts).sum(1) / counts.sum(1).clamp(min=1)
        second = functional.cross_entropy(kinds.flatten(0, 1), self.kind[clips].flatten(), reduction="none")
        return main, main + self.options.kinds_weight * second.view_as(each).mean(1)

    def rate_share(self, step: int) -> float:
        """The learning rate at a step as a share of the highest: a linear rise, and half a cosine down to 3 %."""
        done = step / self.options.steps
        rise = min(1.0, (step + 1) / max(self.options.warmup_share * self.options.steps, 1e-9))
        return rise * (0.5 * (1 + math.cos(math.pi * done)) * (1 - _LAST_RATE) + _LAST_RATE)

    def _step(self, step: int) -> Tensor:
        with torch.no_grad():
            mel, own, clips, rng = self.batch(step)
        main, whole = self.losses(mel, own, clips, self.options.dropout, rng)
        gradients = torch.autograd.grad(whole.sum(), list(self.parameters.values()))
        with torch.no_grad():
            self._update(_limited(gradients, self.options.largest_gradient), step)
        return main.detach()

    def _update(self, gradients: list[Tensor], step: int) -> None:
        """AdamW (Loshchilov and Hutter, 2019), and the running average, which follows faster in the first steps."""
        options, state, parameters = self.options, self.state, list(self.parameters.values())
        first, second = _BETAS
        torch._foreach_lerp_(state.mean, gradients, 1 - first)
        torch._foreach_mul_(state.square, second)
        torch._foreach_addcmul_(state.square, gradients, gradients, 1 - second)
        size = torch._foreach_sqrt(state.square)
        torch._foreach_div_(size, math.sqrt(1 - second ** (step + 1)))
        torch._foreach_add_(size, 1e-8)
        rates = [
            self.rate_share(step) * (options.head_rate if _in_head(n) else options.encoder_rate)
            for n in self.parameters
        ]
        # Matrices are what has a third axis beside that of the models; biases and norms are not drawn to zero.
        keep = [1 - r * options.weight_decay * (p.dim() > 2) for p, r in zip(parameters, rates, strict=True)]
        torch._foreach_mul_(parameters, keep)
        moves = torch._foreach_div(state.mean, size)
        torch._foreach_mul_(moves, [-rate / (1 - first ** (step + 1)) for rate in rates])
        torch._foreach_add_(parameters, moves)
        torch._foreach_lerp_(state.average, parameters, 1 - min(options.average, (step + 1) / (step + 10)))

    def _log(self, loss: Tensor, bar: tqdm) -> None:
        _require_finite(loss, self.state.step)
        value, rate = float(loss.mean()), self.rate_share(self.state.step - 1) * self.options.head_rate
        self.state.history.append({"step": self.state.step, "loss": round(value, 5), "learning_rate": rate})
        bar.set_postfix(loss=f"{value:.3f}")


@dataclass
class _State:
    """AdamW's moments, the running average and the log, after `step` steps; tensors in the order of the parameters."""

    step: int
    mean: list[Tensor]
    square: list[Tensor]
    average: list[Tensor]
    history: list[dict[str, float]]

    @classmethod
    def fresh(cls, parameters: Parameters) -> _State:
        values = [p.detach() for p in parameters.values()]
        zeros = ([torch.zeros_like(v) for v in values] for _ in range(2))
        return cls(0, *zeros, [v.clone() for v in values], [])

    def save(self, path: Path, parameters: Parameters) -> None:
        """Whole or not at all: a kill while it is written leaves the one before."""
        values: dict[str, Any] = {"parameters": [p.detach() for p in parameters.values()]}
        partial = path.with_suffix(".part")
        torch.save(values | vars(self), partial)
        os.replace(partial, path)

    def load(self, path: Path, parameters: Parameters) -> None:
        try:
            found = torch.load(path, map_location=self.mean[0].device, weights_only=True)
            with torch.no_grad():
                for own, stored in zip(parameters.values(), found.pop("parameters"), strict=True):
                    own.copy_(stored)
            for name, value in found.items():
                setattr(self, name, value)
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
            raise UserError(
                f"cannot go on from {path} ({one_line(error)}); delete it, or give --overwrite, to begin anew"
            ) from error


def _require_finite(loss: Tensor, step: int) -> None:
    if not torch.isfinite(loss).all():
        raise UserError(
            f"the loss is no longer a finite number at step {step}; lower --set stacked.encoder_rate and head_rate"
        )


def _limited(gradients: Sequence[Tensor], largest: float) -> list[Tensor]:
    """Each model's gradient cut down to the norm `largest`."""
    norm = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
    share = (largest / (norm + 1e-6)).clamp(max=1)
    return [g * share.view(-1, *[1] * (g.dim() - 1)) for g in gradients]


def _in_head(name: str) -> bool:
    return name.startswith(("pooling.", "head.")) or name in KINDS_HEAD
