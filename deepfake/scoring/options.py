"""Every option of scoring, once: for the command lines, for `Detector`, and for the processes that share a list.

Free of PyTorch, so that `--help` and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from deepfake.errors import UserError
from deepfake.models.choices import (
    BACKENDS,
    CHANNELS,
    EXPORTED,
    MIN_DURATION_S,
    PRECISIONS,
    SPEECH_DETECTION,
    TIMELINE_HOP_S,
    TIMELINE_WINDOW_S,
)


class OptionError(UserError):
    """An option whose value is of no use; `problem` says what was found and what was expected."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option} {problem}")
        self.option, self.problem = option, problem


def _option(default: Any, help: str, **of_parser: Any) -> Any:
    """A field with what `argparse.ArgumentParser.add_argument` is told of it."""
    return field(default=default, metadata={"help": help, **of_parser})


@dataclass(frozen=True)
class ScoringOptions:
    """How recordings are scored. The fields say what they are for in their `help`; durations are in seconds.

    Small, and made of plain values, so that it can be sent to another process or machine.

    Raises:
        OptionError: a value out of range, or two that do not go together.
    """

    model: str | None = _option(
        None, "model folder or Hub id; default: the compact detector shipped in checkpoints/compact"
    )
    device: str | None = _option(None, "torch device, e.g. cpu or cuda:1; default: cuda where there is one")
    threshold: float | None = _option(
        None, "call a recording fake from this fake_probability on; default: the threshold that the model stores",
        type=float,
    )  # fmt: skip
    fake_label: str | None = _option(
        None, "name of the class that means fake, for a model whose class names do not say which one does"
    )
    batch_size: int = _option(8, "windows scored at once (default 8)", type=int)
    operating_point: str | None = _option(
        None,
        "decide by an operating point that the model stores: balanced_accuracy, eer, fpr_0.05, fpr_0.01, fpr_0.001, "
        "bayes, abstain (may answer uncertain), or bayes:PRIOR,MISS,FALSE_ACCEPT from the stored calibration",
        metavar="NAME",
    )
    channels: str = _option(
        "mix",
        "mix (default): a row for the mean of a file's channels; each: a row for each of them, as of two speakers on a "
        "line, with its number, counted from 0, in the column channel",
        choices=CHANNELS,
    )
    speech_detection: str = _option(
        "auto",
        "auto (default): score what holds speech, and refuse a recording without any; off: score all of a recording as "
        "if all of it were speech, which its row then says",
        choices=SPEECH_DETECTION,
    )
    precision: str = _option(
        "fp32",
        "int8 (on a CPU), bf16 and fp16 are faster than fp32; they are compared with fp32 on the first recordings and "
        "given up where a fake_probability moves by more than 0.02",
        choices=PRECISIONS,
    )
    workers: int | None = _option(
        None, "threads that decode recordings (default: one a core; 0: decode between forward passes)", type=int
    )
    layers: int | None = _option(None, "use only this many encoder layers, counted from the bottom", type=int)
    backend: str = _option(
        "auto",
        "what runs the model: auto (default; onnxruntime on a CPU where the model comes with a graph beside its "
        "weights, as the shipped one does, else torch), torch, or onnx or openvino for a folder that --export wrote",
        choices=BACKENDS,
    )
    timeline_window_s: float = _option(
        TIMELINE_WINDOW_S,
        "length in seconds of the extra windows that are scored for the timeline of a model that gives no scores of "
        f"single frames, such as the shipped one (default {TIMELINE_WINDOW_S:g}; 0: reuse the windows of the score)",
        type=float, metavar="S",
    )  # fmt: skip
    timeline_hop_s: float = _option(
        TIMELINE_HOP_S,
        f"seconds from the start of one extra window to the start of the next (default {TIMELINE_HOP_S:g})",
        type=float, metavar="S",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise OptionError("threshold", f"is {self.threshold}; expected a probability from 0 to 1")
        if self.batch_size < 1:
            raise OptionError("batch_size", f"is {self.batch_size}; expected at least 1")
        if self.workers is not None and self.workers < 0:
            raise OptionError("workers", f"is {self.workers}; expected 0 or more")
        known_values = (
            ("precision", self.precision, PRECISIONS), ("backend", self.backend, BACKENDS),
            ("channels", self.channels, CHANNELS), ("speech_detection", self.speech_detection, SPEECH_DETECTION),
        )  # fmt: skip
        for name, value, known in known_values:
            if value not in known:
                raise OptionError(name, f"is {value}; expected one of {', '.join(known)}")
        if self.backend == "openvino" and self.model is None:
            raise OptionError("backend", "openvino needs a model: give a folder written by --export")
        if self.backend in EXPORTED and (self.precision != "fp32" or self.layers is not None):
            raise OptionError(
                "backend",
                f"{self.backend} runs a model as it was exported; choose precision and layers before exporting, or "
                "with the backend torch",
            )
        if self.timeline_window_s and self.timeline_window_s < MIN_DURATION_S:
            raise OptionError(
                "timeline_window_s", f"is {self.timeline_window_s:g}; expected at least {MIN_DURATION_S} s, or 0"
            )
        if not 0.02 <= self.timeline_hop_s <= (self.timeline_window_s or math.inf):
            raise OptionError(
                "timeline_hop_s", f"is {self.timeline_hop_s:g}; expected 0.02 s to the length of the short windows"
            )

    @classmethod
    def add_to(cls, parser: argparse.ArgumentParser, *names: str, **changes: Mapping[str, Any]) -> None:
        """Add these options to a parser, all of them where none is named.

        Args:
            changes: by the name of an option, what `add_argument` is told in place of what the field says.
        """
        for one in fields(cls):
            if not names or one.name in names:
                told = {"default": one.default, **one.metadata, **changes.get(one.name, {})}
                parser.add_argument(_flag(one.name), **told)

    @classmethod
    def read(cls, arguments: argparse.Namespace, **given: Any) -> ScoringOptions:
        """What a parser read, `given` in place of it; options that the parser does not have keep their defaults.

        Raises:
            UserError: see the class; the sentence names the options as they are written on the command line.
        """
        values = {one.name: getattr(arguments, one.name) for one in fields(cls) if hasattr(arguments, one.name)}
        try:
            return cls(**(values | given))
        except OptionError as error:
            raise UserError(f"{_flag(error.option)} {error.problem}") from error


@dataclass(frozen=True)
class TimelineOptions:
    """Where timelines are written: a folder, with or without PNG files, and the name of the page that lists them."""

    folder: Path
    pictures: bool = True
    page: str = "index.html"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
