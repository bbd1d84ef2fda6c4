"""What a file's metadata tell of its history: programs, dates, marks of synthesis, content credentials."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from deepfake.scoring.case.record import Container, Examined
from deepfake.scoring.case.structure import Structure

TRACE, NOTE = "trace", "note"
_QUOTED = 160  # characters of a tag's value
# Names under which programs sign. A recorder's own firmware is none of them; what signs here has rewritten the file.
_EDITORS = (
    "Audacity", "Adobe Audition", "Cool Edit", "Premiere", "iZotope", "Pro Tools", "REAPER", "Logic Pro", "GarageBand",
    "WaveLab", "Sound Forge", "SoundForge", "Praat", "SoX", "Descript", "CapCut", "Final Cut", "DaVinci", "Ableton",
    "FL Studio", "ocenaudio", "Wavosaur", "Hindenburg", "Cubase", "Nuendo", "Bitwig", "Audition",
)  # fmt: skip
# Programs that write files. Libraries such as LAME or libopus are none: each of these programs uses them.
_WRITERS = ("Lavf", "FFmpeg", "Nero", "qaac", "HandBrake", "GStreamer", "iTunes", "VLC", "mutagen")
_VERSION = re.compile(r"(Lavf|Audacity|iTunes|LAME)[ v]?(\d+(?:\.\d+)*)")
_GENERATORS = (
    "ElevenLabs", "Eleven Labs", "Resemble AI", "Respeecher", "PlayHT", "Play.ht", "Murf", "Speechify", "WellSaid",
    "Suno", "Udio", "OpenAI", "Hume AI", "Cartesia", "Fish Audio", "Coqui", "Piper", "Kokoro", "Bark", "XTTS",
    "Amazon Polly", "Azure Speech", "Google TTS", "eSpeak", "SynthID", "NaturalReader", "Deepgram Aura", "MiniMax",
)  # fmt: skip
# IPTC's vocabulary of digital source types, and words that laws and platforms ask for.
_MARKS = (
    "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "compositeSynthetic", "algorithmicMedia",
    "AIGC", "AI-generated", "AI generated", "text-to-speech", "text to speech", "synthetic voice", "voice clone",
)  # fmt: skip
_PROGRAM_TAGS = re.compile(
    r"encoder|encoded_by|software|tool|originator$|coding_history|vendor|handler|creator|isft|tsse", re.I
)
_DATE_TAGS = re.compile(r"date|time|year|^tdrc$|^icrd$|created|modified", re.I)
_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2}))?)?")
_XMP = re.compile(r"\b((?:xmp|xmpMM|stEvt|dc|dcterms|photoshop|Iptc4xmpExt):\w+)(?:=\"([^\"]*)\"|>([^<]+)<)")


def examine(structure: Structure, container: Container | None) -> tuple[Examined, ...]:
    """Everything that was looked for in a file and its metadata, with what was found.

    Args:
        container: None where the file is not readable as audio.
    """
    tags = list(_tags(structure, container))
    return (
        _programs(tags, structure),
        _several(tags, structure),
        _dates(tags),
        _joined(structure, container),
        _behind(structure),
        _other_streams(container),
        _credentials(structure),
        _marks(tags, structure),
    )


def _tags(structure: Structure, container: Container | None) -> Iterator[tuple[str, str, str]]:
    """(place, name, value) of the container's tags and of an XMP packet."""
    yield from container.tags if container else ()
    for name, quoted, written in _XMP.findall(structure.xmp or ""):
        yield "XMP", name, quoted or written


def _programs(tags: Iterable[tuple[str, str, str]], structure: Structure) -> Examined:
    """Tags in which programs sign, and names of editors in any tag."""
    found = [
        f"{name} ({place}): {_quoted(value)}"
        for place, name, value in tags
        if _PROGRAM_TAGS.search(name) or _named(_EDITORS, value)
    ]
    if structure.lame:
        found.append(f"first MP3 frame: {structure.lame}")
    editors = sorted({name for _, _, value in tags for name in _named(_EDITORS, value)})
    told = "; ".join(found)
    if editors:
        told += f". An editing program signed: {', '.join(editors)}"
    return Examined("programs that signed the file", told or None, TRACE if editors else NOTE)


def _several(tags: Iterable[tuple[str, str, str]], structure: Structure) -> Examined:
    """More than one program, or two versions of one, which files that were written once do not show."""
    told = [value for _, name, value in tags if _PROGRAM_TAGS.search(name)] + [structure.lame or ""]
    names = {name for value in told for name in (*_named(_WRITERS, value), *_named(_EDITORS, value))}
    makers = {"FFmpeg" if name == "Lavf" else name for name in names}
    versions: dict[str, set[str]] = {}
    for value in told:
        for name, number in _VERSION.findall(value):
            versions.setdefault(name, set()).add(number)
    found = []
    if len(makers) > 1:
        found.append(f"{', '.join(sorted(makers))}: more than one program wrote the file")
    found += [f"{name} in versions {' and '.join(sorted(held))}" for name, held in versions.items() if len(held) > 1]
    return Examined("signs of more than one program", "; ".join(found) or None, TRACE)


def _dates(tags: Iterable[tuple[str, str, str]]) -> Examined:
    """All dates, and whether they lie more than a day apart: time zones cannot explain more."""
    known = {}
    for place, name, value in tags:
        if _DATE_TAGS.search(name) and (moment := _moment(value)):
            known[f"{name} ({place}) {_quoted(value)}"] = moment
    if not known:
        return Examined("dates in the metadata", None)
    apart = (max(known.values()) - min(known.values())).days
    told = "; ".join(known)
    if apart > 1:
        return Examined("dates in the metadata", f"{told}. They disagree by {apart:,} days", TRACE)
    return Examined("dates in the metadata", told)


def _moment(value: str) -> datetime | None:
    found = _DATE.search(value)
    if not found:
        return None
    try:
        return datetime(*(int(number or 0) for number in found.groups()), tzinfo=UTC)
    except ValueError:
        return None


def _joined(structure: Structure, container: Container | None) -> Examined:
    what = "signs of joined files"
    if structure.chained > 1:
        return Examined(what, f"{structure.chained} logical streams in one Ogg file, as after joining files", TRACE)
    names = [part.name for part in structure.parts]
    repeated = sorted({name for name in ("data", "fmt", "moov", "ftyp") if names.count(name) > 1})
    if repeated:
        return Examined(what, f"more than one of {', '.join(repeated)}, as after joining files", TRACE)
    return Examined(what, None)


def _behind(structure: Structure) -> Examined:
    found = f"{structure.trailing:,} bytes behind the end that the container states" if structure.trailing else None
    return Examined("data behind the end of the container", found, TRACE)


def _other_streams(container: Container | None) -> Examined:
    others = [kind for kind in (container.streams if container else ()) if kind != "audio"]
    more = (container.streams.count("audio") - 1) if container else 0
    told = [*others, *(["audio that was not examined"] * more)]
    return Examined("other streams in the file", ", ".join(told) or None)


def _credentials(structure: Structure) -> Examined:
    """C2PA manifests are detected and not verified: nobody's signature was checked."""
    what = "content credentials (C2PA)"
    remote = re.search(r"dcterms:provenance(?:=\"|>)([^\"<]+)", structure.xmp or "")
    if structure.credentials is None:
        told = f"none in the file; its XMP names a manifest elsewhere: {_quoted(remote[1])}" if remote else None
        return Examined(what, told)
    names = sorted(set(_claim_generators(structure.credentials)))
    by = f", made by {', '.join(_quoted(name) for name in names)}" if names else ""
    return Examined(what, f"a manifest store is in the file{by}; its signature was not verified")


def _claim_generators(store: bytes) -> Iterator[str]:
    """Values of the CBOR keys claim_generator and, in claim_generator_info, name: text strings (RFC 8949)."""
    for key in re.finditer(rb"claim_generator(?!_)|claim_generator_info.{0,8}?\x64name", store, re.DOTALL):
        kind = store[key.end() : key.end() + 2]
        if len(kind) == 2 and 0x60 <= kind[0] <= 0x77:
            start, length = key.end() + 1, kind[0] - 0x60
        elif len(kind) == 2 and kind[0] == 0x78:
            start, length = key.end() + 2, kind[1]
        else:
            continue
        yield store[start : start + length].decode("utf-8", "replace")


def _marks(tags: Iterable[tuple[str, str, str]], structure: Structure) -> Examined:
    """Names of generators and words for synthesis in metadata and manifests; never in the sound itself."""
    found = [
        f"{name} in {tag} ({place})" for place, tag, value in tags for name in _named((*_MARKS, *_GENERATORS), value)
    ]
    if structure.credentials is not None:
        text = "\n".join((structure.credentials.decode("latin-1"), *_short_texts(structure.credentials)))
        found += [f"{name} in the content credentials" for name in _named((*_MARKS, *_GENERATORS), text)]
    return Examined("marks of synthesis in the metadata", "; ".join(dict.fromkeys(found)) or None, TRACE)


def _short_texts(store: bytes) -> Iterator[str]:
    """What may be CBOR texts of up to 23 bytes: the byte before them is their length, and often looks like a letter."""
    for start in range(1, len(store)):
        text = store[start : start + store[start - 1] - 0x60] if 0x63 <= store[start - 1] <= 0x77 else b""
        if text.isascii() and text.decode("ascii").isprintable():
            yield text.decode("ascii")


def _named(names: Iterable[str], text: str) -> list[str]:
    """The names that stand in a text as words; a longer one hides those within it."""
    found = [name for name in names if re.search(rf"(?<![A-Za-z]){re.escape(name)}(?![a-z])", text, re.I)]
    return [name for name in found if not any(name != other and name.lower() in other.lower() for other in found)]


def _quoted(value: str) -> str:
    """One line of printable characters, cut where it is long."""
    text = "".join(c if c.isprintable() else " " for c in value).strip()
    return text if len(text) <= _QUOTED else text[: _QUOTED - 1] + "…"
