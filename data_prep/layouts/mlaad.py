"""MLAAD (Müller et al. 2024): fake/<language>/<model>/*.wav, each model's folder with a meta.csv parted by bars.

Columns: path|original_file|language|is_original_language|duration|training_data|model_name|architecture|transcript.
All of it is fake; the texts come from M-AILABS, whose recordings of the same sentences (…/by_book/…/wavs/x.wav) can lie
below the same folder as bona fide speech and then share a split with their imitations.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from data_prep.layouts.base import Reading, Row, Tree, parts_below, read_text
from data_prep.layouts.tables import known, read_table
from deepfake.audio.files import AudioFile
from deepfake.errors import UserError

_HEADER = "path|original_file|"
_M_AILABS = "by_book"


def matches(tree: Tree) -> bool:
    return bool(_tables(tree))


def read(tree: Tree) -> Reading:
    """One row for each recording of a meta.csv, and for each of M-AILABS that lies there.

    Raises:
        UserError: there is no such meta.csv, or one without the columns named above.
    """
    tables = _tables(tree)
    if not tables:
        raise UserError(f"{tree.name} holds no MLAAD meta.csv; expected fake/<language>/<model>/meta.csv below it")
    rows: dict[str, Row] = {}
    absent = []
    for table in tables:
        beside = str(PurePosixPath(table.name).parent)
        for line in read_table(table.path, delimiter="|"):
            # The paths start at the corpus' root, which may be called anything here; the file lies beside its table.
            file = tree.by_name.get(f"{beside}/{PurePosixPath(line['path'].replace(chr(92), '/')).name}")
            if file is None:
                absent.append(line["path"])
                continue
            rows[file.name] = Row(
                file,
                "fake",
                "MLAAD",
                generator=known(line.get("model_name")) or PurePosixPath(beside).name,
                language=known(line.get("language")),
                group=_sentence(line.get("original_file")),
            )
    for file in tree.files:
        parts = parts_below(tree, file)
        if file.name not in rows and _M_AILABS in parts:
            rows[file.name] = _bona_fide(file, parts)
    unlisted = [file.name for file in tree.files if file.name not in rows]
    return Reading("mlaad", [rows[f.name] for f in tree.files if f.name in rows], unlisted, absent)


def _bona_fide(file: AudioFile, parts: tuple[str, ...]) -> Row:
    """…/en_UK/by_book/female/elizabeth_klett/jane_eyre/wavs/x.wav"""
    index = parts.index(_M_AILABS)
    speaker = parts[index + 2] if len(parts) > index + 2 else None
    language = parts[index - 1].split("_")[0] if index else None
    return Row(file, "real", "MLAAD", speaker, language=language, group=_sentence(file.name))


def _sentence(original: str | None) -> str | None:
    return PurePosixPath(original).stem if known(original) else None


def _tables(tree: Tree) -> list[AudioFile]:
    named = [table for table in tree.tables if PurePosixPath(table.name).name == "meta.csv"]
    return [table for table in named if read_text(table.path).startswith(_HEADER)]
