"""What is known of clips, which of them are used and held out together, and how often each is drawn."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from deepfake.errors import UserError
from deepfake.training.stacked.options import StackedOptions

REAL, FAKE = 0, 1
KINDS = (
    "human", "copy", "conversion", "language model", "diffusion or flow matching", "VAE or flow", "autoregressive",
    "other synthesis",
)  # fmt: skip
_COPIES = ("codec", "copysyn")
_PAGE_COLUMNS = ("page", "group_id", "speaker", "source")  # the first that a row knows is its page
_NO_YEAR = 2021  # what has none is neither recent nor of the oldest


@dataclass(frozen=True)
class ClipFacts:
    """What a dataset says of its clips, each an array of shape (clips,).

    Attributes:
        label: 0 real, 1 fake.
        page: where a clip was published; what shares it is held out together. Where a dataset knows no pages, the
            utterance or voice, the speaker, or the recording stands for it.
        kind: "human", "tts", "vc", "codec", "copysyn", …; where it is not known, fakes count as "tts".
        generator: of fakes; where it is not known, a page's fakes share one.
        family: the generator's coarse architecture, "" where unknown. year: of the generator.
    """

    label: np.ndarray
    page: np.ndarray
    kind: np.ndarray
    generator: np.ndarray
    family: np.ndarray
    year: np.ndarray

    @classmethod
    def of(cls, rows: Dataset) -> ClipFacts:
        label = np.asarray(rows["label"])
        columns = {name: column_of(rows, name) for name in (*_PAGE_COLUMNS, "kind", "generator", "family", "year")}
        page = [
            next((str(value) for value in values if value), f"row {i}")
            for i, values in enumerate(zip(*(columns[name] for name in _PAGE_COLUMNS), strict=True))
        ]
        kind = [k or "tts" if y == FAKE else "human" for k, y in zip(columns["kind"], label, strict=True)]
        generator = [
            (g or f"unknown of {p}") if y == FAKE else "human"
            for g, p, y in zip(columns["generator"], page, label, strict=True)
        ]
        year = [y or _NO_YEAR for y in columns["year"]]
        family = [f or "" for f in columns["family"]]
        return cls(label, np.array(page), np.array(kind), np.array(generator), np.array(family), np.array(year))

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, chosen: np.ndarray) -> ClipFacts:
        return ClipFacts(
            *(getattr(self, name)[chosen] for name in ("label", "page", "kind", "generator", "family", "year"))
        )

    @property
    def copy(self) -> np.ndarray:
        """Which clips are a human's, resynthesised by a codec or a vocoder; bool of shape (clips,)."""
        return np.isin(self.kind, _COPIES)

    @property
    def target(self) -> np.ndarray:
        """Index into `KINDS` of each clip, shape (clips,)."""
        return np.array([_kind_of(*clip) for clip in zip(self.label, self.kind, self.family, strict=True)])


def chosen_clips(rows: Dataset, facts: ClipFacts, options: StackedOptions, seed: int) -> np.ndarray:
    """The indices of the clips that are used, rising: without those left out, and no more of a generator than the caps.

    Which clips of a generator and page go beyond its cap is drawn by `seed`.
    """
    used = ~_left_out(rows, options)
    if options.copies == "out":
        used &= ~facts.copy
    taken: Counter[tuple[str, str]] = Counter()
    order = np.random.default_rng(seed).permutation(np.flatnonzero(used))
    kept = []
    for i in order:
        if facts.label[i] == FAKE:
            cap = options.recent_cap if facts.year[i] >= 2022 else options.old_cap
            cap = options.copies_cap if facts.copy[i] else cap
            key = (str(facts.generator[i]), str(facts.page[i]))
            if taken[key] >= cap:
                continue
            taken[key] += 1
        kept.append(i)
    return np.array(sorted(kept), dtype=int)


def deal_pages(facts: ClipFacts, folds: int) -> np.ndarray:
    """The fold of each clip, shape (clips,): pages dealt whole, so that folds are alike.

    Alike in their human clips, their synthesis and conversion since 2023 (which counts most), and their clips.

    Raises:
        UserError: a fold would lack human clips or fakes.
    """
    recent = (facts.label == FAKE) & ~facts.copy & (facts.year >= 2023)
    counts: dict[str, np.ndarray] = {}
    for page in sorted(set(facts.page.tolist())):
        mine = facts.page == page
        counts[page] = np.array([(mine & (facts.label == REAL)).sum(), (mine & recent).sum(), mine.sum()], dtype=float)
    scale = np.array([1.0, 1.5, 0.5]) / np.maximum(sum(counts.values()), 1)
    totals, fold_of = np.zeros((folds, 3)), {}
    for page in sorted(counts, key=lambda p: (-counts[p][1], -counts[p][0], -counts[p][2], p)):
        grown = ((totals + counts[page]) * scale) ** 2 - (totals * scale) ** 2
        fold_of[page] = int(grown.sum(1).argmin())
        totals[fold_of[page]] += counts[page]
    fold = np.array([fold_of[page] for page in facts.page.tolist()])
    for number in range(folds):
        missing = {REAL, FAKE} - set(facts.label[fold == number].tolist())
        if missing:
            raise UserError(
                f"of {folds} folds over {len(counts)} pages one lacks {'fakes' if FAKE in missing else 'human clips'}; "
                "lower --set stacked.folds, or set it to 0"
            )
    return fold


def fold_masks(facts: ClipFacts, fold: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """(clips to fit on, clips held out), bool of shape (clips,): without a fold's pages and every generator on them.

    Clips of these generators on other pages are in neither.
    """
    held = fold == number
    met = set(facts.generator[held & (facts.label == FAKE)].tolist())
    same = (facts.label == FAKE) & np.isin(facts.generator, sorted(met))
    return ~held & ~same, held


def drawing_weights(facts: ClipFacts, fitted: np.ndarray, options: StackedOptions) -> tuple[np.ndarray, np.ndarray]:
    """How often each human clip, and each fake, is drawn: two arrays of shape (clips,) that sum to 1.

    Args:
        fitted: which clips may be drawn, bool of shape (clips,).

    Raises:
        UserError: there are no human clips, or no fakes, among them.
    """
    human, fake = np.zeros(len(facts)), np.zeros(len(facts))
    for _, mine in _groups(facts.page, fitted & (facts.label == REAL)):
        human[mine] = len(mine) ** (options.page_power - 1)
    shares = {"vc": options.conversion_share, **dict.fromkeys(_COPIES, options.copies_share)}
    for _, mine in _groups(facts.generator, fitted & (facts.label == FAKE)):
        kind, year = facts.kind[mine[0]], np.median(facts.year[mine])
        age = 1.0 if year >= 2022 else options.old_share * (1.0 if year >= 2020 else 0.7)
        fake[mine] = len(mine) ** (options.generator_power - 1) * age * shares.get(str(kind), 1.0)
    for name, weights in (("human clips", human), ("fakes", fake)):
        if not weights.sum():
            raise UserError(f"there are no {name} to fit on; a detector needs both")
    return human / human.sum(), fake / fake.sum()


def drawn_clips(human: np.ndarray, fake: np.ndarray, steps: int, batch_size: int, seed: Sequence[int]) -> np.ndarray:
    """The clips of every step, int64 of shape (steps, batch_size): half of a batch human, the rest fake."""
    rng = np.random.default_rng(list(seed))
    halves = [
        rng.choice(len(weights), (steps, count), p=weights)
        for weights, count in ((human, batch_size // 2), (fake, batch_size - batch_size // 2))
    ]
    return np.concatenate(halves, axis=1)


def column_of(rows: Dataset, name: str) -> list[Any]:
    """The values of a column, read at once; None for all rows where there is no such column."""
    return rows[name][:] if name in rows.column_names else [None] * len(rows)


def _left_out(rows: Dataset, options: StackedOptions) -> np.ndarray:
    left_out = np.zeros(len(rows), dtype=bool)
    for entry in options.leave_out:
        matches = np.ones(len(rows), dtype=bool)
        for column, pattern in entry.items():
            values = column_of(rows, column)
            matches &= np.array(
                [value is not None and re.fullmatch(pattern, str(value)) is not None for value in values]
            )
        left_out |= matches
    return left_out


def _groups(names: np.ndarray, chosen: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Each value among the chosen, with the indices of its clips."""
    indices = np.flatnonzero(chosen)
    found: dict[str, list[int]] = {}
    for i, name in zip(indices.tolist(), names[indices].tolist(), strict=True):
        found.setdefault(name, []).append(i)
    return [(name, np.array(mine)) for name, mine in sorted(found.items())]


def _kind_of(label: int, kind: str, family: str) -> int:
    """Families are free text of several hands, so that words are looked for."""
    text = family.lower()
    if label == REAL:
        return 0
    if kind in _COPIES:
        return 1
    if kind == "vc":
        return 2
    if "codec" in text or "lm" in text or "style-gan" in text:
        return 3
    if "flow-matching" in text or "diffusion" in text or "continuous" in text:
        return 4
    if "vits" in text or "vae" in text or "flow" in text:
        return 5
    return 6 if "autoregressive mel" in text and "non" not in text else 7
