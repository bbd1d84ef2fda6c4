"""ASVspoof 2019 LA and ASVspoof 5: countermeasure protocols, one line an utterance, columns parted by spaces.

2019 LA (Wang et al. 2020): SPEAKER UTTERANCE - SYSTEM KEY, in ASVspoof2019.LA.cm.{train.trn,dev.trl,eval.trl}.txt.
5 (Wang et al. 2024): SPEAKER UTTERANCE GENDER CODEC CODEC_Q CODEC_SEED ATTACK_TAG ATTACK KEY [TMP], in
ASVspoof5.{train,dev.track_1,eval.track_1}.tsv, which in spite of the name is not parted by tabs in every release.
The folders also hold enrolment utterances that no countermeasure protocol lists; those are passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from data_prep.layouts.base import Reading, Row, Tree, examples, read_text
from data_prep.layouts.tables import known, label_of_cell, split_of
from deepfake.audio.files import AudioFile
from deepfake.errors import UserError


@dataclass(frozen=True)
class _Protocol:
    layout: str
    corpus: str
    file_name: re.Pattern[str]  # its group is the corpus' name of the split
    attack_column: int
    key_column: int


_LA2019 = _Protocol(
    "asvspoof2019_la", "ASVspoof2019-LA", re.compile(r"ASVspoof2019\.LA\.cm\.(train|dev|eval)\.tr[nl]\.txt$"), 3, 4
)
_FIVE = _Protocol("asvspoof5", "ASVspoof5", re.compile(r"ASVspoof5\.(train|dev|eval)(?:\.track_1)?\.tsv$"), 7, 8)


def is_2019_la(tree: Tree) -> bool:
    return bool(_protocols(tree, _LA2019))


def is_5(tree: Tree) -> bool:
    return bool(_protocols(tree, _FIVE))


def read_2019_la(tree: Tree) -> Reading:
    """Read ASVspoof 2019 LA. Raises UserError as `_read` does."""
    return _read(tree, _LA2019)


def read_5(tree: Tree) -> Reading:
    """Read ASVspoof 5, track 1. Raises UserError as `_read` does."""
    return _read(tree, _FIVE)


def _protocols(tree: Tree, kind: _Protocol) -> list[tuple[AudioFile, str | None]]:
    matches = [(table, kind.file_name.search(table.name)) for table in tree.tables]
    return [(table, split_of(match[1])) for table, match in matches if match]


def _read(tree: Tree, kind: _Protocol) -> Reading:
    """One row for each listed utterance that is there.

    Raises:
        UserError: no protocol, a line with too few columns, an unknown key, or an utterance with both keys.
    """
    protocols = _protocols(tree, kind)
    if not protocols:
        raise UserError(
            f"{tree.name} holds no {kind.corpus} protocol; expected a file like {_EXPECTED[kind.layout]} below it"
        )
    rows: dict[str, Row] = {}
    absent, conflicts = [], []
    for table, split in protocols:
        for number, line in enumerate(read_text(table.path).splitlines(), 1):
            cells = line.split()
            if not cells:
                continue
            if len(cells) <= kind.key_column:
                raise UserError(
                    f"line {number} of {table.path} has {len(cells)} columns, expected {kind.key_column + 1}"
                )
            utterance, label = cells[1], label_of_cell(cells[kind.key_column], table.path)
            file = tree.by_stem.get(utterance)
            if file is None:
                absent.append(utterance)
                continue
            row = Row(file, label, kind.corpus, cells[0], known(cells[kind.attack_column]), "en", split)
            if rows.setdefault(file.name, row).label != label:
                conflicts.append(utterance)
    if conflicts:
        raise UserError(
            f"the {kind.corpus} protocols list {len(conflicts)} utterances as real and fake, e.g. {examples(conflicts)}"
        )
    listed = [rows[file.name] for file in tree.files if file.name in rows]
    unlisted = [file.name for file in tree.files if file.name not in rows]
    return Reading(kind.layout, listed, unlisted, absent)


_EXPECTED = {_LA2019.layout: "ASVspoof2019.LA.cm.train.trn.txt", _FIVE.layout: "ASVspoof5.train.tsv"}
