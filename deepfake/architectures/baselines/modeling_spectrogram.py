"""The spectrogram detectors as a transformers model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .backbone_cnn import CnnA, CnnB, CnnMfcc
from .backbone_darts_lstm import DartsLstm
from .backbone_gnn import Gnn
from .backbone_lstm import Lstm
from .backbone_res2net import Res2Net50
from .backbone_resnet import ResNet18
from .backbone_senet import SeNet154
from .configuration_spectrogram import SpectrogramConfig

# A backbone is a module made from the config, with `output_size`, `uses_mask` (frames outside the mask change nothing)
# and forward(features (batch, channels, bins, frames), mask (batch, frames) or None) -> (batch, output_size).
BACKBONES: dict[str, type[nn.Module]] = {
    "cnn_a": CnnA,
    "cnn_b": CnnB,
    "cnn_mfcc": CnnMfcc,
    "gnn": Gnn,
    "lstm": Lstm,
    "darts_lstm": DartsLstm,
    "res2net50": Res2Net50,
    "resnet18": ResNet18,
    "senet154": SeNet154,
}


def build_backbone(config: SpectrogramConfig) -> nn.Module:
    """The backbone that the config names.

    Raises:
        ValueError: an unknown name, or one that needs windows of a fixed length and is given none.
    """
    if config.backbone not in BACKBONES:
        raise ValueError(f"backbone is {config.backbone}; expected one of {', '.join(sorted(BACKBONES))}")
    kind = BACKBONES[config.backbone]
    if config.window_frames is None and not kind.uses_mask:
        raise ValueError(f"the backbone {config.backbone} hears windows of one length; set window_frames")
    return kind(config)


class SpectrogramPreTrainedModel(PreTrainedModel):
    config_class = SpectrogramConfig
    base_model_prefix = "backbone"
    main_input_name = "input_features"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Every layer as torch initialises it, which is how the published systems began."""
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


class SpectrogramForAudioClassification(SpectrogramPreTrainedModel):
    """Windows of a spectrogram through a backbone and a linear head; a clip's logits are the mean over its windows."""

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.backbone = build_backbone(config)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(self.backbone.output_size, config.num_labels)
        self.post_init()

    def freeze_feature_encoder(self) -> None:
        """Leave only the head to train."""
        self.backbone.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> SpectrogramForAudioClassification:
        """As usual, but a frozen backbone keeps the statistics of its batch norms, too."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.backbone.parameters()):
            self.backbone.eval()
        return self

    def forward(
        self,
        input_features: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: object,
    ) -> SequenceClassifierOutput:
        """Score clips.

        Args:
            input_features: (clips, channels, bins, frames), as SpectrogramFeatureExtractor makes them: windows of
                `config.window_frames`, one after the other.
            attention_mask: (clips, frames), 1 where a frame belongs to the clip; none: all of them.
            labels: (clips,) for a cross-entropy loss.

        Returns:
            logits of shape (clips, labels), not passed through any sigmoid or softmax.

        Raises:
            ValueError: features of another shape than the config's.
        """
        windows, mask, present = self._windows(input_features, attention_mask)
        found = self.classifier(self.dropout(self.backbone(windows, mask)))
        if present is None:  # as many windows in each clip
            logits = found.unflatten(0, (input_features.shape[0], -1)).mean(1)
        else:
            logits = _mean_of_windows(found, present)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        if return_dict is False:
            return tuple(value for value in (loss, logits) if value is not None)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _windows(self, features: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Windows (windows, channels, bins, frames), their mask, and (clips, most windows) telling whose they are.

        The last is None where all clips have as many windows.
        """
        config = self.config
        size = config.window_frames or features.shape[3]
        if features.shape[1:3] != (config.in_channels, config.num_bins) or features.shape[3] % size:
            raise ValueError(
                f"the features have the shape {tuple(features.shape)}; expected (clips, {config.in_channels}, "
                f"{config.num_bins}, whole windows of {size} frames)"
            )
        most = features.shape[3] // size
        windows = features.unflatten(3, (most, size)).movedim(3, 1)
        if mask is None:
            return windows.flatten(0, 1), None, None
        mask = mask.bool().unflatten(1, (most, size))
        if most == 1:
            return windows[:, 0], mask[:, 0], None
        present = mask.any(2)
        return windows[present], mask[present], present


def _mean_of_windows(logits: Tensor, present: Tensor) -> Tensor:
    """(windows, labels) to (clips, labels), `present` (clips, most windows) telling whose each window is."""
    rows = logits.new_zeros(*present.shape, logits.shape[1])
    rows[present] = logits
    return rows.sum(1) / present.sum(1, keepdim=True).clamp(min=1)
