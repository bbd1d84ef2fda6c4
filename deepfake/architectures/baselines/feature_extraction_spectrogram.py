"""Speech in, spectrograms of fixed windows out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, SequenceFeatureExtractor

from .spectra_spectrogram import (
    cosine_transform,
    decibels,
    frame_counts,
    mel_filters,
    mel_spectrogram,
    standardised,
)

KINDS = ("log_mel", "power_mel", "mfcc")
_NORMALISED_OVER = {"clip": (1, 2), "bin": (2,)}


class SpectrogramFeatureExtractor(SequenceFeatureExtractor):
    """Mel spectrograms or cepstra, cut into windows of one length that together cover the whole clip.

    Windows begin at 0, hop, 2 hop …, and a last one ends with the clip. They lie one after the other along the frames,
    and the model takes the mean of their logits: nothing of a clip is left out, whoever calls this.

    Args:
        kind: "log_mel" in dB, "power_mel", or "mfcc" (the orthonormal DCT of the log-mel spectrogram in dB).
        num_bins: mel bins, or cepstral coefficients.
        n_fft, hop_length: in samples; the Hann window is as long as the FFT.
        min_frequency, max_frequency: of the mel filters, in hertz.
        mel_scale: "slaney" (librosa) or "htk" (torchaudio).
        num_mel_bins: behind the coefficients of "mfcc".
        relative_db: dB measured from each window's maximum, in place of 1.
        normalize: zero mean and unit deviation over each window ("clip"), over each row of it ("bin"), or "none".
        channels: how often the spectrogram is repeated.
        window_s: length of the windows, in seconds; None: a clip is one window of its own length.
        hop_s: from one window to the next, in seconds; None: half a window.
        fill: how a clip shorter than a window is filled up: with silence before the spectrogram is made ("samples"), or
            with zero frames behind it, outside the mask ("frames").
        edge: what lies outside a window: silence ("constant", librosa) or its mirror image ("reflect", torchaudio).
        sampling_rate: in hertz.
        return_attention_mask: kept for those who ask for it by name; the model wants the mask.
    """

    model_input_names = ["input_features", "attention_mask"]

    def __init__(
        self,
        kind: str = "log_mel",
        num_bins: int = 64,
        n_fft: int = 1024,
        hop_length: int = 256,
        min_frequency: float = 0.0,
        max_frequency: float = 8000.0,
        mel_scale: str = "slaney",
        num_mel_bins: int = 128,
        relative_db: bool = True,
        normalize: str = "clip",
        channels: int = 1,
        window_s: float | None = 4.0,
        hop_s: float | None = None,
        fill: str = "samples",
        edge: str = "constant",
        sampling_rate: int = 16_000,
        return_attention_mask: bool = True,
        **kwargs: object,
    ) -> None:
        for name, value, known in (
            ("kind", kind, KINDS),
            ("mel_scale", mel_scale, ("slaney", "htk")),
            ("normalize", normalize, ("clip", "bin", "none")),
            ("fill", fill, ("samples", "frames")),
            ("edge", edge, ("constant", "reflect")),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value}; expected one of {', '.join(known)}")
        kwargs.pop("feature_size", None)
        kwargs.pop("padding_value", None)
        super().__init__(feature_size=num_bins, sampling_rate=sampling_rate, padding_value=0.0, **kwargs)
        self.kind, self.num_bins = kind, num_bins
        self.n_fft, self.hop_length = n_fft, hop_length
        self.min_frequency, self.max_frequency, self.mel_scale = min_frequency, max_frequency, mel_scale
        self.num_mel_bins, self.relative_db = num_mel_bins, relative_db
        self.normalize, self.channels = normalize, channels
        self.window_s, self.hop_s = window_s, hop_s
        self.fill, self.edge = fill, edge
        self.return_attention_mask = return_attention_mask

    @property
    def window_frames(self) -> int | None:
        """Frames of one window; None when a clip is one window of its own length."""
        return None if self.window_s is None else 1 + self._samples(self.window_s) // self.hop_length

    def __call__(
        self,
        raw_speech: np.ndarray | Sequence[float] | Sequence[np.ndarray],
        sampling_rate: int | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
        **kwargs: object,
    ) -> BatchFeature:
        """Features of a clip or a batch of clips.

        Args:
            raw_speech: mono samples of shape (samples,), or a sequence of such clips, of any lengths.
            sampling_rate: of the clips; a mistake there would go unnoticed otherwise.
            return_attention_mask: False leaves the mask out.
            kwargs: `padding` and the like are accepted and change nothing.

        Returns:
            input_features: float32 of shape (clips, channels, bins, frames), frames being a multiple of
                `window_frames` where that is set; attention_mask: int64 of shape (clips, frames), 1 where a frame
                belongs to its clip. Values do not depend on the other clips.

        Raises:
            ValueError: another sampling rate than the model's, or clips that are not mono.
        """
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise ValueError(f"the clips are at {sampling_rate} Hz; expected {self.sampling_rate} Hz: resample them")
        clips = _clips(raw_speech)
        segments, lengths, counts = self._segments(clips)
        features, mask = self.features(segments, lengths)
        features, mask = _in_rows(features, mask, counts)
        found = {"input_features": features[:, None].expand(-1, self.channels, -1, -1).float().contiguous()}
        if return_attention_mask is not False:
            found["attention_mask"] = mask.long()
        batch = BatchFeature(found)
        return batch if return_tensors == "pt" else batch.convert_to_tensors(return_tensors or "np")

    def features(self, segments: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What is computed on each window, all windows at once.

        Args:
            segments: (windows, samples).
            lengths: (windows,), how many of the samples belong to each.

        Returns:
            float64 of shape (windows, bins, frames), and the mask of shape (windows, frames).
        """
        bins = self.num_mel_bins if self.kind == "mfcc" else self.num_bins
        filters = mel_filters(
            self.n_fft, bins, self.min_frequency, self.max_frequency, self.sampling_rate, self.mel_scale
        )
        values = mel_spectrogram(segments, lengths, self.n_fft, self.hop_length, self.edge, filters)
        mask = torch.arange(values.shape[2])[None] < frame_counts(lengths, self.hop_length)[:, None]
        if self.kind != "power_mel":
            values = decibels(values, mask, self.relative_db)
        if self.kind == "mfcc":
            values = cosine_transform(self.num_bins, bins) @ values
        if self.normalize == "none":
            return values * mask[:, None], mask
        return standardised(values, mask, _NORMALISED_OVER[self.normalize]), mask

    def _segments(self, clips: list[Tensor]) -> tuple[Tensor, Tensor, list[int]]:
        """The windows of all clips (windows, samples), their lengths (windows,), and how many each clip has."""
        if self.window_s is None:
            cut = [[clip] for clip in clips]
            size = max(1, *(len(clip) for clip in clips))
        else:
            size = self._samples(self.window_s)
            hop = size // 2 if self.hop_s is None else self._samples(self.hop_s)
            cut = [_windows(clip, size, hop) for clip in clips]
        flat = [window for windows in cut for window in windows]
        segments = torch.zeros(len(flat), size)
        for row, window in zip(segments, flat, strict=True):
            row[: len(window)] = window
        whole = self.window_s is not None and self.fill == "samples"
        lengths = torch.tensor([size if whole else max(1, len(window)) for window in flat])
        return segments, lengths, [len(windows) for windows in cut]

    def _samples(self, seconds: float) -> int:
        return round(seconds * self.sampling_rate)


def _clips(raw_speech: np.ndarray | Sequence[float] | Sequence[np.ndarray]) -> list[Tensor]:
    one = isinstance(raw_speech, (np.ndarray, Tensor)) or len(raw_speech) == 0 or np.ndim(raw_speech[0]) == 0
    several = isinstance(raw_speech, (np.ndarray, Tensor)) and raw_speech.ndim == 2
    clips = list(raw_speech) if several or not one else [raw_speech]
    tensors = [torch.as_tensor(np.asarray(clip, dtype=np.float32)) for clip in clips]
    wrong = [tuple(clip.shape) for clip in tensors if clip.ndim != 1]
    if wrong:
        raise ValueError(f"a clip has the shape {wrong[0]}; expected mono samples, (samples,): average the channels")
    return tensors


def _windows(clip: Tensor, size: int, hop: int) -> list[Tensor]:
    """At 0, hop, 2 hop … and one that ends with the clip; a clip no longer than `size` is one window."""
    last = max(0, len(clip) - size)
    return [clip[start : start + size] for start in [*range(0, last, hop), last]]


def _in_rows(features: Tensor, mask: Tensor, counts: list[int]) -> tuple[Tensor, Tensor]:
    """Windows (windows, bins, frames) one after the other in a row for each clip, with empty ones at the end."""
    most = max(counts)
    if most == 1:
        return features, mask
    _, bins, frames = features.shape
    present = torch.arange(most)[None] < torch.tensor(counts)[:, None]
    rows = features.new_zeros(len(counts), most, bins, frames)
    rows[present] = features
    masks = mask.new_zeros(len(counts), most, frames)
    masks[present] = mask
    return rows.transpose(1, 2).reshape(len(counts), bins, most * frames), masks.reshape(len(counts), most * frames)
