"""The compact detector as a transformers model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.audio_utils import mel_filter_bank
from transformers.modeling_outputs import SequenceClassifierOutput

from .configuration_compact import CompactConfig
from .encoder_compact import EncoderLayer, Linear, StagePooling, positions
from .features_compact import levelled, log_mel

_RATE = 16_000


class CompactPreTrainedModel(PreTrainedModel):
    config_class = CompactConfig
    base_model_prefix = "compact"
    main_input_name = "input_values"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """A head that says little; all else keeps what its constructor gave it."""
        if isinstance(module, CompactForAudioClassification):
            nn.init.normal_(module.head.weight, std=0.1 / module.head.in_features**0.5)
            nn.init.zeros_(module.head.bias)


class CompactForAudioClassification(CompactPreTrainedModel):
    """Convolutions and low transformer layers of Whisper's encoder, pooled over the clip, with one linear head.

    The head gives the log-odds of fake. Frames attend to each other within blocks of `config.block_frames`, whose
    positions start anew; pooling is over all frames of the clip. All arithmetic is float32, whatever the weights are
    stored in.
    """

    def __init__(self, config: CompactConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.conv1 = nn.Conv1d(config.mel_bins, config.channels, 3, 1, 1)
        self.conv2 = nn.Conv1d(config.channels, config.channels, 3, 2, 1)
        filters = mel_filter_bank(
            config.mel_fft // 2 + 1, config.mel_bins, 0.0, _RATE / 2, _RATE, norm="slaney", mel_scale="slaney"
        )
        # Persistent: what is not in the file would be garbage after from_pretrained.
        self.register_buffer("mel_filters", torch.tensor(filters.T, dtype=torch.float32))
        self.layers = nn.ModuleList(
            EncoderLayer(config.channels, config.attention_heads, width) for width in config.inner_widths
        )
        self.pooling = StagePooling(config.layers + 1, config.channels, config.pooled_width, config.pooling_width)
        self.head = Linear(2 * config.pooled_width, 1)
        self.post_init()

    def freeze_feature_encoder(self) -> None:
        """Whisper's part stays as it is; pooling and head learn."""
        for module in (self.conv1, self.conv2, self.layers):
            module.requires_grad_(False)

    def summary(self, samples: Tensor) -> Tensor:
        """One clip, shape (samples,) at 16 kHz, as the vector of shape (2 pooled_width,) that the head reads."""
        with _without_autocast(samples.device):
            return self.pooling(self.stages(samples))

    def stages(self, samples: Tensor) -> list[Tensor]:
        """The frames of one clip after the convolutions and after each layer, each of shape (frames, channels)."""
        mel = log_mel(levelled(samples, self.config), self.mel_filters.float(), self.config)
        frames = self._convolutions(mel[None])[0].T.contiguous()  # or every layer would add up two orders
        size = self.config.block_frames
        # Whole blocks together, and the last one, of 1 to `size` frames, by itself: nothing is padded, nothing masked.
        missing = (size - frames.shape[0] % size) % size
        blocks = functional.pad(frames, (0, 0, 0, missing)).unflatten(0, (-1, size))  # in this form it can be exported
        found = [self._layered(part) for part in (blocks[:-1], blocks[-1:, : size - missing])]
        return [torch.cat([blocks.flatten(0, 1) for blocks in stage]) for stage in zip(*found, strict=True)]

    def _layered(self, blocks: Tensor) -> list[Tensor]:
        """Blocks of frames, (blocks, frames, channels), with their positions, and what each layer makes of them."""
        stages = [blocks + positions(*blocks.shape[1:], blocks.device)]
        for layer in self.layers:
            stages.append(layer(stages[-1]))
        return stages

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
            found = list(apply(self.summary, clips))
        with _without_autocast(input_values.device):
            odds = self.head(torch.stack(found))[:, 0]
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


def _without_autocast(device: torch.device) -> AbstractContextManager:
    """Autocast would round the spectra, whose finest differences are what is looked for."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


@contextmanager
def _one_thread_a_clip(device: torch.device, clips: int) -> Iterator[Callable[..., Iterable]]:
    """A `map` over clips: on a CPU as many at a time as torch has threads, each on one core.

    A team of threads for the many small operations of one clip mostly waits for its slowest member; where decoding, or
    anything else, keeps the cores busy, that made scoring ten times slower. Gradients are off in the threads unless
    they are on here.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or torch.is_grad_enabled():
        yield map
        return
    torch.set_num_threads(1)
    inference = torch.is_inference_mode_enabled()

    def quietly(function: Callable[[Tensor], Tensor], clip: Tensor) -> Tensor:
        with torch.inference_mode(inference), torch.no_grad():
            return function(clip)

    try:
        if clips == 1:
            yield map
        else:
            with ThreadPoolExecutor(min(threads, clips), initializer=torch.set_num_threads, initargs=(1,)) as pool:
                yield lambda function, given: pool.map(lambda clip: quietly(function, clip), given)
    finally:
        torch.set_num_threads(threads)
