"""A fitted detector made narrower: perceptrons of fewer hidden units, fitted to compute what the wide one computes.

Of a layer's hidden units those are kept that explain the others best, and the product after them is fitted anew by
least squares. Then the narrow layers, pooling and head are fitted to the wide detector's frames, pooled values and
log-odds, on clips through random channels. No label is used, so that the clips' labels cannot be learnt by heart.
"""

from __future__ import annotations

import copy
import math
import os
import pickle
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from deepfake.architectures.compact import CompactConfig, CompactForAudioClassification
from deepfake.architectures.compact.encoder_compact import EncoderLayer, positions
from deepfake.architectures.compact.features_compact import levelled, log_mel
from deepfake.audio.decode import SAMPLING_RATE
from deepfake.errors import UserError
from deepfake.models.one_dnn import use_one_dnn
from deepfake.text import one_line
from deepfake.training.recipe import nearest_name
from deepfake.training.stacked.audio import ClipAudio
from deepfake.training.stacked.options import STATE
from deepfake.training.stacked.sound import augmented
from deepfake.training.stacked.sound import levelled as levelled_batch

_BETAS = 0.9, 0.98
_AVERAGE = 0.98  # decay of the running average of the weights, which is what is kept
_WARMUP_STEPS = 30
_LAST_RATE = 0.02  # of the highest, at the end
_LAYER_SHARE, _HEAD_SHARE = 0.25, 0.1  # of the rate, for what was not narrowed, and for pooling and head
_FRAMES_WEIGHT, _ODDS_WEIGHT = 5.0, 0.01  # beside pooled values; log-odds are few and their gradients noisy
_STRENGTHS = 0.0, 0.5, 1.0  # of the channels, one drawn for each clip
_CHOOSING, _CHECKING = 10_000_000, 20_000_000  # numbers of batches that no step of the fit has
_CHOOSING_BATCHES, _CHECKING_BATCHES = 24, 8
_LOGGED_EVERY = 20


@dataclass(frozen=True)
class NarrowOptions:
    """What `narrow:` may hold.

    Attributes:
        teacher: folder of the wide detector, as a run with `stacked:` left it. Thresholds, calibration and what was
            held out are taken over from it.
        steps, batch_size: of the fit. 0 steps: least squares alone.
        crop_s: of a clip. With the silence around it, it must lie within one block of the model's frames.
        rate: learning rate (Adam) of the narrowed perceptrons; the rest of the layers learns at a quarter of it,
            pooling and head at a tenth.
        save_minutes: between two states written, from which a run that was killed goes on.
    """

    teacher: str
    steps: int = 850
    batch_size: int = 12
    crop_s: float = 3.0
    rate: float = 6e-5
    save_minutes: float = 5.0

    @classmethod
    def of(cls, mapping: dict[str, Any]) -> NarrowOptions:
        """Read the mapping.

        Raises:
            UserError: an unknown key, no teacher, or a value out of range.
        """
        known = {one.name: one.type for one in fields(cls)}
        values = {}
        for key, value in mapping.items():
            if key not in known:
                raise UserError(f"unknown key narrow.{key}{nearest_name(key, known)}")
            kind = {"str": str, "int": int, "float": float}[known[key]]
            try:
                values[key] = kind(value)
            except (TypeError, ValueError) as error:
                raise UserError(f"narrow.{key} is {value!r}; expected {kind.__name__}") from error
            if kind is not str and values[key] <= 0 and (key, values[key]) != ("steps", 0):
                raise UserError(f"narrow.{key} is {value!r}; expected more than 0")
        if "teacher" not in values:
            raise UserError("narrow.teacher is missing; name the folder of a detector fitted with `stacked:`")
        return cls(**values)


@dataclass(frozen=True)
class Agreement:
    """How far a narrow detector is from the wide one, over clips through random channels.

    Attributes:
        correlation: of the log-odds. log_odds_rms: of their difference.
        frames: mean squared difference of the normalised frames, mean over the layers (0 alike, 2 unrelated).
    """

    correlation: float
    log_odds_rms: float
    frames: float


@dataclass(frozen=True)
class Matched:
    """What a fit left: the log, and the agreement before it (after least squares alone) and after it."""

    history: tuple[dict[str, float], ...]
    before: Agreement
    after: Agreement


def narrow(
    teacher: CompactForAudioClassification, model: CompactForAudioClassification, batches: Sequence[Tensor]
) -> None:
    """Give `model` the teacher's weights, in place, of its perceptrons the units that explain the others best.

    Units are chosen one after the other by a Cholesky factorisation with pivots of their second moments, each weighed
    by what the layer makes of it (Golub and Van Loan, "Matrix computations", 4.2.8). Then, layer after layer, fc2 is
    fitted by least squares so that from the narrow model's own frames below it comes nearest to the teacher's above.

    Args:
        batches: frames after the convolutions, each (clips, frames, channels).

    Raises:
        ValueError: the model is wider than the teacher, or differs in more than `inner_width`.
    """
    own = {name: value for name, value in teacher.state_dict().items() if ".fc1." not in name and ".fc2." not in name}
    _, unexpected = model.load_state_dict(own, strict=False)
    if unexpected:
        raise ValueError(f"the teacher has {unexpected[0]}, which the narrow model lacks")
    above, below = [list(batches)], [list(batches)]  # frames of the teacher and of the narrow model, by stage and batch
    with torch.no_grad():
        for wide, slim in zip(teacher.layers, model.layers, strict=True):
            kept = _units_to_keep(wide, above[-1], slim.fc1.out_features)
            slim.fc1.weight.copy_(wide.fc1.weight[kept])
            slim.fc1.bias.copy_(wide.fc1.bias[kept])
            above.append([wide(frames) for frames in above[-1]])
            _fit_product(slim, below[-1], above[-1])
            below.append([slim(frames) for frames in below[-1]])
        _fit_projections(teacher, model, above, below)


def _attended(layer: EncoderLayer, frames: Tensor) -> Tensor:
    return frames + layer.self_attn(layer.self_attn_layer_norm(frames))


def _hidden(layer: EncoderLayer, attended: Tensor) -> Tensor:
    return functional.gelu(layer.fc1(layer.final_layer_norm(attended)))


def _units_to_keep(wide: EncoderLayer, batches: Sequence[Tensor], count: int) -> Tensor:
    """Indices of `count` of the layer's hidden units, rising; batches: the frames below it."""
    units = wide.fc1.out_features
    if count > units:
        raise ValueError(f"a perceptron of {count} hidden units cannot be made of one with {units}")
    moments = _Moments()
    for frames in batches:
        hidden = _hidden(wide, _attended(wide, frames))
        moments.add(hidden, hidden)
    size = wide.fc2.weight.double().norm(dim=0).cpu()
    weighed = moments.total * size[:, None] * size
    _, order, _, _ = lapack.dpstrf((weighed + _ridge(weighed)).numpy(), lower=1)
    return torch.from_numpy(np.sort(order[:count] - 1).astype(np.int64)).to(wide.fc1.weight.device)


def _fit_product(slim: EncoderLayer, below: Sequence[Tensor], above: Sequence[Tensor]) -> None:
    """fc2, in place: the least squares of the frames wanted above the layer, from the narrow model's below it."""
    moments, wanted = _Moments(), _Moments()
    for frames, up in zip(below, above, strict=True):
        attended = _attended(slim, frames)
        hidden = functional.pad(_hidden(slim, attended), (0, 1), value=1.0)  # with a one, for the bias
        moments.add(hidden, hidden)
        wanted.add(hidden, up - attended)
    found = _solved(moments, wanted)
    slim.fc2.weight.copy_(found[:-1].T)
    slim.fc2.bias.copy_(found[-1])


def _fit_projections(
    teacher: CompactForAudioClassification,
    model: CompactForAudioClassification,
    above: Sequence[Sequence[Tensor]],
    below: Sequence[Sequence[Tensor]],
) -> None:
    """The pooling's projections, in place, so that their sum comes nearest to the teacher's; frames by stage, batch."""
    moments, wanted = _Moments(), _Moments()
    for wide, slim in zip(zip(*above, strict=True), zip(*below, strict=True), strict=True):
        given = functional.pad(torch.cat([_normed(stage) for stage in slim], -1), (0, 1), value=1.0)
        projections = zip(teacher.pooling.projections, wide, strict=True)
        moments.add(given, given)
        wanted.add(given, sum(project(_normed(stage)) for project, stage in projections))
    found = _solved(moments, wanted)
    for project, weight in zip(model.pooling.projections, found[:-1].chunk(len(below)), strict=True):
        project.weight.copy_(weight.T)
    model.pooling.projections[0].bias.copy_(found[-1])


class _Moments:
    """Sum over all frames of the outer products of two values of each, float64."""

    def __init__(self) -> None:
        self.total = torch.zeros(())

    def add(self, left: Tensor, right: Tensor) -> None:
        self.total = self.total + (left.flatten(0, 1).T @ right.flatten(0, 1)).double().cpu()


def _solved(moments: _Moments, wanted: _Moments) -> Tensor:
    return torch.linalg.solve(moments.total + _ridge(moments.total), wanted.total)


def _ridge(moments: Tensor) -> Tensor:
    return 1e-6 * moments.diagonal().mean() * torch.eye(len(moments), dtype=torch.float64)


def _normed(frames: Tensor) -> Tensor:
    return functional.layer_norm(frames, frames.shape[-1:])


def _moments(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Sum over all frames of the outer products of two values of each, float64."""
    return sum((a.flatten(0, 1).T @ b.flatten(0, 1)).double().cpu() for a, b in zip(left, right, strict=True))


def _ridge(moments: Tensor) -> Tensor:
    return 1e-6 * moments.diagonal().mean() * torch.eye(len(moments), dtype=torch.float64)


class Matching:
    """The fit of a narrow detector to a wide one.

    The result depends on the clips, the options and `seed` alone; one that was killed ends as one that was not. The
    convolutions are the teacher's and stay so.

    Args:
        model: fitted in place; of the teacher's architecture, with its own `inner_width`.
        audio: clips, of which each step draws some with equal chances.
        folder: where the state is kept.

    Raises:
        UserError: model and teacher do not fit each other, or the crop is longer than a block.
    """

    def __init__(
        self,
        teacher: CompactForAudioClassification,
        model: CompactForAudioClassification,
        audio: ClipAudio,
        options: NarrowOptions,
        seed: int,
        device: torch.device,
        folder: Path,
    ) -> None:
        self.audio, self.options, self.seed, self.device = audio, options, seed, device
        self.path = folder / STATE
        self.teacher = copy.deepcopy(teacher).float().to(device).eval().requires_grad_(False)
        self.model, self.config = model.float().to(device).eval(), model.config
        self.filters = self.teacher.mel_filters.float()
        self.size = round(options.crop_s * SAMPLING_RATE)
        _require_alike(teacher.config, model.config, self.size)
        use_one_dnn(self.teacher)
        try:
            narrow(self.teacher, self.model, [self.frames(_CHOOSING + k) for k in range(_CHOOSING_BATCHES)])
        except (ValueError, RuntimeError) as error:
            raise UserError(f"cannot narrow {options.teacher} to this architecture ({error})") from error
        use_one_dnn(self.model)
        groups: dict[float, list[Tensor]] = {1.0: [], _LAYER_SHARE: [], _HEAD_SHARE: []}
        for name, parameter in self.model.named_parameters():
            if name.startswith(("conv1.", "conv2.")):
                parameter.requires_grad_(False)
            elif name.startswith("layers."):
                groups[1.0 if ".fc1." in name or ".fc2." in name else _LAYER_SHARE].append(parameter)
            else:
                groups[_HEAD_SHARE].append(parameter)
        self.shares = list(groups)
        self.learning = [p for mine in groups.values() for p in mine]
        self.optimizer = torch.optim.Adam([{"params": mine} for mine in groups.values()], lr=options.rate, betas=_BETAS)
        self.average = [p.detach().clone() for p in self.learning]
        self.step, self.history = 0, []

    def run(self) -> Matched:
        """All steps, from the state that lies in the folder where there is one; the model gets the running average.

        Raises:
            KeyboardInterrupt: after the state is written.
            UserError: the loss is no longer a finite number, or the state on disk cannot be read.
        """
        before = self.agreement()
        if self.path.is_file():
            self._load()
        written = time.monotonic()
        bar = tqdm(
            total=self.options.steps, initial=self.step, desc="narrowing", unit="step", file=sys.stderr, disable=None
        )
        with bar:
            try:
                while not self._done:
                    loss = self._advance()
                    bar.update()
                    if self.step % _LOGGED_EVERY == 0 or self.step == self.options.steps:
                        self._log(loss, bar)
                    if time.monotonic() - written >= 60 * self.options.save_minutes or self._done:
                        self._save()
                        written = time.monotonic()
            except KeyboardInterrupt:
                self._save()
                raise
        with torch.no_grad():
            for parameter, mean in zip(self.learning, self.average, strict=True):
                parameter.copy_(mean)
        return Matched(tuple(self.history), before, self.agreement())

    @torch.no_grad()
    def frames(self, number: int) -> Tensor:
        """Batch `number` after the convolutions, with positions, (clips, frames, channels): all clips of one length."""
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        rng = torch.Generator(self.device).manual_seed(seed)
        count = self.options.batch_size
        clips = torch.randint(len(self.audio), (count,), device=self.device, generator=rng)
        strengths = torch.tensor(_STRENGTHS, device=self.device)
        strengths = strengths[torch.randint(len(_STRENGTHS), (count,), device=self.device, generator=rng)]
        samples, counts = self.audio.crops(clips, self.size, rng)
        samples = augmented(levelled_batch(samples, counts), counts, strengths, rng)
        # What lies beyond the end of a short clip is silence that belongs to it here.
        mel = torch.stack([log_mel(levelled(clip, self.config), self.filters, self.config) for clip in samples])
        frames = self.teacher._convolutions(mel).transpose(1, 2).contiguous()
        return frames + positions(*frames.shape[1:], frames.device)

    @torch.no_grad()
    def agreement(self) -> Agreement:
        """Of model and teacher on batches that no step is given."""
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for number in range(_CHECKING_BATCHES):
            wide, slim = self._both(self.frames(_CHECKING + number))
            found.append((wide[2], slim[2], _frames_apart(wide[0], slim[0])))
        wide, slim = (torch.cat([batch[k] for batch in found]).double() for k in (0, 1))
        return Agreement(
            correlation=float(torch.corrcoef(torch.stack([wide, slim]))[0, 1]),
            log_odds_rms=float((wide - slim).square().mean().sqrt()),
            frames=float(torch.stack([batch[2] for batch in found]).mean()),
        )

    def _both(self, frames: Tensor) -> tuple[_Said, _Said]:
        with torch.no_grad():
            wide = _said(self.teacher, frames)
        return wide, _said(self.model, frames)

    def _loss(self, frames: Tensor) -> Tensor:
        """Frames of the layers, frames that are pooled and pooled values in parts of their variance; and log-odds."""
        wide, slim = self._both(frames)
        pooled = sum((a - b).square().mean() / a.var() for a, b in zip(wide[1], slim[1], strict=True))
        odds = (wide[2] - slim[2]).square().mean()
        return _FRAMES_WEIGHT * _frames_apart(wide[0], slim[0]) + pooled + _ODDS_WEIGHT * odds

    @property
    def _done(self) -> bool:
        return self.step >= self.options.steps

    def _advance(self) -> Tensor:
        share = min(1.0, (self.step + 1) / _WARMUP_STEPS)
        falling = 0.5 * (1 + math.cos(math.pi * self.step / self.options.steps))
        for group, own in zip(self.optimizer.param_groups, self.shares, strict=True):
            group["lr"] = self.options.rate * own * share * (falling * (1 - _LAST_RATE) + _LAST_RATE)
        loss = self._loss(self.frames(self.step))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            follow = 1 - min(_AVERAGE, (self.step + 1) / (self.step + 10))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.learning], follow)
        self.step += 1
        return loss.detach()

    def _log(self, loss: Tensor, bar: tqdm) -> None:
        if not torch.isfinite(loss):
            raise UserError(f"the loss is no longer a finite number at step {self.step}; lower --set narrow.rate")
        self.history.append({"step": self.step, "loss": round(float(loss), 5)})
        bar.set_postfix(loss=f"{float(loss):.4f}")

    def _save(self) -> None:
        """Whole or not at all: a kill while it is written leaves the one before."""
        partial = self.path.with_suffix(".part")
        values = {"step": self.step, "history": self.history, "average": self.average}
        values |= {"learning": [p.detach() for p in self.learning], "optimizer": self.optimizer.state_dict()}
        torch.save(values, partial)
        os.replace(partial, self.path)

    def _load(self) -> None:
        try:
            found = torch.load(self.path, map_location=self.device, weights_only=True)
            with torch.no_grad():
                for own, stored in zip(self.learning, found["learning"], strict=True):
                    own.copy_(stored)
            self.optimizer.load_state_dict(found["optimizer"])
            self.average, self.step, self.history = found["average"], found["step"], found["history"]
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
            raise UserError(
                f"cannot go on from {self.path} ({one_line(error)}); delete it, or give --overwrite, to begin anew"
            ) from error


_Said = tuple[list[Tensor], tuple[Tensor, Tensor], Tensor]  # frames of each layer; frames pooled, pooled; log-odds


def _said(model: CompactForAudioClassification, frames: Tensor) -> _Said:
    """What a detector makes of frames after the convolutions, (clips, frames, channels)."""
    stages = [frames]
    for layer in model.layers:
        stages.append(layer(stages[-1]))
    pooled_frames = model.pooling.summed(stages)
    pooled = torch.stack([model.pooling.pooled(clip) for clip in pooled_frames])
    return stages[1:], (pooled_frames, pooled), model.head(pooled)[:, 0]


def _frames_apart(wide: Sequence[Tensor], slim: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of frames that are normalised, as pooling sees them, mean over the layers."""
    each = [(_normed(a) - _normed(b)).square().mean() for a, b in zip(wide, slim, strict=True)]
    return torch.stack(each).mean()


def _require_alike(wide: CompactConfig, slim: CompactConfig, size: int) -> None:
    for name in ("channels", "layers", "attention_heads", "mel_bins", "block_frames", "pooled_width", "edge"):
        if getattr(wide, name) != getattr(slim, name):
            raise UserError(
                f"architecture.{name} is {getattr(slim, name)} and the teacher's is {getattr(wide, name)}; a detector "
                "can be made narrower in inner_width alone"
            )
    if size + 2 * slim.edge > slim.block_frames * 2 * slim.mel_hop:
        block_s = (slim.block_frames * 2 * slim.mel_hop - 2 * slim.edge) / SAMPLING_RATE
        raise UserError(f"narrow.crop_s is {size / SAMPLING_RATE:g}; with its silence a block holds {block_s:g} s")
