"""`Detector`: recordings in, `fake_probability` out."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr
import torch

from data_prep.audio import SAMPLING_RATE, AudioError, AudioReader, Source
from data_prep.vad import speech_duration_s
from scoring.checkpoint import Checkpoint, load_checkpoint
from scoring.decision import decide_by
from scoring.inputs import featurise, padding_invariant
from scoring.result import Score
from scoring.windows import iter_windows

MIN_DURATION_S = 0.5  # below this there is not one syllable to judge
MIN_SPEECH_S = 0.25  # of a window; less is noise, silence or a click


class Detector:
    """A trained checkpoint and everything needed to score recordings with it.

    The score of a recording is P(fake) from the mean over its speech windows of the float32 logit difference fake
    minus real. A recording no longer than one window is scored whole, exactly as transformers alone would score it.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str,
        threshold: float | None = None,
        batch_size: int = 8,
        operating_point: str | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = device
        self.batch_size = batch_size
        self.decision = decide_by(checkpoint.stored, threshold, operating_point)
        self.threshold_is_default = self.decision.is_default
        self.threshold = self.decision.threshold

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike,
        *,
        device: str | None = None,
        threshold: float | None = None,
        fake_label: str | None = None,
        batch_size: int = 8,
        operating_point: str | None = None,
    ) -> Detector:
        """Load a model folder or Hub id.

        Args:
            name: folder or Hub id.
            device: torch device; default "cuda" where there is one, else "cpu".
            threshold: decision threshold on fake_probability, in place of the stored one.
            fake_label: the class name that means fake, for checkpoints whose names do not say.
            batch_size: windows scored at once.
            operating_point: decide by this one of the stored operating points, in place of the stored threshold;
                "abstain" may answer "uncertain"; "bayes:PRIOR,MISS,FALSE_ACCEPT" follows from the stored calibration.

        Raises:
            UserError: the checkpoint cannot be scored with; the sentence says why.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        checkpoint = load_checkpoint(os.fspath(name), device, fake_label)
        return cls(
            checkpoint, device=device, threshold=threshold, batch_size=batch_size, operating_point=operating_point
        )

    def score(self, audio: Source | np.ndarray, sampling_rate: int | None = None) -> Score:
        """Score one recording over its whole length.

        Args:
            audio: path, encoded bytes, binary file object, or mono float samples of shape (samples,) with full scale 1.
            sampling_rate: of the samples, in hertz; needed with samples only.

        Raises:
            AudioError: not decodable, too short, or without speech.
            ValueError: samples without a sampling rate, or not of shape (samples,).
        """
        name = str(audio) if isinstance(audio, (str, os.PathLike)) else ""
        if isinstance(audio, np.ndarray):
            return self._score_blocks(name, [_resampled(audio, sampling_rate)])
        with AudioReader(audio) as reader:
            return self._score_blocks(name, reader.blocks())

    def score_files(self, paths: Iterable[str | os.PathLike]) -> Iterator[Score]:
        """Score files one after the other, in order; a file that cannot be scored gives a row with its `error`."""
        for path in paths:
            try:
                yield self.score(Path(path))
            except AudioError as error:
                yield Score(os.fspath(path), None, None, self.threshold, None, 0, None, str(error))

    def fake_logits(self, waveforms: list[np.ndarray]) -> np.ndarray:
        """Fake minus real logit of 16 kHz mono clips, each of shape (samples,); returns float64 of shape (clips,).

        Clips of different lengths share a batch only where the model's logits do not depend on the padding.
        """
        lengths = {len(w) for w in waveforms}
        if len(lengths) > 1 and not padding_invariant(self.checkpoint.model.config):
            return np.concatenate([self.fake_logits([w]) for w in waveforms])
        batch = featurise(self.checkpoint.extractor, waveforms).to(self.device)
        with torch.inference_mode():
            logits = self.checkpoint.model(**batch).logits.double().cpu().numpy()
        index = self.checkpoint.fake_index
        return logits[:, index] - logits[:, 1 - index]

    def _score_blocks(self, name: str, blocks: Iterable[np.ndarray]) -> Score:
        heard = _Counter(blocks)
        window, hop = (round(s * SAMPLING_RATE) for s in (self.checkpoint.window_s, self.checkpoint.hop_s))
        speech = (w for w in iter_windows(heard, window, hop) if _speaks(w))
        logits = [self.fake_logits(batch) for batch in _batched(speech, self.batch_size)]
        duration_s = heard.samples / SAMPLING_RATE
        if duration_s < MIN_DURATION_S:
            raise AudioError(f"too short: {duration_s:.3f} s, at least {MIN_DURATION_S} s are needed")
        if not logits:
            raise AudioError("no speech found")
        per_window = np.concatenate(logits)
        if not np.isfinite(per_window).all():
            raise AudioError("the model's output is not a finite number")
        probability = _sigmoid(per_window.mean())
        prediction = self.decision.prediction(probability)
        top = _sigmoid(per_window.max())
        return Score(name, probability, prediction, self.threshold, round(duration_s, 3), len(per_window), top)


class _Counter:
    """Passes blocks on and counts their samples."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self.samples = 0
        self._blocks = blocks

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            self.samples += len(block)
            yield block


def _batched(windows: Iterator[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    while batch := list(itertools.islice(windows, size)):
        yield batch


def _speaks(window: np.ndarray) -> bool:
    return len(window) >= MIN_DURATION_S * SAMPLING_RATE and speech_duration_s(window) >= MIN_SPEECH_S


def _resampled(samples: np.ndarray, sampling_rate: int | None) -> np.ndarray:
    if sampling_rate is None:
        raise ValueError("samples need their sampling_rate in hertz")
    if samples.ndim != 1:
        raise ValueError(f"samples have the shape {samples.shape}; expected mono, (samples,)")
    samples = samples.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise AudioError("contains NaN or infinite samples")
    return samples if sampling_rate == SAMPLING_RATE else soxr.resample(samples, sampling_rate, SAMPLING_RATE, "HQ")


def _sigmoid(logit: float) -> float:
    return float(np.exp(-np.logaddexp(0.0, -logit)))
