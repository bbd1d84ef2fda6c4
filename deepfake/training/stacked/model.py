"""Compact detectors that run at once: their parameters stacked along a first axis, one product for all of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from deepfake.architectures.compact import CompactConfig, CompactForAudioClassification
from deepfake.architectures.compact.encoder_compact import positions
from deepfake.models.one_dnn import one_dnn_linear
from deepfake.training.stacked.sampling import KINDS

KINDS_HEAD = ("kinds.weight", "kinds.bias")  # learnt beside the detector's own head, and not saved with it
Parameters = dict[str, Tensor]


def give_a_fresh_head(model: CompactForAudioClassification, seed: int) -> None:
    """Pooling and head drawn anew, in place: projections of unit variance, attention near to equal weights."""
    rng = torch.Generator().manual_seed(seed)
    pooling = model.pooling
    stages = len(pooling.projections)
    sizes = [(one, 1 / math.sqrt(stages)) for one in pooling.projections]
    sizes += [(pooling.attention_in, 1.0), (pooling.attention_out, 0.1), (model.head, 0.1)]
    with torch.no_grad():
        for linear, size in sizes:
            linear.weight.copy_(torch.randn(linear.weight.shape, generator=rng) * size / math.sqrt(linear.in_features))
            if linear.bias is not None:
                linear.bias.zero_()
        pooling.norm.weight.fill_(1.0)
        pooling.norm.bias.zero_()


def stacked_parameters(model: CompactForAudioClassification, models: int, device: torch.device) -> Parameters:
    """`models` copies of a model's parameters by their names, each of shape (models, …), and of a head for `KINDS`."""
    found = {name: parameter.detach() for name, parameter in model.named_parameters()}
    width = model.head.in_features
    rng = torch.Generator().manual_seed(len(KINDS))
    heads = torch.randn(len(KINDS), width, generator=rng) * 0.1 / math.sqrt(width), torch.zeros(len(KINDS))
    found |= dict(zip(KINDS_HEAD, heads, strict=True))
    return {
        name: value.float().expand(models, *value.shape).to(device, copy=True).contiguous().requires_grad_(True)
        for name, value in found.items()
    }


def load_parameters(model: CompactForAudioClassification, parameters: Mapping[str, Tensor]) -> None:
    """Give a model, in place, the parameters of one of the stacked ones, or their mean, each of its own shape."""
    own = {name: value for name, value in parameters.items() if name not in KINDS_HEAD}
    missing, unexpected = model.load_state_dict(own, strict=False)
    if unexpected or set(missing) - {"mel_filters"}:
        raise ValueError(f"parameters of another architecture: {[*missing, *unexpected][:3]}")


class StackedForward:
    """What `CompactForAudioClassification` computes from a spectrogram, for several models and batches at once.

    Args:
        config: of the architecture.
        dtype: products run in it; norms of the pooled vector, heads, softmax and sums over frames are float32.
    """

    def __init__(self, config: CompactConfig, dtype: torch.dtype) -> None:
        self.config, self.dtype = config, dtype

    def __call__(
        self, parameters: Parameters, mel: Tensor, own: Tensor, dropout: float = 0.0, rng: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-odds of fake, shape (models, clips), and logits of `KINDS`, (models, clips, kinds).

        Args:
            mel: (models, clips, frames, bands), no more frames than two of the model's block.
            own: which frames are a clip's own, bool (models, clips, frames).
            dropout: share of the pooled values that are dropped, drawn by `rng`.
        """
        p = {name: value if _stays_exact(name) else value.to(self.dtype) for name, value in parameters.items()}
        models, clips = mel.shape[:2]
        x = self._convolved(mel.to(self.dtype), p, "conv1", 1) * own[..., None]
        own = own[:, :, ::2]
        x = self._convolved(x, p, "conv2", 2) * own[..., None]
        frames, width = x.shape[2:]
        x = (x + positions(frames, width, x.device).to(self.dtype)).flatten(1, 2)
        stages, heard = [x], own.reshape(models * clips, 1, 1, frames)
        for number in range(self.config.layers):
            x = self._layer(x, heard, p, f"layers.{number}")
            stages.append(x)
        pooled = self._pooled(stages, own, p)
        if dropout:
            kept = torch.rand(pooled.shape, device=pooled.device, generator=rng) >= dropout
            pooled = pooled * kept / (1 - dropout)
        odds = _product(pooled, p["head.weight"], p["head.bias"])[..., 0]
        return odds, _product(pooled, *(p[name] for name in KINDS_HEAD))

    def _convolved(self, x: Tensor, p: Parameters, name: str, stride: int) -> Tensor:
        """A convolution of width 3 over (models, clips, frames, channels), as one product, with GELU."""
        patches = functional.pad(x, (0, 0, 1, 1)).unfold(2, 3, stride)
        clips, frames = patches.shape[1:3]
        rows = patches.reshape(len(x), clips * frames, -1)
        return functional.gelu(_product(rows, p[f"{name}.weight"].flatten(2), p[f"{name}.bias"])).unflatten(
            1, (clips, frames)
        )

    def _layer(self, x: Tensor, heard: Tensor, p: Parameters, name: str) -> Tensor:
        attention, heads = f"{name}.self_attn", self.config.attention_heads
        normed = _normed(x, p, f"{attention}_layer_norm")
        weight = torch.cat([p[f"{attention}.{part}_proj.weight"] for part in "qkv"], 1)
        of_query, of_value = (p[f"{attention}.{part}_proj.bias"] for part in "qv")
        mixed = _product(normed, weight, torch.cat([of_query, torch.zeros_like(of_query), of_value], 1))
        parts = mixed.view(len(heard), -1, 3, heads, mixed.shape[2] // (3 * heads)).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(*parts, attn_mask=heard)
        found = found.transpose(1, 2).reshape(x.shape)
        x = x + _product(found, p[f"{attention}.out_proj.weight"], p[f"{attention}.out_proj.bias"])
        inner = _product(_normed(x, p, f"{name}.final_layer_norm"), p[f"{name}.fc1.weight"], p[f"{name}.fc1.bias"])
        return x + _product(functional.gelu(inner), p[f"{name}.fc2.weight"], p[f"{name}.fc2.bias"])

    def _pooled(self, stages: list[Tensor], own: Tensor, p: Parameters) -> Tensor:
        """(models, clips, 2 pooled_width), float32."""
        summed = p["pooling.projections.0.bias"][:, None]
        for number, stage in enumerate(stages):
            normed = functional.layer_norm(stage, stage.shape[-1:])
            summed = summed + _product(normed, p[f"pooling.projections.{number}.weight"], None)
        frames = functional.gelu(summed)
        hidden = _product(frames, p["pooling.attention_in.weight"], p["pooling.attention_in.bias"])
        weights = _product(torch.tanh(hidden), p["pooling.attention_out.weight"], p["pooling.attention_out.bias"])
        weights, frames = (x.unflatten(1, own.shape[1:]).float() for x in (weights, frames))
        weights = weights.masked_fill(~own[..., None], -1e4).softmax(2)
        mean = (weights * frames).sum(2)
        deviation = ((weights * frames.square()).sum(2) - mean.square()).clamp(min=1e-4).sqrt()
        return _normed(torch.cat([mean, deviation], -1), p, "pooling.norm")


def detector_of(
    like: CompactForAudioClassification, parameters: Mapping[str, Tensor], number: int
) -> CompactForAudioClassification:
    """Model `number` of the stacked ones, as a model of its own, in evaluation mode."""
    model = copy.deepcopy(like).cpu()
    load_parameters(model, {name: value[number].detach().cpu() for name, value in parameters.items()})
    return model.eval()


def _stays_exact(name: str) -> bool:
    return name.startswith(("pooling.norm", "head", "kinds"))


def _normed(x: Tensor, p: Parameters, name: str) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:]) * p[f"{name}.weight"][:, None] + p[f"{name}.bias"][:, None]


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(models, rows, in) by (models, out, in), each model's own: (models, rows, out)."""
    if rows.device.type == "cpu" and rows.dtype == torch.float32:
        biases = [None] * len(rows) if bias is None else bias
        return torch.stack([one_dnn_linear(*one) for one in zip(rows, weight, biases, strict=True)])
    if bias is None:
        return torch.bmm(rows, weight.transpose(1, 2))
    return torch.baddbmm(bias[:, None], rows, weight.transpose(1, 2))
