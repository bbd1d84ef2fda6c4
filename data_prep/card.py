"""The dataset card: README.md beside the data, written from what the build recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import yaml

from data_prep.report import USED, Outcome, totals

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def dataset_card(outcomes: Sequence[Outcome], report: dict) -> str:
    """Markdown with the metadata block of the Hub; every number comes from the outcomes and the report."""
    used = [outcome for outcome in outcomes if outcome.status == USED]
    cells = [(split, label, cell) for split, row in totals(outcomes).items() for label, cell in row.items()]
    chunks = sum(cell["chunks"] for _, _, cell in cells)
    languages = sorted({o.row.language for o in used if o.row.language and 2 <= len(o.row.language) <= 3})
    corpora = Counter(outcome.row.corpus for outcome in used)
    metadata = {
        "pretty_name": " and ".join(sorted(corpora)),
        **({"language": languages} if languages else {}),
        "task_categories": ["audio-classification"],
        "tags": ["audio", "speech", "deepfake-detection", "anti-spoofing"],
        "size_categories": [next((name for limit, name in _SIZES if chunks < limit), "n>1M")],
    }
    options = report["options"]
    chunking, splits = options["chunking"], options["splits"]
    lines = [
        "---",
        yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip(),
        "---",
        f"# {metadata['pretty_name']}",
        "",
        f"{chunks:,} chunks of real and AI-generated speech, {chunking['min_s']:g} to {chunking['max_s']:g} s, 16 kHz "
        f"mono FLAC, cut from {len(used):,} recordings.",
        "",
        "| split | label | recordings | chunks | minutes |",
        "|---|---|---:|---:|---:|",
        *(f"| {s} | {n} | {c['recordings']:,} | {c['chunks']:,} | {c['minutes']:,.1f} |" for s, n, c in cells),
        "",
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
        f"- Chunks: {_chunk_rule(options)}",
        f"- Files: {', '.join(f'{count:,} {status}' for status, count in report['files'].items())}; report.json says "
        "what became of each.",
        "",
        "```python",
        "from datasets import load_from_disk",
        "",
        'dataset = load_from_disk("path/to/this/folder")  # row["audio"]["bytes"] is a FLAC file',
        "```",
    ]
    return "\n".join(lines) + "\n"


def _generators(used: Sequence[Outcome]) -> list[str]:
    counts = Counter(o.row.generator or "unknown" for o in used if o.label == "fake")
    held = ", ".join(f"{name} ({count:,})" for name, count in counts.most_common())
    return [f"Generators of the fakes, by recordings: {held}.", ""]


def _split_rule(report: dict) -> str:
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


def _chunk_rule(options: dict) -> str:
    steps = options["equalise"]["steps"]
    gap_ms = options["chunking"]["gap_ms"]
    if not steps and gap_ms is None:
        return "`start_s` and `duration_s` are sample-exact positions in the recording `source` at 16 kHz."
    changed = [f"silences shortened to {gap_ms} ms"] if gap_ms is not None else []
    if steps:
        changed.append(f"equalised ({', '.join(steps)})")
    return f"{' and '.join(changed)}, both classes alike: chunks are not the recording's own samples."
