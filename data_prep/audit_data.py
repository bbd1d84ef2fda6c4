"""A finished dataset as the arrays an audit works on: what each clip measures, where it comes from, who speaks."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from tqdm import tqdm

from data_prep.advice import Built
from data_prep.fingerprint import Fingerprint, fingerprint
from data_prep.writing import REPORT_NAME
from deepfake.audio.decode import AudioError, load_audio
from deepfake.audio.measures import Measures, measure
from deepfake.errors import UserError
from deepfake.groups import connected_groups
from deepfake.hub import cache_only, check_name, first_line, offline_hint
from deepfake.labels import LABELS, label_of_tokens

MEASURES = tuple(column.name for column in fields(Measures))
ORIGINALS = ("container", "codec", "sampling_rate", "channels")


@dataclass(frozen=True)
class Clips:
    """Every clip that could be decoded, as parallel sequences.

    Attributes:
        split, label, source, speaker, corpus: by name; None where the dataset does not say.
        measures: float64 of shape (clips, len(MEASURES)).
        originals: of each clip's recording, by `ORIGINALS`, from report.json; None where there is none.
        prints: fingerprints.
        undecodable, passed_over: clips that are not in any of these, the latter because of `max_clips`.
        built: what report.json says of the dataset's build.
    """

    split: list[str]
    label: list[str]
    source: list[str | None]
    speaker: list[str | None]
    corpus: list[str | None]
    measures: np.ndarray
    originals: list[tuple | None]
    prints: list[Fingerprint]
    undecodable: int = 0
    passed_over: int = 0
    built: Built = field(default_factory=Built)

    def __len__(self) -> int:
        return len(self.label)

    @property
    def groups(self) -> list[int]:
        """What is not independent: clips of one source or one speaker."""
        told = zip(self.source, self.speaker, strict=True)
        keys = [[("s", source) if source else None, ("p", speaker) if speaker else None] for source, speaker in told]
        return connected_groups(keys)


def load_splits(name: str) -> DatasetDict:
    """A dataset on disk or of the Hub.

    Raises:
        UserError: there is none, or it has no audio and label columns.
    """
    folder = Path(name)
    check_name(name, "dataset")
    try:
        if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
            loaded = load_from_disk(name)
        else:
            if not folder.exists() and cache_only():
                from datasets import config

                config.HF_DATASETS_OFFLINE = True
            loaded = load_dataset(name)
    except Exception as error:  # missing, broken, offline: each layer has its own exception
        raise UserError(
            f"the dataset {name} could not be loaded ({first_line(error)}{offline_hint(name)}); expected a folder "
            "written by data_prep build, or the id of a dataset on the Hub"
        ) from error
    splits = loaded if isinstance(loaded, DatasetDict) else DatasetDict(train=loaded)
    for split, data in splits.items():
        if not {"audio", "label"} <= set(data.column_names):
            columns = ", ".join(data.column_names)
            raise UserError(f"{name} [{split}] has the columns {columns}; expected audio and label among them")
    return splits


def read_clips(name: str, max_clips: int, seed: int = 0) -> Clips:
    """Decode and measure the clips of a dataset, at most `max_clips` of each split, chosen at random.

    Raises:
        UserError: see `load_splits`; labels that do not say which is fake; nothing decodable.
    """
    splits = load_splits(name)
    report = _report(Path(name) / REPORT_NAME)
    originals = _originals(report)
    columns: dict[str, list] = defaultdict(list)
    measured, undecodable, passed_over = [], 0, 0
    for split, data in splits.items():
        rows = _audio_bytes(data)
        if len(rows) > max_clips:
            passed_over += len(rows) - max_clips
            rows = rows.select(sorted(np.random.default_rng(seed).choice(len(rows), max_clips, replace=False)))
        names = getattr(data.features["label"], "names", None)
        for row in tqdm(rows, desc=f"measuring {split}", unit="clip", delay=1):
            try:
                samples = load_audio(row["audio"]["bytes"] or row["audio"]["path"])
            except AudioError:
                undecodable += 1
                continue
            columns["split"].append(split)
            columns["label"].append(_label(names[row["label"]] if names else str(row["label"]), name))
            for column in ("source", "speaker", "corpus"):
                columns[column].append(row.get(column))
            columns["originals"].append(originals.get(row.get("source")))
            columns["prints"].append(fingerprint(samples))
            measured.append(astuple(measure(samples)))
    if not measured:
        raise UserError(f"{name} holds no clip that can be decoded ({undecodable} cannot); expected a dataset of audio")
    return Clips(
        **columns,
        measures=np.array(measured),
        undecodable=undecodable,
        passed_over=passed_over,
        built=Built.of_report(report),
    )


def _audio_bytes(data: Dataset) -> Dataset:
    from datasets import Audio

    return data.cast_column("audio", Audio(decode=False))


def _label(told: str, name: str) -> str:
    classes = label_of_tokens(told)
    if len(classes) != 1:
        raise UserError(f"{name} labels a clip {told!r}, expected {' or '.join(LABELS)}; rename the classes")
    return next(iter(classes))


def _report(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _originals(report: dict) -> dict[str, tuple]:
    """source → what its recording was before preparation."""
    recordings: Sequence[dict] = report.get("recordings", [])
    return {entry["source"]: tuple(str(entry.get(key)) for key in ORIGINALS) for entry in recordings}
