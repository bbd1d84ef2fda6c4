"""Corpora that are somewhere else: a dataset of the Hub (hub:org/name) or of Kaggle (kaggle:owner/name)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.layouts.base import Reading, Row
from data_prep.layouts.tables import COLUMNS, known, split_of, year_of
from deepfake.audio.files import AUDIO_EXTENSIONS, AudioFile
from deepfake.errors import UserError
from deepfake.hub import cache_only, check_name, first_line, offline_hint
from deepfake.labels import label_of_tokens

if TYPE_CHECKING:
    from datasets import Dataset

HUB, KAGGLE = "hub:", "kaggle:"


def is_remote(name: str) -> bool:
    return name.startswith((HUB, KAGGLE))


def download_kaggle(name: str) -> Path:
    """Download kaggle:owner/name (or find it in kagglehub's cache) and return its folder.

    Raises:
        UserError: kagglehub is not installed, the handle is none, or the download failed.
    """
    handle = name.removeprefix(KAGGLE)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(/versions/\d+)?", handle):
        raise UserError(f"{name} is no Kaggle dataset; expected kaggle:owner/dataset")
    try:
        import kagglehub
    except ImportError as error:
        raise UserError(
            f"{name} needs the package kagglehub, which is not installed; run: pip install kagglehub, or download it "
            "yourself and name its folder"
        ) from error
    try:
        return Path(kagglehub.dataset_download(handle))
    except Exception as error:  # offline, no such dataset, terms not accepted: requests, kagglesdk, OSError
        raise UserError(
            f"{name} could not be downloaded ({first_line(error)}); check the name and the network, or download it "
            f"from https://www.kaggle.com/datasets/{handle} elsewhere and name the unpacked folder"
        ) from error


def read_hub(name: str, folder: Path) -> Reading:
    """Rows of a dataset with audio and label columns, its recordings written as files below `folder`.

    Args:
        name: "hub:" and an id of the Hub, or a local folder that `datasets.load_dataset` reads.
        folder: recordings are put there, unchanged, unless they are there already.

    Raises:
        UserError: not found, offline and not cached, no audio or label column, or labels that name no class.
    """
    from datasets import Audio, DatasetDict, load_dataset

    hub_id = name.removeprefix(HUB)
    check_name(hub_id, "dataset")
    if not Path(hub_id).exists() and cache_only():
        from datasets import config

        config.HF_DATASETS_OFFLINE = True  # fails at once where the client would retry for half a minute
    try:
        splits = load_dataset(hub_id)
    except Exception as error:  # offline, no such dataset, gated, broken files: each layer has its own
        raise UserError(
            f"the dataset {hub_id} could not be loaded ({first_line(error)}{offline_hint(hub_id)}); check the name and "
            "`hf auth login`, or download it where there is a network and name its folder"
        ) from error
    if not isinstance(splits, DatasetDict):
        splits = DatasetDict(train=splits)
    rows = []
    for split, data in splits.items():
        columns = _columns(hub_id, data)
        data = data.cast_column(columns["file_name"], Audio(decode=False))
        # One split called "train" is how the Hub stores a dataset that defines none.
        rows += _rows(hub_id, data, columns, split_of(split) if len(splits) > 1 else None, folder / split)
    return Reading("hub", rows)


def _columns(hub_id: str, data: Dataset) -> dict[str, str]:
    from datasets import Audio

    lowered = {column.lower(): column for column in data.column_names}
    found = {
        ours: lowered[match]
        for ours, names in COLUMNS.items()
        if (match := next((name for name in names if name in lowered), None)) is not None
    }
    audio = [column for column, kind in data.features.items() if isinstance(kind, Audio)]
    if audio:
        found["file_name"] = audio[0]
    if "file_name" not in found or "label" not in found:
        shown = ", ".join(data.column_names)
        raise UserError(
            f"the dataset {hub_id} has the columns {shown}; expected an audio column and a label among them"
        )
    return found


def _rows(hub_id: str, data: Dataset, columns: Mapping[str, str], split: str | None, folder: Path) -> list[Row]:
    names = getattr(data.features[columns["label"]], "names", None)
    corpus = hub_id.rstrip("/").split("/")[-1]
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for index, line in enumerate(data):
        cells = {ours: line[theirs] for ours, theirs in columns.items()}
        told = names[cells["label"]] if names else str(cells["label"])
        classes = label_of_tokens(told)
        if len(classes) != 1:
            raise UserError(
                f"the dataset {hub_id} labels row {index} {told!r}, which does not say real or fake; rename its labels "
                "and push it again, or download it and write a metadata.csv"
            )
        file = _recording(cells.pop("file_name"), folder, index, corpus)
        text = {ours: known(None if value is None else str(value)) for ours, value in cells.items()}
        rows.append(
            Row(
                file,
                next(iter(classes)),
                corpus,
                text.get("speaker"),
                text.get("generator"),
                text.get("language"),
                split_of(text.get("split")) or split,
                text.get("group"),
                text.get("page"),
                text.get("kind"),
                text.get("family"),
                year_of(text.get("year")),
                text.get("licence"),
            )
        )
    return rows


def _recording(audio: dict, folder: Path, index: int, corpus: str) -> AudioFile:
    """The recording as a file: where it lies already, or its bytes written down."""
    extension = Path(audio["path"] or "").suffix.lower()
    if audio["bytes"] is None:
        return AudioFile(Path(audio["path"]), f"{corpus}/{folder.name}/{Path(audio['path']).name}")
    digest = hashlib.sha256(audio["bytes"]).hexdigest()[:8]
    path = folder / f"{index:07d}-{digest}{extension if extension in AUDIO_EXTENSIONS else '.audio'}"
    if not path.exists():
        path.write_bytes(audio["bytes"])
    return AudioFile(path, f"{corpus}/{folder.name}/{path.name}")
