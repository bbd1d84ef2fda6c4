"""The `convex:` mapping of a recipe: which clips are alike, which are held out together, and how heads are fitted."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field, fields
from typing import Any

from data_prep.errors import UserError
from training.convex import FitOptions


@dataclass(frozen=True)
class ConvexOptions:
    """What `convex:` may hold beside the fields of `FitOptions`.

    Attributes:
        convolutions: checkpoint whose first two convolutions are taken: Whisper's, or another compact detector's.
        leave_out: recordings named so are not used at all, and nothing is fitted on what shares a group with them.
        families: generator family → pattern searched in the column `generator`; the first that matches counts.
        campaigns: the same for real clips and the column `speaker` ("" where it is unknown).
        folds: families and campaigns that are held out together; all others are dealt to the folds by speaker.
        published: families and campaigns that others published as samples; what is known of them is also measured with
            all of them left out of every fit. None: not measured.
        real_quantile: the threshold leaves this share of the held-out real clips below it, all channels together.
        pairs: how many same-clip pairs are used, the first ones made; 0: none.
    """

    convolutions: str
    families: dict[str, str]
    campaigns: dict[str, str]
    folds: list[list[str]]
    leave_out: str | None = None
    published: list[str] = field(default_factory=list)
    real_quantile: float = 0.92
    pairs: int = 0
    fit: FitOptions = field(default_factory=FitOptions)

    def family(self, generator: str | None) -> str:
        """The family of a fake clip."""
        return _first_match(self.families, generator or "")

    def campaign(self, speaker: str | None) -> str:
        """The campaign of a real clip."""
        return _first_match(self.campaigns, speaker or "")

    def fold(self, kind: str) -> int | None:
        """The fold that a family or campaign is held out in; None: dealt by speaker."""
        return next((number for number, kinds in enumerate(self.folds) if kind in kinds), None)


def convex_options(mapping: dict[str, Any]) -> ConvexOptions:
    """Check and convert the mapping.

    Raises:
        UserError: a key missing or unknown, a broken pattern, a fold that names nothing, or too few folds.
    """
    own = {f.name for f in fields(ConvexOptions)} - {"fit"}
    fitting = {f.name for f in fields(FitOptions)}
    for key in mapping:
        if key not in own | fitting:
            close = difflib.get_close_matches(key, sorted(own | fitting), n=1)
            raise UserError(f"unknown key convex.{key}" + (f"; did you mean {close[0]}?" if close else ""))
    for key in ("convolutions", "families", "campaigns", "folds"):
        if not mapping.get(key):
            raise UserError(f"`convex:` lacks {key}; configs/compact.yaml shows one that is complete")
    options = ConvexOptions(
        **{k: v for k, v in mapping.items() if k in own},
        fit=FitOptions(**{k: v for k, v in mapping.items() if k in fitting}),
    )
    for patterns in (options.families, options.campaigns):
        for name, pattern in patterns.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise UserError(f"the pattern of {name} in `convex:` is broken ({error})") from error
    known = {*options.families, *options.campaigns}
    for key, kinds in (("folds", sum(options.folds, [])), ("published", options.published)):
        stray = [kind for kind in kinds if kind not in known]
        if stray:
            raise UserError(f"convex.{key} names {stray[0]}, which is neither a family nor a campaign of `convex:`")
    if len(options.folds) < 2:
        raise UserError(f"convex.folds has {len(options.folds)} fold; expected at least 2 to hold generators out")
    if not 0 < options.real_quantile < 1:
        raise UserError(f"convex.real_quantile is {options.real_quantile}; expected a share between 0 and 1")
    return options


def _first_match(patterns: dict[str, str], text: str) -> str:
    return next((name for name, pattern in patterns.items() if re.search(pattern, text)), "other")
