"""What a user named on the command line, as one list of labelled recordings."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from tqdm import tqdm

from data_prep.layouts import AUTO, FOLDERS, Reading, Row, Tree, read_tree
from data_prep.layouts.base import EXAMPLES
from data_prep.layouts.remote import HUB, KAGGLE, download_kaggle, is_remote, read_hub
from data_prep.layouts.subfolders import AUTO as SUBFOLDERS_AUTO
from data_prep.layouts.subfolders import Understood, parse_subfolders, with_subfolders
from deepfake.audio.files import AudioFile, find_audio_files
from deepfake.errors import UserError
from deepfake.labels import LABELS


@dataclass
class Inputs:
    """Everything found under the inputs.

    Attributes:
        rows: recordings in the order of the inputs, each once.
        skipped: files that are no audio by their extension.
        unreadable_folders: "path (reason)".
        readings: what report.json says about each input.
        understood: how the folders below real/ and fake/ were read, by input and label.
    """

    rows: list[Row] = field(default_factory=list)
    skipped: int = 0
    unreadable_folders: list[str] = field(default_factory=list)
    readings: list[dict] = field(default_factory=list)
    understood: list[tuple[str, Understood]] = field(default_factory=list)


def read_inputs(
    inputs: Sequence[str | Path], layout: str, downloads: Path, subfolders: Sequence[str] = (SUBFOLDERS_AUTO,)
) -> Inputs:
    """Find and label the recordings under each input; each input is one corpus with its own layout.

    Args:
        inputs: files, folders, hub:org/name or kaggle:owner/name.
        layout: one of `LAYOUT_NAMES`; "hub" takes every input as a dataset of the Hub.
        downloads: folder for recordings that come out of a table of the Hub.
        subfolders: what the folders below real/ and fake/ name, see `parse_subfolders`; for recordings that only
            their folders label.

    Raises:
        UserError: subfolders that are not understood, an input that is missing or holds no recording, or labels that
            are missing or contradictory.
    """
    given = parse_subfolders(subfolders)
    named = [_with_scheme(str(name), layout) for name in inputs]
    local = [name for name in named if not is_remote(name)]
    if local or not named:
        find_audio_files(local)  # a missing input is told before any waiting
    found = Inputs()
    seen: set[Path] = set()
    loose = [name for name in local if not Path(name).is_dir()]  # files named one by one are one corpus
    for name in [name for name in named if name not in loose]:
        _read_one(found, [name], layout, downloads, seen)
    if loose:
        _read_one(found, loose, layout, downloads, seen)
    if not found.rows:
        places = ", ".join(map(str, inputs))
        raise UserError(
            f"no audio file found in {places} ({found.skipped} other files passed over); name a folder of them"
        )
    _understand_subfolders(found, given)
    counts = Counter(row.label for row in found.rows)
    missing = [label for label in LABELS if not counts[label]]
    if missing:
        raise UserError(
            f"all {len(found.rows)} recordings are {found.rows[0].label}; a detector needs {missing[0]} ones as well: "
            f"name a folder that has them under {missing[0]}/"
        )
    return found


def sample_per_class(rows: Sequence[Row], count: int | None, seed: int) -> list[Row]:
    """`count` recordings of each class at random, in their old order; all of a class that has fewer, and for None."""
    if count is None:
        return list(rows)
    generator = random.Random(seed)
    chosen: set[int] = set()
    for label in LABELS:
        held = [index for index, row in enumerate(rows) if row.label == label]
        chosen.update(generator.sample(held, min(count, len(held))))
    return [row for index, row in enumerate(rows) if index in chosen]


def _with_scheme(name: str, layout: str) -> str:
    return HUB + name if layout == "hub" and not is_remote(name) else name


def _read_one(found: Inputs, names: list[str], layout: str, downloads: Path, seen: set[Path]) -> None:
    name = names[0]
    if name.startswith(HUB):
        _take(found, name, read_hub(name, downloads), seen)
        return
    if name.startswith(KAGGLE):
        names = [str(download_kaggle(name))]
    search = find_audio_files(names)
    files: list[AudioFile] = list(tqdm(search, desc="finding", unit=" recordings", leave=False, delay=1))
    found.skipped += search.skipped
    found.unreadable_folders += search.unreadable_folders
    files = [file for file in files if file.path not in seen]
    if files:
        # Of loose files each has its own first folder; what they are called as a whole is never used.
        tree = Tree(files[0].name.split("/")[0], files, search.tables)
        shown = name if is_remote(name) else tree.name
        _take(found, shown, read_tree(tree, AUTO if layout == "hub" else layout), seen)


def _take(found: Inputs, name: str, reading: Reading, seen: set[Path]) -> None:
    rows = [row for row in reading.rows if row.file.path not in seen]
    seen.update(row.file.path for row in rows)
    found.rows += rows
    found.readings.append(
        {
            "input": name,
            "layout": reading.layout,
            "recordings": len(rows),
            "unlisted": len(reading.unlisted),
            "unlisted_examples": reading.unlisted[:EXAMPLES],
            "listed_but_absent": len(reading.absent),
            "absent_examples": reading.absent[:EXAMPLES],
        }
    )


def _understand_subfolders(found: Inputs, given: Mapping[str, str | tuple[str, ...]]) -> None:
    """Take speakers and generators from the folders of those inputs that nothing else describes."""
    starts = list(accumulate((reading["recordings"] for reading in found.readings), initial=0))
    plain = [index for index, reading in enumerate(found.readings) if reading["layout"] == FOLDERS]
    known = {row.speaker for row in found.rows if row.speaker}
    corpora = [found.rows[starts[index] : starts[index + 1]] for index in plain]
    for index, (rows, understood) in zip(plain, with_subfolders(corpora, given, known), strict=True):
        found.rows[starts[index] : starts[index + 1]] = rows
        reading = found.readings[index]
        reading["subfolders"] = {label: how.to_dict() for label, how in understood.items()}
        found.understood += [(reading["input"], how) for how in understood.values()]
