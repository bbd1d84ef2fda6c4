"""A file's bytes, read once: its hash, its chunks or boxes, and what is written between them."""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deepfake.scoring.case.record import Part

_BLOCK = 1 << 22
_MOST_PARTS = 400
# A JUMBF superbox whose description box has the type of C2PA's manifest store (C2PA specification, section 11).
_STORE = re.compile(rb"jumb.{4}jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71", re.DOTALL)
_STORE_BYTES, _XMP_BYTES = 1 << 20, 1 << 16
_OVERLAP = 64


@dataclass(frozen=True)
class Structure:
    """What the bytes of a file show without decoding.

    Attributes:
        parts: chunks of RIFF, AIFF, boxes of MP4, blocks of FLAC; empty for others.
        trailing: bytes behind the end that the container states; 0 where it states none.
        chained: logical streams of an Ogg file; 0 for others.
        credentials: the first megabyte of a C2PA manifest store; None where there is none.
        xmp: an XMP packet, at most 64 KiB of it; None where there is none.
        lame: what an MP3 encoder wrote into the first frame, such as "LAME3.100".
    """

    size: int
    sha256: str
    parts: tuple[Part, ...] = ()
    trailing: int = 0
    chained: int = 0
    credentials: bytes | None = None
    xmp: str | None = None
    lame: str | None = None


def read_structure(path: Path) -> Structure:
    """Read a whole file, in blocks. Raises OSError."""
    with path.open("rb") as file:
        size, digest, store, xmp, streams = _scan(file)
        parts, trailing = _parts(file, size)
        credentials = None if store is None else _at(file, store, _STORE_BYTES)
        packet = None if xmp is None else _at(file, xmp, _XMP_BYTES)
        file.seek(0)
        written = re.search(
            rb"(?:Xing|Info)[\s\S]{116,160}?((?:LAME|Lavc|Lavf|GOGO|BladeEnc)[\x20-\x7e]{2,16})", file.read(_XMP_BYTES)
        )
    if packet is not None:
        packet = packet.partition(b"</x:xmpmeta>")[0]
    return Structure(
        size, digest, parts, trailing, streams, credentials,
        None if packet is None else packet.decode("utf-8", "replace"),
        None if written is None else written[1].decode("ascii").strip(),
    )  # fmt: skip


def _scan(file: BinaryIO) -> tuple[int, str, int | None, int | None, int]:
    """Size, hash, and where a manifest store and an XMP packet begin; and the logical streams of an Ogg file."""
    digest, before, place = hashlib.sha256(), b"", 0
    store = xmp = None
    streams: set[bytes] = set()
    is_ogg = False
    while block := file.read(_BLOCK):
        digest.update(block)
        is_ogg = is_ogg or (place == 0 and block.startswith(b"OggS"))
        joined, start = before + block, place - len(before)
        if store is None and (found := _STORE.search(joined)):
            store = start + found.start() - 4  # the length stands before the name
        if xmp is None and (at := joined.find(b"<x:xmpmeta")) >= 0:
            xmp = start + at
        if is_ogg:  # a page: "OggS", version, type with bit 2 for the first of a stream, position, serial number
            streams |= {found[1] for found in re.finditer(rb"OggS\x00[\x02\x06].{8}(.{4})", joined, re.DOTALL)}
        before, place = joined[-_OVERLAP:], place + len(block)
    return place, digest.hexdigest(), store, xmp, len(streams)


def _parts(file: BinaryIO, size: int) -> tuple[tuple[Part, ...], int]:
    file.seek(0)
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return _chunks(file, size, "<")
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return _chunks(file, size, ">")
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide"):
        return _boxes(file, size), 0
    if head[:4] == b"fLaC":
        return _blocks(file, size), 0
    return (), 0


def _chunks(file: BinaryIO, size: int, order: str) -> tuple[tuple[Part, ...], int]:
    """Of RIFF and AIFF: four letters and a length, padded to even lengths."""
    file.seek(4)
    (stated,) = struct.unpack(order + "I", file.read(4))
    found, at = [], 12
    while at + 8 <= size and len(found) < _MOST_PARTS:
        name, length = struct.unpack(order + "4sI", _at(file, at, 8))
        if not re.fullmatch(rb"[\x20-\x7e]{4}", name):
            break
        found.append(Part(name.decode("ascii").strip(), length))
        at += 8 + length + length % 2
    unknown = stated in (0, 0xFFFFFFFF)  # written to a pipe, or larger than 4 GiB
    return tuple(found), 0 if unknown else max(0, size - (stated + 8 + stated % 2))


def _boxes(file: BinaryIO, size: int) -> tuple[Part, ...]:
    """Of MP4: a length, four letters; length 1 stands for one of 64 bits behind them, 0 for the rest of the file."""
    found, at = [], 0
    while at + 8 <= size and len(found) < _MOST_PARTS:
        length, name = struct.unpack(">I4s", _at(file, at, 8))
        if length == 1:
            (length,) = struct.unpack(">Q", _at(file, at + 8, 8).ljust(8, b"\0"))
        length = size - at if length == 0 else length
        if length < 8 or not re.fullmatch(rb"[\x20-\x7e\xa9]{4}", name):
            break
        found.append(Part(name.decode("latin-1"), length))
        at += length
    return tuple(found)


_FLAC_BLOCKS = ("STREAMINFO", "PADDING", "APPLICATION", "SEEKTABLE", "VORBIS_COMMENT", "CUESHEET", "PICTURE")


def _blocks(file: BinaryIO, size: int) -> tuple[Part, ...]:
    """Of FLAC: a byte with the kind, and in its highest bit whether it is the last; a length of 24 bits."""
    found, at, last = [], 4, False
    while not last and at + 4 <= size and len(found) < _MOST_PARTS:
        head = _at(file, at, 4)
        last, kind, length = bool(head[0] & 0x80), head[0] & 0x7F, int.from_bytes(head[1:], "big")
        found.append(Part(_FLAC_BLOCKS[kind] if kind < len(_FLAC_BLOCKS) else f"block {kind}", length))
        at += 4 + length
    return tuple(found)


def _at(file: BinaryIO, place: int, length: int) -> bytes:
    file.seek(max(0, place))
    return file.read(length)
