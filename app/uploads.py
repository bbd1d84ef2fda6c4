"""Files of clients: each under a name of its own that nobody can guess, in a folder that only this process may read."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_NAME_LENGTH = 200


@dataclass(frozen=True)
class Upload:
    """A client's file: the `name` to report it under, and where it lies here. The two have nothing in common."""

    name: str
    path: Path


class UploadFolder:
    """The temporary folder of one server. It is readable by its user alone and removed when the server ends."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="deepfake-app-")
        self.path = Path(self._folder.name)

    def keep(self, file: BinaryIO | bytes, name: str | None) -> Upload:
        """Copy a file in. The client's name is never part of a path.

        Raises:
            OSError: the disk is full.
        """
        path = self.path / secrets.token_hex(16)
        with path.open("xb") as target:
            if isinstance(file, bytes):
                target.write(file)
            else:
                shutil.copyfileobj(file, target, 1 << 20)
        return Upload(display_name(name), path)

    @staticmethod
    def drop(uploads: list[Upload]) -> None:
        for upload in uploads:
            upload.path.unlink(missing_ok=True)

    def close(self) -> None:
        self._folder.cleanup()


def display_name(name: str | None) -> str:
    """The last part of a client's file name, without control characters, at most 200 characters."""
    last = re.split(r"[/\\]", name or "")[-1]
    text = "".join(c for c in last if c.isprintable()).strip()[:_NAME_LENGTH]
    return text or "recording"
