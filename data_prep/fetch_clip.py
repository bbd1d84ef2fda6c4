"""What a list says of a clip and of the file it is cut from, and why one can be missing.

Worker processes use these: reading lists is in `data_prep.fetch_list`, which imports much more.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a listed clip is missing from what was fetched."""

    ROW = "unusable row of the list"
    REPOSITORY = "repository not found"
    FILE = "file not found"
    CONTENT = "other content than listed"
    TOO_LARGE = "file too large"
    SOURCE = "server, network or repository failed"
    AUDIO = "not decodable as audio"
    STRETCH = "file ends before the stretch"
    SILENT = "no sound in the stretch"


@dataclass(frozen=True)
class Problem:
    """One `reason`, and in `detail` what was found, as a few words for the report."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class ListedClip:
    """One row of a list. Unknown is None.

    Attributes:
        line: of the row in the list, 1 is the header.
        page: the repository, owner/name.
        commit: 40 hex digits; the version of the repository that has the file.
        path: of the file inside the repository, with forward slashes.
        blob: 40 hex digits; the git object id of the file's content.
        start_s, end_s: the stretch of the decoded file; an end beyond the file means its end.
        label: "real" or "fake".
        kind: human, tts, vc (voice conversion), codec (resynthesis) or copysyn (copy-synthesis by a vocoder).
        generator: the system; "human" for real.
        family: the coarse architecture of the generator, free text.
        year: in which the page or the system was published.
        group_id: clips of one utterance or one named speaker share it.
        licence: what the repository states, as the first line of its licence file.
    """

    line: int
    page: str
    commit: str
    path: str
    blob: str
    start_s: float
    end_s: float
    label: str
    kind: str | None = None
    generator: str | None = None
    family: str | None = None
    year: int | None = None
    speaker: str | None = None
    language: str | None = None
    group_id: str | None = None
    licence: str | None = None

    @property
    def clip_id(self) -> str:
        """20 hex digits that stand for the content, its place and the stretch, and for nothing else in the row.

        Files are named by it: no text of a list becomes part of a path on this machine.
        """
        return _name_of(self.page, self.path, self.blob, f"{self.start_s:.6f}", f"{self.end_s:.6f}")


@dataclass(frozen=True)
class ListedFile:
    """One file of a repository with all the clips that are cut from it, in the order of the list."""

    page: str
    commit: str
    path: str
    blob: str
    clips: tuple[ListedClip, ...]

    @property
    def file_id(self) -> str:
        """20 hex digits that stand for the place and the content."""
        return _name_of(self.page, self.commit, self.path, self.blob)


def _name_of(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
