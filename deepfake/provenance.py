"""Which recordings of a built dataset belong together, by what its report.json remembers of their corpora."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from deepfake.errors import UserError


@dataclass(frozen=True)
class Provenance:
    """Names and groups of the recordings of a dataset, both by the value of its column `source`.

    `groups` holds what a corpus calls group_id: one speaker, one voice, or the utterance that a vocoder copied.
    """

    names: dict[str, str]
    groups: dict[str, str]

    def group(self, source: str) -> str:
        """The group of a recording; its own source where its corpus knows none."""
        return self.groups.get(source, source)

    def matching(self, pattern: str) -> set[str]:
        """Sources of the recordings whose name matches `pattern` (as in a shell, e.g. "*/long/*")."""
        return {source for source, name in self.names.items() if fnmatchcase(name, pattern)}

    def related(self, pattern: str) -> set[str]:
        """As `matching`, and every recording that shares a group with one of those."""
        found = self.matching(pattern)
        groups = {self.groups[source] for source in found if source in self.groups}
        return found | {source for source, group in self.groups.items() if group in groups}


def read_provenance(dataset: Path) -> Provenance:
    """Read `dataset`/report.json.

    Raises:
        UserError: there is none, or it was written by an older build.
    """
    path = dataset / "report.json"
    try:
        recordings = json.loads(path.read_text(encoding="utf-8"))["recordings"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{dataset} has no usable report.json; expected a folder written by `python -m data_prep build`"
        ) from error
    known = [entry for entry in recordings if entry["source"]]
    if known and not any("made_from" in entry for entry in known):
        raise UserError(f"{path} does not say which recordings belong together; build the dataset again")
    return Provenance(
        {entry["source"]: entry["name"] for entry in known},
        {entry["source"]: entry["made_from"] for entry in known if entry.get("made_from")},
    )
