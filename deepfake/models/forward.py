"""Windows in, logits and their 20 ms parts out: the one place where PyTorch runs the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers import FeatureExtractionMixin, PreTrainedModel

from deepfake.models.inputs import featurise
from deepfake.models.memory import keep_freed_memory
from deepfake.models.windows import WindowScore

_SAME_LOGIT = 1e-3  # relative, in float32; a head of another shape is off by far more


class TorchForward:
    """A transformers audio classifier.

    Where the head is Linear → mean over time → Linear (wav2vec2, HuBERT, WavLM, data2vec, Whisper …) both linear maps
    commute with the mean, so the logit is the mean over frames of `frame · weight + bias` with one vector for the fused
    head. It is computed so, in float64 from the encoder's output: exact evidence for each frame, and a head that keeps
    full precision whatever the encoder runs in.
    """

    def __init__(
        self, model: PreTrainedModel, extractor: FeatureExtractionMixin, fake_index: int, head: Head | None
    ) -> None:
        self.model = model
        self.extractor = extractor
        self.fake_index = fake_index
        self.head = head  # of the float32 model, see `fuse_head`
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        if self.device.type == "cpu":
            keep_freed_memory()

    def __call__(self, waveforms: Sequence[np.ndarray]) -> list[WindowScore]:
        batch = featurise(self.extractor, waveforms).to(self.device)
        batch = {k: v.to(self.dtype) if v.is_floating_point() else v for k, v in batch.items()}
        with torch.inference_mode(), _Capture(self.head and self.model.projector) as capture:
            logits = self.model(**batch).logits.double().cpu().numpy()
        logits = logits[:, self.fake_index] - logits[:, 1 - self.fake_index]
        if self.head is None:
            return [WindowScore(float(value), None) for value in logits]
        weight, bias = self.head
        evidence = (capture.hidden.cpu().double() @ weight + bias).numpy()
        counts = self._frame_counts(batch.get("attention_mask"), evidence.shape)
        scores = [WindowScore(float(e[:n].mean()), e[:n].copy()) for e, n in zip(evidence, counts, strict=True)]
        if self.dtype == torch.float32 and any(
            abs(s.logit - v) > _SAME_LOGIT * max(1.0, abs(v)) for s, v in zip(scores, logits, strict=True)
        ):
            self.head = None  # some other pooling: only the model itself knows its logit
            return [WindowScore(float(value), None) for value in logits]
        return scores

    def _frame_counts(self, mask: torch.Tensor | None, shape: tuple[int, int]) -> list[int]:
        if mask is None or not hasattr(self.model, "_get_feature_vector_attention_mask"):
            return [shape[1]] * shape[0]
        return self.model._get_feature_vector_attention_mask(shape[1], mask).sum(dim=1).tolist()


Head = tuple[torch.Tensor, torch.Tensor]


def fuse_head(model: nn.Module, fake_index: int) -> Head | None:
    """(weight of shape (hidden,), bias) of projector and classifier as one float64 map to fake minus real.

    None for a model without the two linear layers of the transformers speech classifiers.
    """
    projector, classifier = getattr(model, "projector", None), getattr(model, "classifier", None)
    if not isinstance(projector, nn.Linear) or not isinstance(classifier, nn.Linear):
        return None
    rows, offsets = classifier.weight.detach().double().cpu(), classifier.bias.detach().double().cpu()
    difference = rows[fake_index] - rows[1 - fake_index]
    weight = projector.weight.detach().double().cpu().T @ difference
    bias = projector.bias.detach().double().cpu() @ difference + offsets[fake_index] - offsets[1 - fake_index]
    return weight, bias


class _Capture:
    """What goes into a module during one forward pass, as `hidden`."""

    def __init__(self, module: nn.Module | None) -> None:
        self.hidden: torch.Tensor | None = None
        self._module = module

    def __enter__(self) -> _Capture:
        self._hook = None if self._module is None else self._module.register_forward_pre_hook(self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._hook.remove()

    def _keep(self, _module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.hidden = inputs[0]
