"""The `stacked:` mapping of a recipe: how many models are fitted, on which clips, and how.

Values that no reason stands beside were found on pages and generators that the models compared had not met.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from deepfake.errors import UserError
from deepfake.training.recipe import nearest_name

STATE = "stacked_state.pt"  # of a fit that has not ended, in the folder of the run
COPIES = ("auxiliary", "fake", "out")
LEAVE_OUT_BY = ("page", "kind", "family", "generator", "speaker", "group_id", "source", "language")


@dataclass(frozen=True)
class StackedOptions:
    """What `stacked:` may hold.

    Attributes:
        encoder: where convolutions and low layers come from: folder or Hub id of a Whisper model or a compact detector.
        seeds: models fitted on everything, whose weights are averaged. They start from one and the same pooling and
            head, or the average would mean nothing; they differ in the clips, crops and channels they are given.
        folds: further models, each without a fold of the pages and without every generator on them. What they say of
            their fold fits thresholds and calibration. 0: none; thresholds come from the validation split.
        steps: of every model. Longer fits learn the pages: at 4,000 to 5,000 steps unseen pages were judged worse.
        batch_size: crops a model and step, half of them human.
        crop_s: of a clip; shorter clips are given whole.
        encoder_rate, head_rate: learning rates (AdamW) of Whisper's part, and of pooling and head.
        warmup_share: of the steps, in which the rates rise from 0; after it they fall along half a cosine.
        weight_decay: of matrices; biases and norms have none.
        largest_gradient: norm a model's gradient is cut down to.
        dropout: before the head.
        average: decay of the running average of a model's weights, which is what is kept.
        label_smoothing: pages label some clips wrongly.
        kinds_weight: of a second head's loss, which tells eight kinds of clip apart: human, copies, conversion and five
            families of synthesis. It is dropped after the fit.
        copies: what a codec's or vocoder's copy of a human clip is taken for. auxiliary: its kind is learnt by the
            second head, and real or fake by none; fake: a fake like others; out: not used.
        copies_share, conversion_share: how often copies and voice conversion are drawn, text-to-speech being 1.
        old_share: how often generators of 2020 and 2021 are drawn, those of 2022 and later being 1. Those before 2020
            are drawn 0.7 times as often as these, as is what has no year.
        page_power, generator_power: human clips of a page, and fakes of a generator, are drawn by their number to this
            power: 1 would let the largest drown the others, 0 would repeat the few clips of the smallest.
        recent_cap, old_cap, copies_cap: clips of one generator on one page that are used at most: of synthesis and
            conversion since 2022, of older, and of copies. What goes beyond teaches the page.
        strengths: how often effects of a channel are applied, in parts of the usual, dealt over the seeds in turn.
        leave_out: clips that are not used at all. Each entry maps columns of the dataset to regular expressions that
            match their whole value; a clip is left out where all columns of an entry match.
        max_fpr: the default threshold is the lowest that calls at most this share of human clips fake, with 95 %
            confidence, held-out clips counted as independent. The named operating points promise over pages instead.
        save_minutes: between two states written, from which a run that was killed goes on.
    """

    encoder: str = "openai/whisper-base"
    seeds: int = 6
    folds: int = 5
    steps: int = 3300
    batch_size: int = 32
    crop_s: float = 3.2
    encoder_rate: float = 6e-5
    head_rate: float = 1.5e-3
    warmup_share: float = 0.08
    weight_decay: float = 0.02
    largest_gradient: float = 2.0
    dropout: float = 0.2
    average: float = 0.998
    label_smoothing: float = 0.05
    kinds_weight: float = 0.2
    copies: str = "auxiliary"
    copies_share: float = 0.3
    conversion_share: float = 0.6
    old_share: float = 0.6
    page_power: float = 0.5
    generator_power: float = 0.5
    recent_cap: int = 40
    old_cap: int = 10
    copies_cap: int = 7
    strengths: tuple[float, ...] = (1.0,)
    leave_out: tuple[dict[str, str], ...] = ()
    max_fpr: float = 0.07
    save_minutes: float = 5.0

    @classmethod
    def of(cls, mapping: dict[str, Any]) -> StackedOptions:
        """Read the mapping.

        Raises:
            UserError: an unknown key, a value of another type or out of range, or a broken pattern.
        """
        known = {one.name: one for one in fields(cls)}
        for key in mapping:
            if key not in known:
                raise UserError(f"unknown key stacked.{key}{nearest_name(key, known)}")
        values = {}
        for key, value in mapping.items():
            try:
                values[key] = _READERS[known[key].type](value)
            except (TypeError, ValueError) as error:
                raise UserError(f"stacked.{key} is {value!r}; expected {_EXPECTED[known[key].type]}") from error
        options = cls(**values)
        options._check()
        return options

    def _check(self) -> None:
        at_least = {"seeds": 1, "folds": 0, "steps": 1, "batch_size": 2, "recent_cap": 1, "old_cap": 1, "copies_cap": 1}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise UserError(f"stacked.{name} is {getattr(self, name)}; expected at least {least}")
        if self.folds == 1:
            raise UserError("stacked.folds is 1; expected 0, or at least 2 to hold pages out")
        for name in ("warmup_share", "dropout", "average", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"stacked.{name} is {getattr(self, name)}; expected 0 or more, below 1")
        if self.crop_s < 0.5:
            raise UserError(f"stacked.crop_s is {self.crop_s:g}; expected at least 0.5 s")
        if self.copies not in COPIES:
            raise UserError(f"stacked.copies is {self.copies}; expected one of {', '.join(COPIES)}")
        if not 0 < self.max_fpr <= 0.5:
            raise UserError(f"stacked.max_fpr is {self.max_fpr:g}; expected above 0, at most 0.5")
        if not self.strengths or min(self.strengths) < 0:
            raise UserError(f"stacked.strengths is {list(self.strengths)}; expected numbers of 0 or more")
        for entry in self.leave_out:
            for column, pattern in entry.items():
                if column not in LEAVE_OUT_BY:
                    raise UserError(
                        f"stacked.leave_out names the column {column}{nearest_name(column, LEAVE_OUT_BY)}; expected "
                        f"some of {', '.join(LEAVE_OUT_BY)}"
                    )
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise UserError(f"stacked.leave_out has a broken pattern, {pattern} ({error})") from error


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != float(value):
        raise ValueError("not a whole number")
    return int(value)


def _entries(value: Any) -> tuple[dict[str, str], ...]:
    found = tuple({str(k): str(v) for k, v in entry.items()} for entry in value if isinstance(entry, dict) and entry)
    if len(found) != len(value):
        raise ValueError("not mappings")
    return found


# A number such as 6e-5 is a string in YAML 1.1.
_READERS: dict[str, Callable[[Any], Any]] = {
    "str": str,
    "int": _whole,
    "float": float,
    "tuple[float, ...]": lambda value: tuple(map(float, value if isinstance(value, (list, tuple)) else [value])),
    "tuple[dict[str, str], ...]": _entries,
}
_EXPECTED = {
    "str": "a word",
    "int": "a whole number",
    "float": "a number",
    "tuple[float, ...]": "a list of numbers",
    "tuple[dict[str, str], ...]": "a list of mappings such as {speaker: p22[5-8]}",
}
