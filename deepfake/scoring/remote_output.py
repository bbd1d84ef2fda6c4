"""Rows on object storage, which cannot be appended to: written here, kept there in pieces while the run goes on.

Beside OUTPUT lie `OUTPUT.partial/RUN-OFFSET-NAME` until it is complete: the bytes from OFFSET on of the file NAME that
the run RUN writes here. The first piece of a run holds all that it kept of earlier ones, so the newest run that has
one counts, and whatever dies between two requests leaves whole rows, each once.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake.audio.remote import RemoteFile, filesystem
from deepfake.errors import UserError
from deepfake.scoring.outputs import record_path
from deepfake.text import one_line

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_EVERY_S = 30.0  # a run that dies has rows of this long to score again
_EVERY_ON_HUB_S = 600.0  # each piece is a commit there
_READ_ONLY = ("http", "https")


def check_remote_output(output: RemoteFile, new: bool) -> None:
    """Refuse a place that cannot be written to, or with `new` one that holds rows of an earlier run.

    Raises:
        UserError: see above, or the place cannot be asked.
    """
    scheme = output.url.partition("://")[0]
    if scheme in _READ_ONLY:
        raise UserError(f"--output {output}: a web server can be read and not written to; name s3://, gs://, hf:// …")
    system, path = _place(output)
    try:
        there = [place for place in (path, _pieces_folder(path)) if system.exists(place)]
    except Exception as error:
        raise UserError(f"--output {output} cannot be asked for ({one_line(error)})") from error
    if new and there:
        raise UserError(
            f"{output} exists already{'' if path in there else ' in part'}; give --resume to go on from it, "
            "--overwrite to replace it, or another --output"
        )


@contextmanager
def working_copy(
    output: Path | RemoteFile | None, resume: bool
) -> Iterator[tuple[Path | None, Callable[[], None] | None]]:
    """Where to write the rows of `output` on this machine, and what to call after each of them.

    For a file on this machine that is the file, and nothing.

    Raises:
        UserError: what lies there cannot be fetched, or the finished rows cannot be brought there.
    """
    if not isinstance(output, RemoteFile):
        yield output, None
        return
    folder = Path(tempfile.mkdtemp(prefix="scores-"))
    staged = _Staged(output, folder)
    try:
        staged.start(resume)
        try:
            yield staged.local, staged.keep_if_due
        except BaseException:
            staged.keep()
            raise
        staged.finish()
    except _NotBroughtError as error:
        raise UserError(
            f"--output {output} cannot be written ({error}); the rows are complete in {staged.local}"
        ) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


class _NotBroughtError(Exception):
    """The finished rows are here and could not be brought to where they belong."""


class _Staged:
    """A folder here, whose files grow, and the pieces of them that lie elsewhere."""

    def __init__(self, output: RemoteFile, folder: Path) -> None:
        self._system, self._path = _place(output)
        self._output = output
        self._folder = folder
        self.local = folder / self._path.rpartition("/")[2]
        self._run = f"{time.time_ns():020d}"
        self._kept: dict[str, int] = {}  # bytes of each file that lie there
        self._every_s = _EVERY_ON_HUB_S if output.url.startswith("hf://") else _EVERY_S
        self._last = time.monotonic()
        self._warned = False

    def start(self, resume: bool) -> None:
        """Fetch what earlier runs left, or remove the pieces of it."""
        try:
            pieces = self._pieces()
            if not resume:
                self._remove(pieces)
                return
            newest = {name: max(run for run, _, of in pieces if of == name) for _, _, name in pieces}
            for run, offset, name in sorted(pieces):
                if run == newest[name]:
                    with (self._folder / name).open("ab") as file:
                        if file.tell() != offset:
                            raise UserError(
                                f"{self._piece(run, offset, name)} follows a piece that is missing; --resume cannot "
                                "go on: give --overwrite to score anew, or another --output"
                            )
                        file.write(self._system.cat_file(self._piece(run, offset, name)))
            if not pieces:
                for there, here in self._finished():
                    if self._system.exists(there):
                        self._system.get_file(there, str(here))
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"--output {self._output} cannot be read ({one_line(error)})") from error

    def keep_if_due(self) -> None:
        """Bring new rows there, where the last ones were brought long enough ago."""
        if time.monotonic() - self._last >= self._every_s:
            self.keep()

    def keep(self) -> None:
        """Bring new rows there. What cannot be brought now is tried again the next time, and is told once."""
        try:
            earlier = self._pieces() if not self._kept else []
            for file in sorted(self._folder.iterdir()):
                size, kept = file.stat().st_size, self._kept.get(file.name, 0)
                if size > kept and file.suffix != ".tmp":
                    self._bring(file, kept, size)
                    self._kept[file.name] = size
            self._remove([piece for piece in earlier if piece[2] in self._kept])
        except Exception as error:
            if not self._warned:
                print(f"warning: rows cannot be kept at {self._output} yet ({one_line(error)})", file=sys.stderr)
            self._warned = True
        self._last = time.monotonic()

    def finish(self) -> None:
        """Bring the complete rows there, and remove the pieces."""
        try:
            for there, here in reversed(self._finished()):
                self._system.put_file(str(here), there)
            self._remove(self._pieces())
        except Exception as error:
            raise _NotBroughtError(one_line(error)) from error

    def _bring(self, file: Path, start: int, stop: int) -> None:
        piece = self._piece(self._run, start, file.name)
        if start == 0:  # everything that earlier runs left may be large
            self._system.put_file(str(file), piece)
            return
        with file.open("rb") as rows:
            rows.seek(start)
            self._system.pipe_file(piece, rows.read(stop - start))

    def _finished(self) -> list[tuple[str, Path]]:
        record = record_path(self.local)
        return [(self._path, self.local), (f"{self._path.rpartition('/')[0]}/{record.name}", record)]

    def _pieces(self) -> list[tuple[str, int, str]]:
        """Run, offset and name of each piece there."""
        folder = _pieces_folder(self._path)
        if not self._system.exists(folder):
            return []
        found = (path.rpartition("/")[2].split("-", 2) for path in self._system.ls(folder, detail=False))
        return [(run, int(offset), name) for run, offset, name in (one for one in found if len(one) == 3)]

    def _piece(self, run: str, offset: int, name: str) -> str:
        return f"{_pieces_folder(self._path)}/{run}-{offset:020d}-{name}"

    def _remove(self, pieces: list[tuple[str, int, str]]) -> None:
        # The oldest last: what is left of a run that lost its later pieces is still the beginning of its rows.
        for piece in sorted(pieces, reverse=True):
            self._system.rm_file(self._piece(*piece))


def _place(output: RemoteFile) -> tuple[AbstractFileSystem, str]:
    system = filesystem(output.url)
    return system, system._strip_protocol(output.url)


def _pieces_folder(path: str) -> str:
    return f"{path}.partial"
