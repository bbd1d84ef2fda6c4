"""The dataset card, README.md beside the data: written from the report of its build and from nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from deepfake.text import markdown_table

MIN_RECORDINGS = 20  # per class and split, as for results: see deepfake.judging.limits
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_UNKNOWN = {
    "speaker": "Who speaks is not recorded: one voice may be in several splits.",
    "generator": "Which system made the fakes is not recorded: results per generator cannot be given.",
    "language": "Languages are not recorded.",
}
Json = Mapping[str, Any]


def dataset_card(report: Json) -> str:
    """Markdown with the metadata block of the Hub.

    Args:
        report: what report.json of `python -m data_prep build` holds.
    """
    used = [entry for entry in report["recordings"] if entry["status"] == "used"]
    cells = [(split, label, cell) for split, row in report["totals"].items() for label, cell in row.items()]
    chunks = sum(cell["chunks"] for _, _, cell in cells)
    languages = sorted({r["language"] for r in used if r.get("language") and 2 <= len(r["language"]) <= 3})
    corpora = Counter(entry["corpus"] for entry in used)
    name = " and ".join(sorted(corpora))
    metadata = {
        "pretty_name": name,
        **({"language": languages} if languages else {}),
        "task_categories": ["audio-classification"],
        "tags": ["audio", "speech", "deepfake-detection", "anti-spoofing"],
        "size_categories": [next((name for limit, name in _SIZES if chunks < limit), "n>1M")],
    }
    chunking, splits = report["options"]["chunking"], report["options"]["splits"]
    told = [
        (split, label, f"{c['recordings']:,}", f"{c['chunks']:,}", f"{c['minutes']:,.2f}") for split, label, c in cells
    ]
    lines = [
        "---",
        yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip(),
        "---",
        f"# {name}: real and AI-generated speech",
        "",
        f"{chunks:,} chunks of real and AI-generated speech, {chunking['min_s']:g} to {chunking['max_s']:g} s, 16 kHz "
        f"mono FLAC, cut from {len(used):,} recordings. Each has its `label` (real or fake) and the recording that it "
        "was cut from (`source`, `start_s`). All chunks of a recording are in one split.",
        "",
        "```python",
        "from datasets import load_from_disk",
        "",
        'dataset = load_from_disk("path/to/this/folder")  # row["audio"]["bytes"] is a FLAC file',
        "```",
        "",
        markdown_table(("split", "label", "recordings", "chunks", "minutes"), told),
        "",
        "## What this dataset does not hold",
        "",
        *(_gaps(report, used) or ["None of the gaps that are checked for was found.", ""]),
        "## Where it comes from",
        "",
        *(f"- {corpus}: {count:,} recordings" for corpus, count in sorted(corpora.items())),
        "",
        *_generators(used),
        "The licences of these corpora apply to the chunks; this card does not know them.",
        "",
        "## How it was made",
        "",
        f"- Splits: {_split_rule(report)}, seed {splits['seed']}. Identical files are kept once; "
        f"{len(report['splits']['near_duplicates'])} pairs of near duplicates were found and kept together.",
        f"- Chunks: {_chunk_rule(report['options'])}",
        f"- Files: {', '.join(f'{count:,} {status}' for status, count in report['files'].items())}; report.json says "
        "what became of each, and which options the build had.",
        f"- Versions: {', '.join(f'{package} {version}' for package, version in report['versions'].items())}.",
    ]
    return "\n".join(lines) + "\n"


def _gaps(report: Json, used: Sequence[Json]) -> list[str]:
    """A heading and a sentence for everything that this dataset cannot carry."""
    found = []
    for split, row in report["totals"].items():
        counts = {label: cell["recordings"] for label, cell in row.items()}
        if min(counts.values()) < MIN_RECORDINGS:
            said = " and ".join(f"{n} {label}" for label, n in counts.items())
            told = f"{said} recordings, fewer than {MIN_RECORDINGS} of a class: results on it say little about others."
            found.append((f"Too few recordings in {split}", told))
    found += [(f"No {column}", told) for column, told in _UNKNOWN.items() if not any(r.get(column) for r in used)]
    if failed := report["files"].get("failed", 0):
        found.append(("Files left out", f"{failed} files could not be read; report.json says why."))
    return [line for heading, told in found for line in (f"### {heading}", "", told, "")]


def _generators(used: Sequence[Json]) -> list[str]:
    counts = Counter(entry["generator"] or "unknown" for entry in used if entry["label"] == "fake")
    held = ", ".join(f"{name} ({count:,})" for name, count in counts.most_common())
    return [f"Generators of the fakes, by recordings: {held}.", ""]


def _split_rule(report: Json) -> str:
    splits = report["splits"]
    rule = f"by {' and '.join(report['options']['splits']['group_by'])}, {splits['groups']:,} groups"
    if splits["kept_from_corpus"]:
        kept = splits["kept_from_corpus"] - sum(splits["left_out_recordings"].values())
        rule += f", {kept:,} recordings where their corpus puts them"
    if splits["crossing_group_count"]:
        rule += f" ({splits['crossing_group_count']:,} groups are in several of the corpus' own splits"
        gone = ", ".join(f"{count:,} recordings of {split}" for split, count in splits["left_out_recordings"].items())
        rule += f"; so that none is in two here, {gone} are left out)" if gone else ")"
    if splits["held_out_recordings"]:
        rule += f", {splits['held_out_recordings']:,} recordings held out for test"
    return rule


def _chunk_rule(options: Json) -> str:
    steps = options["equalise"]["steps"]
    gap_ms = options["chunking"]["gap_ms"]
    if not steps and gap_ms is None:
        return "`start_s` and `duration_s` are sample-exact positions in the recording `source` at 16 kHz."
    changed = [f"silences shortened to {gap_ms} ms"] if gap_ms is not None else []
    if steps:
        changed.append(f"equalised ({', '.join(steps)})")
    return f"{' and '.join(changed)}, both classes alike: chunks are not the recording's own samples."
