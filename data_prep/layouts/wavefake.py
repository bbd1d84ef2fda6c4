"""WaveFake (Frank and Schönherr 2021): generated_audio/ljspeech_melgan/LJ001-0001_gen.wav, one folder a vocoder.

Bona fide speech is not part of it: LJSpeech (LJSpeech-1.1/wavs) and JSUT (jsut_ver1.1/basic5000/wav) are downloaded
beside it. A copy and its original share an utterance and so a split. The whole corpus has two speakers, one a
language: splitting it needs --group-by source.
"""

from __future__ import annotations

import re

from data_prep.layouts.base import Reading, Row, Tree, parts_below
from deepfake.audio.files import AudioFile
from deepfake.errors import UserError

_CORPORA = {"ljspeech": "en", "jsut": "ja"}
_VOCODER = re.compile(
    r"(?:(?P<corpus>ljspeech|jsut)_(?P<vocoder>[a-z0-9_]*(?:melgan|wavegan|hifigan|waveglow|glow)[a-z0-9_]*)"
    r"|(?P<prompts>common_voices_prompts_from_\w+))",
    re.IGNORECASE,
)
_REAL = re.compile(r"(ljspeech|jsut)[-_.\w]*", re.IGNORECASE)


def matches(tree: Tree) -> bool:
    return any(_VOCODER.fullmatch(part) for file in tree.files for part in parts_below(tree, file)[-2:])


def read(tree: Tree) -> Reading:
    """One row for each recording in a vocoder's folder or in the two bona fide corpora.

    Raises:
        UserError: there is no vocoder's folder.
    """
    rows: list[Row] = []
    unlisted: list[str] = []
    for file in tree.files:
        row = _row(file, parts_below(tree, file))
        if row is None:
            unlisted.append(file.name)
        else:
            rows.append(row)
    if not any(row.label == "fake" for row in rows):
        raise UserError(
            f"{tree.name} holds no WaveFake folder; expected names like ljspeech_melgan or jsut_parallel_wavegan"
        )
    return Reading("wavefake", rows, unlisted)


def _row(file: AudioFile, parts: tuple[str, ...]) -> Row | None:
    utterance = re.sub(r"_gen$|_generated$", "", file.path.stem)
    for part in reversed(parts):
        made = _VOCODER.fullmatch(part)
        if made and made["corpus"]:
            corpus = made["corpus"].lower()
            return Row(file, "fake", "WaveFake", corpus, made["vocoder"].lower(), _CORPORA[corpus], group=utterance)
        if made:  # sentences of Common Voice read by a synthesizer of LJSpeech's voice: no original exists
            return Row(file, "fake", "WaveFake", "ljspeech", made["prompts"].lower(), "en")
    for part in reversed(parts):
        real = _REAL.fullmatch(part)
        if real:
            corpus = real[1].lower()
            return Row(file, "real", "WaveFake", corpus, language=_CORPORA[corpus], group=utterance)
    return None
