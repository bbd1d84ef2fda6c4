"""Geometry of the compact detector."""

from __future__ import annotations

from transformers import PretrainedConfig


class CompactConfig(PretrainedConfig):
    """Settings of the compact detector: the low layers of Whisper's encoder, pooled over the whole clip.

    Args:
        channels: width of the convolutions and layers (Whisper base: 512).
        mel_bins, mel_fft, mel_hop: log-mel spectrogram in front of them, FFT and hop in samples at 16 kHz.
        layers: how many of the encoder's transformer layers follow the convolutions.
        attention_heads: of these layers (Whisper base: 8).
        inner_width: of their two-layer perceptrons (Whisper base: 2048); one for all layers, or a list of one for each.
        block_frames: frames (of 20 ms) that attend to each other; a longer clip is cut into blocks, so that time and
            memory grow in proportion to its length.
        pooled_width: channels that are summed up over the clip.
        pooling_width: hidden width of the attention that weighs frames in these sums.
        level_db: RMS level every clip is brought to, in dB below full scale.
        edge: samples of silence put before and after every clip. The layers judge better with it: on held-out pages
            and generators the ROC-AUC was 0.935 without, 0.943 with half a second, 0.950 with one second.
    """

    model_type = "compact-encoder-detector"
    levels_input = True  # the model takes clips of any level and offset, so that the feature extractor need not
    one_clip_at_a_time = True  # clips are taken one by one, so that an exported file takes batches of one

    def __init__(
        self,
        channels: int = 512,
        mel_bins: int = 80,
        mel_fft: int = 400,
        mel_hop: int = 160,
        layers: int = 4,
        attention_heads: int = 8,
        inner_width: int | list[int] = 2048,
        block_frames: int = 250,
        pooled_width: int = 256,
        pooling_width: int = 64,
        level_db: float = -23.0,
        edge: int = 16_000,
        **kwargs: object,
    ) -> None:
        self.channels = channels
        self.mel_bins, self.mel_fft, self.mel_hop = mel_bins, mel_fft, mel_hop
        self.layers, self.attention_heads, self.inner_width = layers, attention_heads, inner_width
        self.block_frames = block_frames
        self.pooled_width, self.pooling_width = pooled_width, pooling_width
        self.level_db = level_db
        self.edge = edge
        kwargs.setdefault("id2label", {0: "real", 1: "fake"})
        kwargs.setdefault("label2id", {"real": 0, "fake": 1})
        super().__init__(**kwargs)

    @property
    def inner_widths(self) -> list[int]:
        """Of every layer, from the lowest.

        Raises:
            ValueError: `inner_width` is a list of another length than there are layers.
        """
        given = self.inner_width
        widths = list(given) if isinstance(given, (list, tuple)) else [given] * self.layers
        if len(widths) != self.layers:
            raise ValueError(f"inner_width has {len(widths)} entries for {self.layers} layers")
        return widths
