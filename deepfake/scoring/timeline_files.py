"""A recording's timeline as files: JSON, Audacity labels, RTTM and a picture; and a page that shows them all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import numpy as np

from deepfake.errors import UserError
from deepfake.scoring.engine import Result
from deepfake.scoring.result import Score, path_text
from deepfake.scoring.timeline import BIN_S, Segment, Timeline, segments
from deepfake.scoring.timeline_page import TimelinePage
from deepfake.text import fake_probability

_VALUES_A_LINE = 500


class TimelineWriter:
    """Writes `NAME.json`, `NAME.labels.txt`, `NAME.rttm` and `NAME.png` under a folder, and a page of all of them.

    Args:
        folder: created when missing.
        pictures: whether to draw.
        page: name of the page in the folder.
        resume: add to the page that is there.

    Raises:
        UserError: the folder cannot be written to, or matplotlib is missing.
    """

    def __init__(self, folder: Path, pictures: bool = True, page: str = "index.html", resume: bool = False) -> None:
        self.folder = folder
        self._pictures = pictures
        self._taken: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._page = TimelinePage(folder / page, resume)
        except OSError as error:
            raise UserError(f"cannot write --timeline {folder} ({error.strerror or error})") from error
        if pictures:
            try:
                import matplotlib  # noqa: F401
            except ImportError as error:
                raise UserError(
                    "--timeline draws with matplotlib, which is missing; run: pip install matplotlib"
                ) from error

    def write(self, name: str, row: Score, result: Result) -> Path | None:
        """Write the files of one scored recording; one with an error only has its place on the page.

        Args:
            name: a relative path with forward slashes, as `deepfake.audio.files.AudioFile.name`.
            row: the recording's row.
            result: its sums, with a timeline.

        Returns:
            the JSON file.

        Raises:
            UserError: the disk is full, or gone.
        """
        try:
            return self._write(name, row, result)
        except OSError as error:
            raise UserError(
                f"cannot write --timeline {self.folder} any more ({error.strerror or error}); what was scored so far "
                "is kept: make room, and go on with --resume"
            ) from error

    def _write(self, name: str, row: Score, result: Result) -> Path | None:
        name = name if row.channel is None else f"{name}.channel{row.channel}"
        if row.error is not None or result.timeline is None:
            self._page.fail(name, row)
            return None
        stem = self._stem(name)
        stem.parent.mkdir(parents=True, exist_ok=True)
        curve = result.timeline.smooth_logits(result.reading.track.flags)
        found = segments(curve, row.threshold)
        target = _beside(stem, ".json")
        with target.open("w", encoding="utf-8") as file:
            _write_json(file, row, result, curve, found)
        _beside(stem, ".labels.txt").write_text("".join(_labels(found)), encoding="utf-8")
        _beside(stem, ".rttm").write_text("".join(_rttm(found, stem.name)), encoding="utf-8", errors="replace")
        if self._pictures:
            from deepfake.scoring.picture import draw  # matplotlib takes a second to import

            draw(_beside(stem, ".png"), Path(name).name, row, result, curve)
        self._page.add(row, stem, self._pictures, found)
        return target

    def _stem(self, name: str) -> Path:
        """Two recordings never share a file, not even a.wav and a.wav of two folders of one name."""
        candidate, number = name, 1
        while candidate in self._taken:
            number += 1
            candidate = f"{name}.{number}"
        self._taken.add(candidate)
        return self.folder / candidate


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def _write_json(file: TextIO, row: Score, result: Result, curve: np.ndarray, found: list[Segment]) -> None:
    """One object; the long lists in lines, so that ten hours are never one string in memory."""
    timeline: Timeline = result.timeline
    head = {
        "path": path_text(row.path),
        "channel": row.channel,
        "fake_probability": row.fake_probability,
        "logit": result.logit,
        "prediction": row.prediction,
        "threshold": row.threshold,
        "duration_s": row.duration_s,
        "windows": row.windows,
        "bin_s": BIN_S,
        "padding_contribution": timeline.padding,
        "segments": [
            asdict(s) | {"start_s": round(s.start_s, 2), "stop_s": round(s.stop_s, 2)} for s in found
        ],
    }  # fmt: skip
    file.write(json.dumps(head, ensure_ascii=False, indent=1)[:-2])
    bins = len(timeline.contributions)
    _write_list(file, "seconds", np.arange(bins) * BIN_S, "%.2f")
    _write_list(file, "fake_probability_at", fake_probability(curve), "%.6g")
    _write_list(file, "evidence", timeline.logits, "%.9g")
    _write_list(file, "contribution", timeline.contributions, "%.12g")
    file.write("\n}\n")


def _write_list(file: TextIO, name: str, values: np.ndarray, format_: str) -> None:
    file.write(f',\n "{name}": [')
    for start in range(0, len(values), _VALUES_A_LINE):
        part = values[start : start + _VALUES_A_LINE]
        file.write((",\n  " if start else "\n  ") + ", ".join("null" if np.isnan(v) else format_ % v for v in part))
    file.write("]")


def _labels(found: list[Segment]) -> Iterator[str]:
    """Audacity's label track: start, stop (seconds) and text, separated by tabs."""
    for segment in found:
        text = f"{segment.label} {segment.fake_probability:.2f}"
        yield f"{segment.start_s:.6f}\t{segment.stop_s:.6f}\t{text}\n"


def _rttm(found: list[Segment], name: str) -> Iterator[str]:
    """NIST's RTTM: SPEAKER file channel onset duration <NA> <NA> class confidence <NA>; no blanks in a name."""
    identity = re.sub(r"\s", "_", name)
    for s in found:
        confidence = s.fake_probability if s.label == "fake" else 1 - s.fake_probability
        when = f"{s.start_s:.3f} {s.stop_s - s.start_s:.3f}"
        yield f"SPEAKER {identity} 1 {when} <NA> <NA> {s.label} {confidence:.4f} <NA>\n"
