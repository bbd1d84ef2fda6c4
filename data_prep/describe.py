"""`python -m data_prep describe`: what a dataset sounds like, class by class, on one page."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from data_prep.audit_data import MEASURES, Clips, load_splits, read_clips
from data_prep.audit_page import TITLES, histograms
from data_prep.layouts.tables import known
from deepfake.audio.decode import SAMPLING_RATE, AudioError, load_audio
from deepfake.labels import LABELS
from deepfake.pages.page import html_table, page
from deepfake.pages.plots import SPECTROGRAM_RANGE_DB, embedded, spectrogram
from deepfake.text import write_json, write_text

_EXAMPLES_PER_CLASS = 4
_PERCENTILES = (5, 50, 95)


def describe(dataset: str, output: Path, max_clips: int = 2000) -> int:
    """Measure a dataset and write describe.html and describe.json to `output`; print the medians.

    Raises:
        UserError: see `data_prep.audit_data.read_clips`.
    """
    clips = read_clips(dataset, max_clips)
    output.mkdir(parents=True, exist_ok=True)
    statistics = percentiles(clips)
    write_json(output / "describe.json", {"dataset": Path(dataset).name, "clips": len(clips), "measures": statistics})
    write_text(output / "describe.html", _page(dataset, clips, statistics))
    print(f"{'median':<22}" + "".join(f"{label:>12}" for label in statistics))
    for name in MEASURES:
        print(f"{name:<22}" + "".join(f"{held[name]['p50']:>12.4g}" for held in statistics.values()))
    print(f"written to {output / 'describe.html'} and describe.json")
    return 0


def percentiles(clips: Clips) -> dict[str, dict[str, dict[str, float]]]:
    """label → measure → {"p5", "p50", "p95"}"""
    labels = np.array(clips.label)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for label in [label for label in LABELS if (labels == label).any()]:
        values = np.percentile(clips.measures[labels == label], _PERCENTILES, axis=0)
        found[label] = {
            name: {f"p{p}": round(float(values[row, column]), 6) for row, p in enumerate(_PERCENTILES)}
            for column, name in enumerate(MEASURES)
        }
    return found


def _page(dataset: str, clips: Clips, statistics: dict) -> str:
    minutes: Counter[tuple[str, str]] = Counter()
    for split, label, seconds in zip(
        clips.split, clips.label, clips.measures[:, MEASURES.index("duration_s")], strict=True
    ):
        minutes[split, label] += float(seconds) / 60
    counted = Counter(zip(clips.split, clips.label, strict=True))
    rows = [(split, label, count, round(minutes[split, label], 1)) for (split, label), count in counted.items()]
    table = [
        (
            f"{TITLES[name][0]} ({TITLES[name][1]})",
            *(held[name][key] for held in statistics.values() for key in held[name]),
        )
        for name in MEASURES
    ]
    header = ["5 %, median, 95 %", *(f"{label} {p} %" for label in statistics for p in _PERCENTILES)]
    body = [
        f'<p class="muted">{len(clips):,} clips measured, {clips.undecodable} could not be decoded.</p>',
        "<h2>Clips</h2>",
        html_table(("split", "label", "clips", "minutes"), rows),
        "<h2>Measurements per class</h2>",
        histograms(clips),
        html_table(header, table),
        "<h2>Examples</h2>",
        f'<p class="muted">Clips chosen at random, down to {SPECTROGRAM_RANGE_DB:g} dB below their loudest.</p>',
        f'<div class="grid">{"".join(_pictures(dataset))}</div>',
    ]
    return page(f"{Path(dataset).name}: {len(clips):,} clips", body)


def _pictures(dataset: str, seed: int = 0) -> list[str]:
    """Spectrograms of a few clips of each class."""
    from datasets import Audio

    splits = load_splits(dataset)
    data = next(iter(splits.values())).cast_column("audio", Audio(decode=False))
    names = getattr(data.features["label"], "names", None)
    told = np.array([names[value] if names else str(value) for value in data["label"]])
    random = np.random.default_rng(seed)
    pictures = []
    for label in sorted(set(told.tolist()), reverse=True):  # real first
        held = np.flatnonzero(told == label)
        for index in sorted(random.choice(held, min(_EXAMPLES_PER_CLASS, len(held)), replace=False)):
            row = data[int(index)]
            try:
                samples = load_audio(row["audio"]["bytes"] or row["audio"]["path"])
            except AudioError:
                continue
            maker = known(row.get("generator")) if label != "real" else None
            caption = ", ".join(
                filter(
                    None,
                    [
                        label,
                        maker,
                        f"{len(samples) / SAMPLING_RATE:.1f} s",
                        (row.get("source") or "").split(":", 1)[-1],
                    ],
                )
            )
            drawn = partial(spectrogram, samples=samples, sampling_rate=SAMPLING_RATE)
            pictures.append(embedded(drawn, (3.6, 2.2), caption))
    return pictures
