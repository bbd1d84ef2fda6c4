"""Geometry of the compact detector."""

from __future__ import annotations

from transformers import PretrainedConfig


class CompactConfig(PretrainedConfig):
    """Settings of the front ends; what they compute is in statistics_compact.py.

    Args:
        channels: width of the two convolutions (Whisper base: 512).
        mel_bins, mel_fft, mel_hop: log-mel spectrogram in front of them, FFT and hop in samples at 16 kHz.
        spectrum_fft, spectrum_hop: the linear spectrum's, in samples.
        fine_fft, fine_hop: those of the long-term fine structure, in samples.
        fine_smoothing: width, in bins, of the average that the fine structure is measured against; odd.
        level_db: RMS level every clip is brought to, in dB below full scale.
        layers: how many of the encoder's transformer layers follow the convolutions, each with a head; 0: none.
        attention_heads, inner_width: of these layers (Whisper base: 8 and 2048).
        clip: standardised statistics are limited to +- this many standard deviations.
    """

    model_type = "compact-speech-detector"
    levels_input = True  # the model takes clips of any level and offset, so that the feature extractor need not
    one_clip_at_a_time = True  # clips are measured one by one, so that an exported file takes batches of one

    def __init__(
        self,
        channels: int = 512,
        mel_bins: int = 80,
        mel_fft: int = 400,
        mel_hop: int = 160,
        spectrum_fft: int = 512,
        spectrum_hop: int = 128,
        fine_fft: int = 2048,
        fine_hop: int = 512,
        fine_smoothing: int = 21,
        layers: int = 0,
        attention_heads: int = 8,
        inner_width: int = 2048,
        level_db: float = -22.0,
        clip: float = 6.0,
        **kwargs: object,
    ) -> None:
        self.channels = channels
        self.mel_bins, self.mel_fft, self.mel_hop = mel_bins, mel_fft, mel_hop
        self.spectrum_fft, self.spectrum_hop = spectrum_fft, spectrum_hop
        self.fine_fft, self.fine_hop, self.fine_smoothing = fine_fft, fine_hop, fine_smoothing
        self.layers, self.attention_heads, self.inner_width = layers, attention_heads, inner_width
        self.level_db = level_db
        self.clip = clip
        kwargs.setdefault("id2label", {0: "real", 1: "fake"})
        kwargs.setdefault("label2id", {"real": 0, "fake": 1})
        super().__init__(**kwargs)

    @property
    def conv_width(self) -> int:
        """How many statistics the convolutions give, and each layer."""
        return 3 * self.channels

    @property
    def spectrum_width(self) -> int:
        """How many statistics the spectral front end gives."""
        return 5 * (self.spectrum_fft // 2 + 1) - 2 + self.fine_fft // 2 + 1
