"""What an audit finds, as its page, its JSON and its lines on the screen read it."""

from __future__ import annotations

from dataclasses import dataclass

from data_prep.probes import Probe

KINDS = {"source": "source", "speaker": "speaker", "near duplicate": "audio"}  # kind of leak → what is in two splits


@dataclass(frozen=True)
class Leak:
    """Something in more than one split. `count` of them; `found` is a few, each with its splits."""

    kind: str
    count: int
    found: list[str]
    advice: str


@dataclass(frozen=True)
class Audit:
    """Everything an audit says about a dataset.

    Attributes:
        clips: split → label → clips that were measured.
        leaks_not_checked, not_checked: what nobody could look for, of leaks and of the rest.
        checked: the kinds of leak that were looked for in every measured clip ("source", "speaker", "near duplicate").
        advice: probe that is raised → what to do.
    """

    dataset: str
    clips: dict[str, dict[str, int]]
    undecodable: int
    leaks: list[Leak]
    leaks_not_checked: list[str]
    checked: list[str]
    probes: list[Probe]
    not_checked: list[str]
    advice: dict[str, str]

    @property
    def clear_of_leaks(self) -> str:
        """What was looked for in vain, in words; "" when nothing was."""
        kinds = [KINDS[kind] for kind in self.checked if kind not in {leak.kind for leak in self.leaks}]
        listed = " or ".join(filter(None, (", ".join(kinds[:-1]), *kinds[-1:])))
        return f"no {listed} is in two splits" if kinds else ""
