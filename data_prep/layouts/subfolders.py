"""What the folders below real/ and fake/ are called after: who speaks, what made a fake, or neither.

Nothing says so but their names, so they are read on evidence, a level at a time from the outside in:

- names such as train, wav, 16k, en, 2024-05-01, part_3 or female say nothing and are passed over;
- words for a person (speaker_1, voice b, reader) below real/ are speakers; so are numbers (p225, id10001, 1688), unless
  each folder holds one recording, and five folders or more of any other names that mostly hold several;
- below fake/, names that stand below real/ as speakers, or are formed like those, are the voices that were cloned;
- other names below fake/ are generators, unless they are mere numbers, stand below real/ for something else, or mostly
  hold one recording.

What is not clear is left unknown and said.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from statistics import median

from data_prep.layouts.base import EXAMPLES, Row
from deepfake.audio.files import AUDIO_EXTENSIONS, readable_name
from deepfake.errors import UserError
from deepfake.labels import FAKE_NAMES, LABELS, REAL_NAMES, label_of_tokens
from deepfake.schema import SPLITS

AUTO, NONE = "auto", "none"
SPEAKER, GENERATOR, PASSED_OVER = "speaker", "generator", "-"
_ROLES = {"real": (SPEAKER, PASSED_OVER), "fake": (SPEAKER, GENERATOR, PASSED_OVER)}
_MIN_PLAIN_SPEAKERS = 5  # fewer folders of any names may as well be calls, podcasts and lectures
_MIN_SHARE_WITH_SEVERAL = 0.05  # numbered folders for single recordings have none, but for a stray second take
_PERSON = frozenset({"speaker", "speakers", "spk", "spkr", "voice", "reader", "narrator", "talker", "actor", "person"})
_MAKER = frozenset({"model", "system", "attack", "generator", "vocoder", "engine", "synthesizer", "synthesiser"})
_SAYS_NOTHING = frozenset(
    {"training", "dev", "val", "valid", "eval", "testing", "all", "misc", "other", "others", "unknown", "data",
     "dataset", "audio", "audios", "wavs", "clip", "clips", "file", "files", "recording", "recordings", "rec", "video",
     "videos", "sample", "samples", "utterance", "utterances", "utt", "call", "calls", "track", "part", "batch", "set",
     "disc", "disk", "cd", "chunk", "chunks", "session", "chapter", "book", "day", "take", "folder", "dir", "episode",
     "khz", "hz", "k", "kbps", "male", "female", "m", "f", "clean", "raw", "speech"}
    | {extension[1:] for extension in AUDIO_EXTENSIONS} | set(SPLITS) | REAL_NAMES | FAKE_NAMES
)  # fmt: skip


@dataclass(frozen=True)
class Understood:
    """How the folders below one class of an input are read.

    Attributes:
        roles: of each level from the outside in: speaker, generator, or None where it is not used.
        reason: why, in words that go on from "because".
        names: role → the folders' names, or, under "", those of the level that is not used.
    """

    label: str
    roles: tuple[str | None, ...]
    reason: str
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def sentence(self) -> str | None:
        """For a person; None where there are no folders to speak of."""
        if not self.names:
            return None
        told = [f"{role}s ({_counted(names)})" for role, names in self.names.items() if role]
        if told:
            return f"folders below {self.label}/ are taken for {' and '.join(told)}, because {self.reason}"
        wanted = SPEAKER if self.label == "real" else f"{GENERATOR} or {SPEAKER}"
        return (
            f"folders below {self.label}/ ({_counted(self.names[''])}) are not used, because {self.reason}; "
            f"if you know better, say --subfolders {self.label}={wanted}"
        )

    def to_dict(self) -> dict:
        """As report.json has it."""
        return {
            "levels": list(self.roles),
            "because": self.reason,
            "names": {role or "not used": len(names) for role, names in self.names.items()},
            "examples": {role or "not used": sorted(names)[:EXAMPLES] for role, names in self.names.items()},
        }


def _counted(names: Collection[str]) -> str:
    return f"{len(names)}: {', '.join(sorted(names)[:EXAMPLES])}{', …' if len(names) > EXAMPLES else ''}"


def parse_subfolders(words: Sequence[str]) -> dict[str, str | tuple[str, ...]]:
    """Label → "auto", "none" or the role of each level, from words such as "none" or "fake=generator/speaker".

    Raises:
        UserError: a word that is none of these, or a class named twice.
    """
    given: dict[str, str | tuple[str, ...]] = {}
    for word in words:
        label, equals, levels = word.partition("=")
        labels = (label,) if equals else LABELS
        value: str | tuple[str, ...] = levels if equals else word
        if value not in (AUTO, NONE):
            value = tuple(str(value).split("/"))
        roles = set(value) if isinstance(value, tuple) else set()
        known = all(name in LABELS and roles <= set(_ROLES[name]) for name in labels)
        repeated = isinstance(value, tuple) and any(value.count(role) > 1 for role in (SPEAKER, GENERATOR))
        if not known or repeated:
            raise UserError(
                f"--subfolders {word} is not understood; expected auto, none, or for a class what its folders name "
                "from the outside in: real=speaker, fake=generator, fake=speaker, fake=generator/speaker, or "
                "fake=-/generator to pass a level over"
            )
        for name in labels:
            if name in given:
                raise UserError(f"--subfolders says twice what the folders below {name}/ are; say it once")
            given[name] = value
    return {label: AUTO for label in LABELS} | given


def with_subfolders(
    corpora: Sequence[Sequence[Row]], given: Mapping[str, str | tuple[str, ...]], known: Collection[str] = ()
) -> list[tuple[list[Row], dict[str, Understood]]]:
    """Fill in speaker and generator of rows that were labelled by their folders.

    Args:
        corpora: the rows of each input.
        given: as from `parse_subfolders`.
        known: speakers that other inputs name.

    Returns:
        of each input: its rows in the same order, and label → how the folders were understood.

    Raises:
        UserError: a level that was asked for is nowhere.
    """
    found: list[dict[str, Understood]] = [{} for _ in corpora]
    speakers, others = set(known), set()
    for label in LABELS:  # real first: its speakers tell what the folders of the fakes are
        for rows, understood in zip(corpora, found, strict=True):
            levels = [_levels(row) for row in rows if row.label == label]
            if levels:
                understood[label] = _understand(label, levels, given[label], speakers, others)
        for understood in found:
            if label == "real" and label in understood:
                speakers.update(understood[label].names.get(SPEAKER, ()))
                others.update(understood[label].names.get("", ()))
    for label, levels in given.items():
        for role in set(levels) - {PASSED_OVER} if isinstance(levels, tuple) else ():
            if not any(role in understood[label].names for understood in found if label in understood):
                raise UserError(
                    f"--subfolders {label}={'/'.join(levels)} asks for the {role}s of {label} recordings, and no "
                    f"folder lies there; expected {label}/{'/'.join(levels).upper()}/…, and no table or protocol that "
                    "labels the recordings"
                )
    return [
        ([_filled(row, understood[row.label]) for row in rows], understood)
        for rows, understood in zip(corpora, found, strict=True)
    ]


def _levels(row: Row) -> tuple[str, ...]:
    """The folders between the one that names the class and the recording."""
    parts = PurePosixPath(row.file.name).parent.parts
    names = [index for index, part in enumerate(parts) if label_of_tokens(part) == {row.label}]
    if not names:
        return ()
    # "fake/tts_bark": the class is said by the folder that says nothing else, or else by the outermost one.
    alone = [index for index in names if _words(parts[index]) <= REAL_NAMES | FAKE_NAMES | {"bona", "fide", "deep"}]
    start = (alone or names)[0] + 1
    return tuple(unicodedata.normalize("NFC", readable_name(part)).strip() for part in parts[start:])


def _filled(row: Row, understood: Understood) -> Row:
    named = zip(understood.roles, _levels(row), strict=False)
    told = {role: name for role, name in named if role and name in understood.names[role]}
    return replace(row, speaker=told.get(SPEAKER), generator=told.get(GENERATOR))


def _understand(
    label: str,
    levels: Sequence[tuple[str, ...]],
    given: str | tuple[str, ...],
    speakers: Collection[str],
    others: Collection[str],
) -> Understood:
    depth = max(len(names) for names in levels)
    counted = [Counter(names[level] for names in levels if len(names) > level) for level in range(depth)]
    telling = [_telling(held) for held in counted]
    if given == NONE:
        return Understood(label, (), "--subfolders says so")
    if given != AUTO:
        roles = tuple(None if role == PASSED_OVER else role for role in given)
        names = {role: frozenset(held) for role, held in zip(roles, counted, strict=False) if role}
        return Understood(label, roles, "--subfolders says so", names)
    judge = _judge_real if label == "real" else _judge_fake
    roles: list[str | None] = [None] * depth
    reasons: dict[str, str] = {}
    doubt: tuple[int, str] | None = None
    for level, held in enumerate(telling):
        deeper = any(len(further) > 1 for further in telling[level + 1 :])
        if not held or (len(held) == 1 and deeper):
            continue  # says nothing, or the same of every recording
        role, reason = judge(held, speakers, others)
        if role is None:
            doubt = doubt or (level, reason)
        elif role not in reasons:
            roles[level], reasons[role] = role, reason
    if not reasons:
        if doubt is None:
            return Understood(label, (), "there are none that tell anything")
        return Understood(label, (), doubt[1], {"": frozenset(telling[doubt[0]])})
    names = {role: frozenset(telling[level]) for level, role in enumerate(roles) if role}
    return Understood(label, tuple(roles), ", and ".join(reasons.values()), names)


def _judge_real(held: Counter[str], speakers: Collection[str], others: Collection[str]) -> tuple[str | None, str]:
    """(role or None, reason) of a level below real/."""
    if _named_after_people(held):
        return SPEAKER, "they are named like speakers"
    several = sum(count > 1 for count in held.values())
    if len(held) > 1 and _numbered(held) and several >= _MIN_SHARE_WITH_SEVERAL * len(held):
        return SPEAKER, f"they are numbered, and {several} of them hold several recordings"
    if median(held.values()) < 2:
        return None, "most of them hold one recording"
    if len(held) >= _MIN_PLAIN_SPEAKERS:
        return SPEAKER, f"there are {len(held)} of them with several recordings each"
    return None, "so few folders may as well be kinds of recordings"


def _judge_fake(held: Counter[str], speakers: Collection[str], others: Collection[str]) -> tuple[str | None, str]:
    """(role or None, reason) of a level below fake/."""
    shared = sum(name in speakers for name in held)
    if 2 * shared >= len(held):
        return SPEAKER, "speakers below real/ are called the same"
    if shared:
        return None, "some of them are called like speakers below real/, and some are not"
    if any(name in others for name in held):
        return None, "folders below real/ are called the same"
    if _named_after_people(held):
        return SPEAKER, "they are named like speakers"
    if _numbered(held) and not _named_after_makers(held):
        if _shapes(held) & _shapes(speakers):
            return SPEAKER, "they are numbered like the speakers below real/"
        return None, "they are mere numbers"
    if median(held.values()) < 2:
        return None, "most of them hold one recording"
    return GENERATOR, "they are neither numbers nor called like speakers, and hold several recordings each"


def _telling(held: Counter[str]) -> Counter[str]:
    """The names of a level that may say something. Years do not, unless other numbers show them to be numbers, too."""
    kept = Counter({name: count for name, count in held.items() if not _says_nothing(name)})
    return Counter() if all(re.fullmatch(r"(19|20)\d\d", name) for name in kept) else kept


def _says_nothing(name: str) -> bool:
    """train, 16k, part_3, de, en_US, 2024-05-01: no voice and no generator."""
    date = re.fullmatch(r"(19|20)\d\d[-_. ]?\d\d([-_. ]?\d\d)?", name)
    language = re.fullmatch(r"[a-z]{2}([-_][A-Za-z]{2})?", name)
    words = _words(name)
    return bool(date or language or (words and words <= _SAYS_NOTHING)) or not re.search(r"[^\W_]", name)


def _words(name: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold()))


def _named_after_people(names: Collection[str]) -> bool:
    return 2 * sum(bool(_words(name) & _PERSON) for name in names) > len(names)


def _named_after_makers(names: Collection[str]) -> bool:
    """By a word for a system, or as ASVspoof numbers its attacks (A07)."""
    return 2 * sum(bool(_words(n) & _MAKER or re.fullmatch(r"[Aa]\d\d", n)) for n in names) > len(names)


def _numbered(names: Collection[str]) -> bool:
    """p225, p226; 1688, 7021; id10001: the same few letters and another number each."""
    with_digits = [name for name in names if re.search(r"\d", name)]
    return 2 * len(with_digits) > len(names) and len(_shapes(with_digits)) <= max(1, len(names) // 4)


def _shapes(names: Collection[str]) -> set[str]:
    return {re.sub(r"\d+", "0", name.casefold()) for name in names if re.search(r"\d", name)}
