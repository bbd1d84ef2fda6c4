"""One prepared recording on disk: its facts and its chunks as FLAC, so that an interrupted build loses nothing.

Worker processes write parts and therefore import neither torch nor datasets.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.chunks import Chunk, ChunkingOptions
from data_prep.equalise import EqualiseOptions, equalised
from data_prep.fingerprint import Fingerprint
from deepfake.audio.decode import encode_flac
from deepfake.text import replacing

_FORMAT = 4  # raise it when the same recording and options would give a different part
_DECIDING_PACKAGES = (
    "av",
    "numpy",
    "onnxruntime",
    "scipy",
    "silero-vad",
    "soundfile",
    "soxr",
)  # another version may decode otherwise
_COLUMNS = (
    ("start_sample", pa.int64()),
    ("n_samples", pa.int64()),
    ("removed", pa.list_(pa.int64())),  # start, stop, start, stop …
    ("flac", pa.binary()),
)
_ROWS_PER_WRITE = 32  # about 10 MB of FLAC: what a 10-hour recording may hold in memory at a time


@dataclass(frozen=True)
class RecordingFacts:
    """What is known about one file after it was tried. Unknown is None; `error` is None when it could be used.

    `stated_s` is the duration that the container states and `duration_s` what could be decoded; a difference of more
    than `MAX_DURATION_GAP_S` and `MAX_DURATION_GAP_SHARE` is named in `warning`: the file is cut short or has holes.
    `chunk_samples` are the lengths of its chunks at 16 kHz; `losses` are seconds of speech in no chunk, by reason;
    `gap_removed_s` seconds of silence were cut out inside chunks.
    """

    sha256: str | None = None
    container: str | None = None
    codec: str | None = None
    sampling_rate: int | None = None
    channels: int | None = None
    corrupt_packets: int = 0
    stated_s: float | None = None
    duration_s: float | None = None
    warning: str | None = None
    speech_s: float | None = None
    chunk_samples: tuple[int, ...] = ()
    losses: dict[str, float] = field(default_factory=dict)
    gap_removed_s: float = 0.0
    error: str | None = None


@functools.cache  # reading the metadata of a package takes 5 ms, and every recording asks
def package_versions(names: tuple[str, ...] = _DECIDING_PACKAGES) -> dict[str, str | None]:
    """Installed version of each package, None for one that is not installed."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a recording becomes, besides its bytes and the packages."""

    chunking: ChunkingOptions = field(default_factory=ChunkingOptions)
    equalise: EqualiseOptions = field(default_factory=EqualiseOptions)


def part_path(folder: Path, sha256: str, options: Recipe) -> Path:
    """Where the part of a recording lies: decided by its bytes, the options and the packages, not by its name."""
    recipe = json.dumps([_FORMAT, asdict(options), package_versions()], sort_keys=True)
    return folder / sha256[:2] / f"{sha256}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.parquet"


def write_part(
    path: Path,
    facts: RecordingFacts,
    waveform: np.ndarray,
    chunks: tuple[Chunk, ...],
    heard: Fingerprint,
    equalise: EqualiseOptions | None = None,
) -> None:
    """Encode the chunks of `waveform` (float32, 16 kHz mono) into `path`, which appears only once it is complete.

    Args:
        heard: the fingerprint of the whole recording, kept beside the facts.
        equalise: what is done to each chunk before it is encoded; nothing when None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "recording": json.dumps(asdict(facts)).encode(),
        "values": heard.values.astype("<u4").tobytes(),
        "frames": heard.frames.astype("<i4").tobytes(),
    }
    schema = pa.schema(_COLUMNS, metadata={key: base64.b64encode(value) for key, value in metadata.items()})
    # FLAC neither shrinks nor repeats nor is looked up by value: everything that Parquet does for that only costs time.
    with (
        replacing(path) as draft,
        pq.ParquetWriter(draft, schema, compression="none", use_dictionary=False, write_statistics=False) as writer,
    ):
        for first in range(0, len(chunks), _ROWS_PER_WRITE):
            batch = chunks[first : first + _ROWS_PER_WRITE]
            columns = [
                [chunk.start_sample for chunk in batch],
                [chunk.n_samples for chunk in batch],
                [[edge for stretch in chunk.removed for edge in stretch] for chunk in batch],
                [encode_flac(equalised(chunk.cut(waveform), equalise or EqualiseOptions())) for chunk in batch],
            ]
            arrays = [pa.array(column, kind) for column, (_, kind) in zip(columns, _COLUMNS, strict=True)]
            writer.write_table(pa.table(arrays, schema=schema))


def read_facts(path: Path) -> RecordingFacts:
    """The facts of a part, without reading its audio."""
    facts = json.loads(base64.b64decode(pq.read_schema(path).metadata[b"recording"]))
    return RecordingFacts(**facts | {"chunk_samples": tuple(facts["chunk_samples"])})


def read_fingerprint(path: Path) -> Fingerprint:
    """The fingerprint of a part, without reading its audio."""
    held = pq.read_schema(path).metadata
    values, frames = (base64.b64decode(held[key]) for key in (b"values", b"frames"))
    return Fingerprint(np.frombuffer(values, "<u4"), np.frombuffer(frames, "<i4"))


def read_chunks(path: Path) -> Iterator[tuple[Chunk, bytes]]:
    """The chunks of a part in order, each with its FLAC bytes, a few at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS_PER_WRITE):
            for row in batch.to_pylist():
                edges = row["removed"]
                removed = tuple(zip(edges[::2], edges[1::2], strict=True))
                yield Chunk(row["start_sample"], row["n_samples"], removed), row["flac"]
