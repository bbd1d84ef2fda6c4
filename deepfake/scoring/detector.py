"""`Detector`: recordings in, `fake_probability` out."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE, AudioError, AudioReader, Source
from deepfake.audio.remote import RemoteFile
from deepfake.launch import usable_cores
from deepfake.models.checkpoint import Checkpoint, default_model, load_checkpoint
from deepfake.models.choices import EXPORTED
from deepfake.models.portable import MisfitError, PortableForward, PortableModel, load_portable, runs_as_graph
from deepfake.models.windows import Forward, OneAtATime
from deepfake.scoring.audio_facts import AudioFacts, warnings_of
from deepfake.scoring.decision import decide_by
from deepfake.scoring.engine import Plan, Result, pack, score_readings
from deepfake.scoring.options import ScoringOptions
from deepfake.scoring.reading import Reading
from deepfake.scoring.result import Score
from deepfake.text import fake_probability


class Detector:
    """A trained checkpoint and everything needed to score recordings with it.

    The score of a recording is P(fake) from the mean over its speech windows of the float32 logit difference fake
    minus real. A recording no longer than one window is scored whole, exactly as transformers alone would score it.

    Several threads may use one detector. For samples that are still coming see
    `deepfake.scoring.stream.StreamingDetector`.
    """

    def __init__(self, checkpoint: Checkpoint, options: ScoringOptions) -> None:
        """Score with a checkpoint that is loaded already, and on its device."""
        self.checkpoint = checkpoint
        self.options = options
        self.backend = checkpoint.model.backend if isinstance(checkpoint.model, PortableModel) else "torch"
        self.decision = decide_by(checkpoint.stored, options.threshold, options.operating_point)
        self.threshold_is_default = self.decision.is_default
        self.threshold = self.decision.threshold
        self._forward = OneAtATime(build_forward(checkpoint, options.precision))

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike | None = None, **options: Any) -> Detector:
        """Load a model folder or Hub id.

        Args:
            name: folder or Hub id; default: the compact detector that comes with the project.
            options: fields of `ScoringOptions`, such as device="cuda:1", threshold=0.7, operating_point="fpr_0.01",
                precision="int8" or batch_size=32.

        Raises:
            UserError: the checkpoint cannot be scored with, or an option is out of range; the sentence says why.
        """
        return cls.from_options(ScoringOptions(model=None if name is None else os.fspath(name), **options))

    @classmethod
    def from_options(cls, options: ScoringOptions) -> Detector:
        """Load what `options` name. Errors as for `from_pretrained`."""
        place = default_model() if options.model is None else options.model
        if options.backend in EXPORTED:
            return cls(load_portable(place, options.backend, options.fake_label), options)
        as_it_is = options.backend == "auto" and options.precision == "fp32" and options.layers is None
        if as_it_is and runs_as_graph(place, options.device):
            try:
                return cls(load_portable(place, "onnx", options.fake_label), options)
            except MisfitError as error:
                print(f"warning: {error}; PyTorch is used, which gives the same scores later", file=sys.stderr)
        import torch  # late: the graph above needs none of it, and it takes a second to import

        device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(load_checkpoint(place, device, options.fake_label, options.layers), options)

    @property
    def plan(self) -> Plan:
        """How recordings are cut into windows and packed into batches for this checkpoint."""
        checkpoint, options = self.checkpoint, self.options
        model = checkpoint.model
        if isinstance(model, PortableModel):
            equal_lengths, fixed_length, stride = not model.any_lengths, model.fixed_length, model.frame_stride
            fixed_length |= model.any_lengths  # there is nothing to gain by sorting either
        else:
            from deepfake.models.inputs import frame_stride, has_fixed_length, padding_invariant

            equal_lengths, fixed_length = not padding_invariant(model.config), has_fixed_length(checkpoint.extractor)
            stride = frame_stride(model.config)
        return Plan(
            window=round(checkpoint.window_s * SAMPLING_RATE),
            hop=round(checkpoint.hop_s * SAMPLING_RATE),
            batch_size=options.batch_size,
            equal_lengths=equal_lengths,
            fixed_length=fixed_length,
            workers=usable_cores() if options.workers is None else options.workers,
            frame_stride=stride,
            timeline_window=round(options.timeline_window_s * SAMPLING_RATE),
            timeline_hop=max(1, round(options.timeline_hop_s * SAMPLING_RATE)),
        )

    def score(
        self, audio: Source | np.ndarray, sampling_rate: int | None = None, *, channel: int | None = None
    ) -> Score:
        """Score one recording over its whole length.

        Args:
            audio: path, encoded bytes, binary file object, `RemoteFile` (which is fetched), or mono float samples of
                shape (samples,) with full scale 1.
            sampling_rate: of the samples, in hertz; needed with samples only.
            channel: of a file, counted from 0: score this one alone; default: the mean of all.

        Raises:
            AudioError: not decodable, too short, or `no_speech`.
            ValueError: samples without a sampling rate, or not of shape (samples,).
        """
        result = self.analyse(audio, sampling_rate, with_timeline=False, channel=channel)
        return self.row(result, str(audio) if isinstance(audio, (str, os.PathLike, RemoteFile)) else "")

    def analyse(
        self,
        audio: Source | np.ndarray,
        sampling_rate: int | None = None,
        *,
        with_timeline: bool = True,
        channel: int | None = None,
    ) -> Result:
        """The sums behind `score`, with the timeline of 20 ms evidence. Arguments and errors as for `score`."""
        if isinstance(audio, np.ndarray) and (sampling_rate is None or audio.ndim != 1):
            raise ValueError(
                "samples need their sampling_rate in hertz"
                if sampling_rate is None
                else f"samples have the shape {audio.shape}; expected mono, (samples,)"
            )
        reading = self._reading(audio, sampling_rate, with_timeline=with_timeline, channel=channel)
        (result,) = self.analyse_readings([reading], with_timeline=with_timeline)
        if result.error is not None:
            raise AudioError(result.error)
        return result

    def score_files(self, paths: Iterable[str | os.PathLike | RemoteFile]) -> Iterator[Score]:
        """Score files, in order; a file that cannot be scored gives a row with its `error`.

        Files are decoded in parallel and their windows share batches; memory does not grow with their number or length.
        With the option channels="each", a file of several channels gives a row for each of them.
        """
        return (self.row(result) for result in self.analyse_files(paths))

    def analyse_files(
        self, paths: Iterable[str | os.PathLike | RemoteFile], *, with_timeline: bool = False
    ) -> Iterator[Result]:
        """As `score_files`, for the sums behind each row; see `row`."""
        places = (path if isinstance(path, RemoteFile) else Path(path) for path in paths)
        readings = (one for place in places for one in self.readings_of(place, with_timeline=with_timeline))
        return self.analyse_readings(readings, with_timeline=with_timeline)

    def readings_of(self, path: Path | RemoteFile, *, with_timeline: bool = False) -> list[Reading]:
        """What there is to score of a file: the mean of its channels, or by the option channels="each" each of them."""
        several = range(0)
        if self.options.channels == "each":
            try:
                with AudioReader(path) as reader:
                    several = range(reader.info.channels if reader.info.channels > 1 else 0)
            except AudioError:
                pass  # which its row will say
        return [self._reading(path, with_timeline=with_timeline, channel=channel) for channel in several or (None,)]

    def _reading(
        self,
        audio: Source | np.ndarray,
        sampling_rate: int | None = None,
        *,
        with_timeline: bool,
        channel: int | None = None,
    ) -> Reading:
        peaks = [] if with_timeline else None
        detection = self.options.speech_detection
        return Reading.of(
            audio, detection, sampling_rate=sampling_rate, peaks=peaks, facts=AudioFacts(), channel=channel
        )

    def analyse_readings(
        self,
        readings: Iterable[Reading],
        *,
        with_timeline: bool = False,
        scored: Callable[[Result], None] | None = None,
    ) -> Iterator[Result]:
        """The one way from bytes to a score, which files, the rows of datasets and single recordings all take.

        A reading tells how far it is, and its listener hears the samples. `scored`: see `score_readings`.
        """
        return score_readings(readings, self._forward, self.plan, with_timeline, scored)

    def row(self, result: Result, name: str | None = None) -> Score:
        """A result as the row that is written, reported under `name` (default: the path it was read from)."""
        name = str(result.reading.source) if name is None else name
        error = result.error
        duration_s = round(result.reading.duration_s, 3) or None
        facts = result.reading.facts
        told = {
            "operating_point": self.decision.name,
            "channel": result.reading.channel,
            "warnings": tuple(one.text for one in warnings_of(facts, result.reading.track)),
        }
        if error is not None:
            return Score(name, None, None, self.threshold, duration_s, 0, None, error, **told)
        probability, highest = fake_probability(result.logit), fake_probability(result.max_logit)
        prediction = self.decision.prediction(probability)
        return Score(name, probability, prediction, self.threshold, duration_s, result.windows, highest, **told)

    def fake_logits(self, waveforms: list[np.ndarray]) -> np.ndarray:
        """Fake minus real logit of 16 kHz mono clips, each of shape (samples,); returns float64 of shape (clips,).

        Clips of different lengths share a batch only where the model's logits do not depend on the padding.
        """
        logits = np.zeros(len(waveforms))
        for batch in pack([len(w) for w in waveforms], self.plan):
            logits[batch] = [score.logit for score in self._forward([waveforms[i] for i in batch])]
        return logits


def build_forward(checkpoint: Checkpoint, precision: str) -> Forward:
    """The checkpoint as a function of windows; a reduced precision behind the gate that compares it with fp32."""
    model, extractor, index = checkpoint.model, checkpoint.extractor, checkpoint.fake_index
    if isinstance(model, PortableModel):
        return PortableForward(model, extractor, index)
    from deepfake.models.forward import TorchForward, fuse_head
    from deepfake.models.linear import has_bf16
    from deepfake.models.precision import Gated, with_precision

    head = fuse_head(model, index)
    exact = TorchForward(with_precision(model, "fp32"), extractor, index, head)
    if precision == "fp32":
        return exact

    def reduced(name: str) -> Forward:
        return TorchForward(with_precision(model, name), extractor, index, head)

    names = [precision, "bf16"] if precision == "int8" and has_bf16() else [precision]
    return Gated([(name, functools.partial(reduced, name)) for name in names], exact)
