"""Conditions a set must meet for the command to end well: `--gate "accuracy>=0.80"`."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass

from deepfake.errors import UserError
from deepfake.judging.judge import KNOWN, WITH_INTERVALS
from deepfake.judging.record import JudgedSet
from deepfake.judging.report import GateOutcome

_COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Gate:
    """`metric` (or the `end` of its interval over recordings) compared with `limit`."""

    text: str
    metric: str
    end: str | None
    comparison: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Gate:
        """Read "eer<=0.12", or "roc_auc.low>=0.9" for the lower end of the 95 % interval.

        Raises:
            UserError: not of this form, or an unknown metric.
        """
        match = re.fullmatch(r"\s*(\w+)(?:\.(low|high))?\s*(>=|<=|>|<)\s*([\d.eE+-]+)\s*", text)
        try:
            limit = float(match[4]) if match else None
        except ValueError:
            limit = None
        if match is None or limit is None:
            raise UserError(f'the gate "{text}" cannot be read; expected e.g. "accuracy>=0.80" or "roc_auc.low>=0.9"')
        if match[1] not in KNOWN:
            raise UserError(f'the gate "{text}" names {match[1]}; known metrics are {", ".join(KNOWN)}')
        if match[2] and match[1] not in WITH_INTERVALS:
            raise UserError(f'the gate "{text}" needs an interval, and {match[1]} has none')
        return cls(text.strip(), match[1], match[2], match[3], limit)

    def check(self, judged: JudgedSet) -> GateOutcome:
        """The outcome on one judged set; a value that is undefined does not pass."""
        found = judged.metrics[self.metric]
        value = {None: found.value, "low": found.low, "high": found.high}[self.end]
        passed = value is not None and bool(_COMPARISONS[self.comparison](value, self.limit))
        return GateOutcome(self.text, value, passed)
