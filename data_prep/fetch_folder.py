"""The folder that a fetch writes: clips, their table, a report, and the journal that lets a killed fetch go on."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from data_prep.fetch_clip import ListedClip
from data_prep.fetch_cut import ClipFacts, Treatment, clip_path
from deepfake.errors import UserError
from deepfake.text import replacing, write_json

METADATA_NAME, REPORT_NAME = "metadata.csv", "fetch_report.json"
_CLIPS = "clips"
_JOURNAL = ".fetched.jsonl"  # hidden, or `build` would take it for a table of labels
_FORMAT = 1
_COLUMNS = (
    "file_name", "label", "kind", "generator", "family", "year", "speaker", "language", "group_id", "page", "licence",
    "commit", "path", "blob", "start_s", "end_s", "duration_s", "published_dbfs",
)  # fmt: skip


class FetchFolder:
    """What was fetched into `path` so far, and the place for more.

    Attributes:
        done: facts of the clips that are there, by clip id.
        runs: package versions of each call that added to it, the last one being this.

    Raises:
        UserError: `path` holds other files, or clips that were treated in another way.
    """

    def __init__(self, path: Path, treatment: Treatment, versions: Mapping[str, str | None]) -> None:
        self.path = path
        self.done: dict[str, ClipFacts] = {}
        self.runs: list[Mapping[str, str | None]] = []
        self._journal = path / _JOURNAL
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file, expected a folder to fetch into; name another --output")
        if path.exists() and any(path.iterdir()) and not self._journal.exists():
            raise UserError(f"{path} holds other files; name a new or empty folder as --output")
        lines = _json_lines(self._journal)
        if lines and lines[0] != _header(treatment):
            raise UserError(
                f"{path} holds clips that were fetched with {_shown(lines[0])}, asked for was "
                f"{_shown(_header(treatment))}; ask for the same, or name another --output"
            )
        for line in lines[1:]:
            if "versions" in line:
                self.runs.append(line["versions"])
            else:
                facts = ClipFacts(**line)
                if clip_path(self.clips, facts.clip_id).is_file():
                    self.done[facts.clip_id] = facts
        self.work.mkdir(parents=True, exist_ok=True)
        self._end_last_line()
        if not lines:
            self._append(_header(treatment))
        if dict(versions) not in self.runs:
            self._append({"versions": dict(versions)})
            self.runs.append(dict(versions))

    @property
    def clips(self) -> Path:
        return self.path / _CLIPS

    @property
    def work(self) -> Path:
        """Where files lie until their clips are cut."""
        return self.path / ".fetching"

    def add(self, facts: ClipFacts) -> None:
        """Remember a clip whose file is written."""
        self._append(asdict(facts))
        self.done[facts.clip_id] = facts

    def strangers(self, clips: Sequence[ListedClip]) -> int:
        """How many clips are there that `clips` does not name."""
        return len(self.done.keys() - {clip.clip_id for clip in clips})

    def finish(self, clips: Sequence[ListedClip], report: Mapping) -> None:
        """Write metadata.csv (the clips that are there, in the order of `clips`) and the report; tidy up."""
        path = self.path / METADATA_NAME
        with replacing(path, self.work) as draft, draft.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(self._row(clip) for clip in clips if clip.clip_id in self.done)
        write_json(self.path / REPORT_NAME, report)
        shutil.rmtree(self.work, ignore_errors=True)

    def _row(self, clip: ListedClip) -> dict:
        facts = self.done[clip.clip_id]
        told = {name: getattr(clip, name) for name in _COLUMNS if hasattr(clip, name)}
        return told | {
            "file_name": clip_path(Path(_CLIPS), clip.clip_id).as_posix(),
            "start_s": round(facts.start_s, 7),
            "end_s": round(facts.end_s, 7),
            "duration_s": round(facts.end_s - facts.start_s, 7),
            "published_dbfs": round(facts.published_dbfs, 2),
        }

    def _append(self, line: Mapping) -> None:
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _end_last_line(self) -> None:
        """A kill can leave half a line; the next one must not be glued to it."""
        if self._journal.exists() and not self._journal.read_bytes().endswith(b"\n"):
            with self._journal.open("a", encoding="utf-8") as file:
                file.write("\n")


def _header(treatment: Treatment) -> dict:
    return {"format": _FORMAT, "treatment": asdict(treatment)}


def _shown(header: Mapping) -> str:
    return ", ".join(f"{name} {value}" for name, value in (header.get("treatment") or header).items())


def _json_lines(path: Path) -> list[dict]:
    """The whole lines of a journal; none when there is no file."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # cut off by a kill; its clip is fetched again
    return found
