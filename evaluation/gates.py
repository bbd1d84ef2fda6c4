"""Conditions a set must meet for the command to end well: `--gate "accuracy>=0.80"`."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any

from data_prep.errors import UserError
from evaluation.intervals import Interval
from evaluation.measure import WITH_INTERVALS
from evaluation.metrics import confusion_rates

KNOWN = (
    "roc_auc", "pr_auc", "eer", "eer_interpolated", "min_dcf", "act_dcf", "cllr", "brier", "ece",
    "brier_calibrated", "ece_calibrated", *confusion_rates(1, 1, 1, 1),
)  # fmt: skip
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

    def check(self, measured: dict[str, Any]) -> dict[str, Any]:
        """The outcome on one measured set; a value that is undefined does not pass."""
        value = measured["metrics"][self.metric]
        if self.end is not None:
            value = Interval(**measured["intervals"]["recordings"][self.metric]).to_dict()[self.end]
        passed = value is not None and bool(_COMPARISONS[self.comparison](value, self.limit))
        return {"gate": self.text, "value": value, "passed": passed}
