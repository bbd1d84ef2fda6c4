"""The tables of the card that only a run with held-out generators can fill."""

from __future__ import annotations

from collections.abc import Sequence

from data_prep.text import markdown_table, number
from judging.record import Across, Families, Generalisation, Strangers

_CHANNELS = ("clean", "telephone", "codec")
_WHAT = {"roc_auc": "ROC-AUC", "recall_real": "real called real", "recall_fake": "fake called fake"}


def generalisation_section(found: Generalisation | None) -> str:
    """Markdown; empty for runs that held nothing out."""
    if found is None:
        return ""
    worst = found.worst_false_alarms
    parts = [
        "### Generators held out",
        "Clips are parted into folds, each with some generator families and some recording campaigns; the clips of a "
        "fold are scored by heads that were fitted without it, without other clips of its speakers, and without pairs "
        "made from them. ROC-AUC of each family against the real clips of its fold; brackets are 95 % intervals that "
        "resample speakers and voices. Telephone: 8 kHz, G.711 A-law or µ-law. Codec: MP3 32 kbit/s or Opus 12 kbit/s.",
        _families(found.families),
        "All folds together, at the stored threshold:",
        _channels(found.held_out),
        f"The worst fold and channel: {number(worst.rate)} of {worst.clips} real clips of fold {worst.fold} "
        f"({worst.channel}) are called fake.",
        *_strangers(found.without_published),
        "### Test split through channels",
        "By heads fitted on train and validation alone:",
        _channels(found.test),
        "ROC-AUC by generator of the test split, against all its real clips:",
        _generators(found.test_generators),
    ]
    if found.left_out is not None:
        groups = ", ".join(f"`{name}`" for name in found.left_out_groups)
        parts += [
            "### Recordings left out altogether",
            f"Nothing was fitted on the voices and speakers {groups}, from which other recordings that come with this "
            "project were joined. The saved heads on them:",
            _channels(found.left_out),
        ]
    return "\n\n".join(parts)


def _strangers(found: Strangers | None) -> list[str]:
    if found is None:
        return []
    return [
        "### Published samples of systems that were never met",
        "As above, with no published sample of any research system, fake or human, in the fit: only recordings, "
        "copies of them and the synthesizers run for the corpus. The nearest there is here to generators, voices and "
        "processing that are all new.",
        _families(found.families),
        "The same fakes against the real clips of all folds:",
        _channels(found.pooled),
    ]


def _families(families: Families) -> str:
    columns = list(families.mean)
    rows = [[row.name, row.fake, *(row.channels[c]["roc_auc"] for c in columns)] for row in families.rows]
    rows.append(["**mean of families**", "", *(number(families.mean[c]) for c in columns)])
    return markdown_table(["family", "clips", *columns], rows)


def _channels(found: Across) -> str:
    header = [f"{found.real} real, {found.fake} fake clips", *_CHANNELS]
    rows = [[title, *(found.channels[c][key] for c in _CHANNELS)] for key, title in _WHAT.items()]
    return markdown_table(header, rows)


def _generators(rows: Sequence[Across]) -> str:
    shown = [[row.name, row.fake, *(row.channels[c]["roc_auc"] for c in _CHANNELS)] for row in rows]
    return markdown_table(["generator", "clips", *_CHANNELS], shown)
