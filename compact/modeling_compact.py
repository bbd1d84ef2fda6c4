"""The compact detector as a transformers model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.audio_utils import mel_filter_bank
from transformers.modeling_outputs import SequenceClassifierOutput

from .configuration_compact import CompactConfig
from .encoder_compact import EncoderLayer, positions
from .statistics_compact import frame_statistics, levelled, log_mel, spectrum_statistics

_RATE = 16_000


class LinearHead(nn.Module):
    """clip((x - mean) / std) @ weight + bias. Weight and bias train; mean and deviation were measured once."""

    def __init__(self, width: int, clip: float) -> None:
        super().__init__()
        self.clip = clip
        # Persistent: what is not in the file would be garbage after from_pretrained.
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.weight = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, statistics: Tensor) -> Tensor:
        """(clips, width) to (clips,), in float32."""
        standard = (statistics - self.mean.float()) / self.std.float()
        return standard.clamp(-self.clip, self.clip) @ self.weight.float() + self.bias.float()


class CompactPreTrainedModel(PreTrainedModel):
    config_class = CompactConfig
    base_model_prefix = "compact"
    main_input_name = "input_values"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """A head that says nothing; convolutions and filters keep what their constructors gave them."""
        if isinstance(module, LinearHead):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
            nn.init.zeros_(module.mean)
            nn.init.ones_(module.std)


class CompactForAudioClassification(CompactPreTrainedModel):
    """Fixed front ends, each summed up over the clip, each with a linear head; the logit is the sum of the heads.

    "conv": the first two convolutions of Whisper's encoder (strides 1 and 2, GELU) on its log-mel spectrogram.
    "spectrum": the linear spectrum. "layer1", "layer2", …: the transformer layers of Whisper's encoder that follow.
    All arithmetic is float32, whatever the weights are stored in.
    """

    def __init__(self, config: CompactConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.conv1 = nn.Conv1d(config.mel_bins, config.channels, 3, 1, 1)
        self.conv2 = nn.Conv1d(config.channels, config.channels, 3, 2, 1)
        filters = mel_filter_bank(
            config.mel_fft // 2 + 1, config.mel_bins, 0.0, _RATE / 2, _RATE, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("mel_filters", torch.tensor(filters.T, dtype=torch.float32))
        self.layers = nn.ModuleList(
            EncoderLayer(config.channels, config.attention_heads, config.inner_width) for _ in range(config.layers)
        )
        widths = {"conv": config.conv_width, "spectrum": config.spectrum_width}
        widths |= {f"layer{number + 1}": config.conv_width for number in range(config.layers)}
        self.heads = nn.ModuleDict({name: LinearHead(width, config.clip) for name, width in widths.items()})
        self.post_init()
        self.freeze_feature_encoder()

    def freeze_feature_encoder(self) -> None:
        """Whisper's part stays as it is; gradients never pass through the statistics anyway."""
        for module in (self.conv1, self.conv2, self.layers):
            module.requires_grad_(False)

    @torch.no_grad()
    def statistics(self, samples: Tensor) -> dict[str, Tensor]:
        """The measurements on one clip of shape (samples,) at 16 kHz: a vector for each head, by its name."""
        samples = levelled(samples, self.config)
        # Autocast would round the spectra, whose finest differences are what is looked for.
        with torch.autocast(samples.device.type, enabled=False):
            frames = self._convolutions(log_mel(samples, self.mel_filters.float(), self.config)[None])[0].T
            found = {"conv": frame_statistics(frames), "spectrum": spectrum_statistics(samples, self.config)}
            if self.layers:
                frames = frames + positions(*frames.shape, frames.device)
            for number, layer in enumerate(self.layers):
                frames = layer(frames)
                found[f"layer{number + 1}"] = frame_statistics(frames)
            return found

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: object,
    ) -> SequenceClassifierOutput:
        """Score clips.

        Args:
            input_values: (clips, samples) at 16 kHz, any level, padded at the end.
            attention_mask: (clips, samples), 1 where a sample belongs to the clip; none: all of them.
            labels: (clips,) for a cross-entropy loss.

        Returns:
            logits of shape (clips, 2), float32; their difference is the log-odds of fake.
        """
        counts = [input_values.shape[1]] * len(input_values)
        if attention_mask is not None:
            counts = attention_mask.sum(dim=1).tolist()
        clips = [clip[:count] for clip, count in zip(input_values, counts, strict=True)]
        with _one_thread_a_clip(input_values.device, len(clips)) as apply:
            found = list(apply(self.statistics, clips))
        with torch.autocast(input_values.device.type, enabled=False):
            parts = [head(torch.stack([one[name] for one in found])) for name, head in self.heads.items()]
            odds = torch.stack(parts).sum(0)
            logits = torch.stack([-odds / 2, odds / 2], dim=1)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        if return_dict is False:
            return tuple(value for value in (loss, logits) if value is not None)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _convolutions(self, mel: Tensor) -> Tensor:
        """(1, mel_bins, frames) to (1, channels, frames / 2)."""
        first = functional.conv1d(mel, self.conv1.weight.float(), self.conv1.bias.float(), padding=1)
        second = functional.conv1d(
            functional.gelu(first), self.conv2.weight.float(), self.conv2.bias.float(), stride=2, padding=1
        )
        return functional.gelu(second)


@contextmanager
def _one_thread_a_clip(device: torch.device, clips: int) -> Iterator[Callable[..., Iterable]]:
    """A `map` over clips: on a CPU as many at a time as torch has threads, each on one core.

    A team of threads for the many small operations of one clip mostly waits for its slowest member; where decoding, or
    anything else, keeps the cores busy, that made scoring ten times slower.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield map
        return
    torch.set_num_threads(1)
    try:
        if clips == 1:
            yield map
        else:
            with ThreadPoolExecutor(min(threads, clips), initializer=torch.set_num_threads, initargs=(1,)) as pool:
                yield pool.map
    finally:
        torch.set_num_threads(threads)
