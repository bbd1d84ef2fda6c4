"""Files out of local copies of repositories: git objects read by their id, and nothing of a repository run or obeyed.

Only the folders of objects are used. git is started in an empty repository of ours whose object folder is that of the
copy, so that the copy's own configuration, hooks, attributes and remotes are never read, and nothing can be fetched.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from data_prep.fetch_clip import ListedFile, Reason
from data_prep.fetch_source import BLOCK_BYTES, MAX_FILE_BYTES, Brought, NotBrought, complete_copy, write_copy
from deepfake.errors import UserError

_DEPTH = 3  # OWNER+NAME itself, or a folder in it, or one in that


class MirrorSource:
    """Copies of repositories under `mirror`, at OWNER+NAME/…; files are written into `folder`.

    A copy is a git directory, bare or in a .git, in OWNER+NAME itself or up to two folders below; of several that one
    serves that has the object.

    Raises:
        UserError: `mirror` is no folder, or git is not installed.
    """

    def __init__(self, mirror: Path, folder: Path) -> None:
        if not mirror.is_dir():
            raise UserError(
                f"--mirror {mirror} is no folder; expected one with a folder OWNER+NAME for each repository"
            )
        self._mirror = mirror.resolve()
        self._folder = folder

    def bring(self, files: Iterable[ListedFile]) -> Iterator[Brought]:
        """See `Source.bring`."""
        with tempfile.TemporaryDirectory(prefix="fetch-") as empty:
            _make_empty_repository(empty)
            for page, members in groupby(files, key=lambda file: file.page):
                yield from self._bring_page(page, members, empty)

    def _bring_page(self, page: str, files: Iterable[ListedFile], empty: str) -> Iterator[Brought]:
        folders = object_folders(self._mirror / page.replace("/", "+"))
        with _ObjectReader(folders, empty) as reader:
            for file in files:
                try:
                    if not folders:
                        raise NotBrought(Reason.REPOSITORY, f"no git directory in {page.replace('/', '+')}")
                    held = complete_copy(self._folder, file)
                    yield Brought(file, held or write_copy(self._folder, file, reader.blob(file.blob)))
                except NotBrought as error:
                    yield Brought(file, None, error.problem)


def object_folders(repository: Path) -> list[Path]:
    """The object folders of all git directories in a folder, by name; none when it is not there."""
    found: list[Path] = []
    level = [repository]
    for _ in range(_DEPTH):
        below: list[Path] = []
        for folder in level:
            for place in (folder, folder / ".git"):
                if (place / "objects").is_dir() and (place / "HEAD").is_file():
                    found.append(place / "objects")
                    break
            else:
                below += _subfolders(folder)
        level = below
    return found


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError:
        return []


class _ObjectReader:
    """`git cat-file --batch` over some object folders, started when it is first needed and again after it has died."""

    def __init__(self, folders: list[Path], empty: str) -> None:
        self._environment = _environment(empty, folders)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _ObjectReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def blob(self, blob: str) -> Iterator[bytes]:
        """The content of a blob, in pieces. Whoever does not take them all has ended the process.

        Raises:
            NotBrought: no such object, no blob, too large, or git cannot read it.
        """
        whole = False
        try:
            output = self._ask(blob)
            size = _size(output.readline(), blob)
            while size > 0 and (block := output.read(min(size, BLOCK_BYTES))):
                size -= len(block)
                yield block
            # git ends each object with a line feed; without it the process died on the way.
            if output.read(1) != b"\n":
                raise NotBrought(Reason.SOURCE, "git cannot read the object to its end")
            whole = True
        except BrokenPipeError as error:
            raise NotBrought(Reason.SOURCE, "git ended unexpectedly") from error
        except _Missing as error:
            whole = True
            raise NotBrought(Reason.FILE, "the copy of the repository does not hold the object") from error
        finally:
            if not whole:
                self._end()

    def _ask(self, blob: str) -> BinaryIO:
        if self._process is None:
            self._process = subprocess.Popen(
                ["git", "cat-file", "--batch"],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        self._process.stdin.write(blob.encode() + b"\n")
        self._process.stdin.flush()
        return self._process.stdout

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


class _Missing(Exception):
    """git knows no such object."""


def _size(header: bytes, blob: str) -> int:
    """The length in bytes from the line that git puts before an object."""
    words = header.decode("utf-8", "replace").split()
    if words == [blob, "missing"]:
        raise _Missing
    if not words:
        raise NotBrought(Reason.SOURCE, "git cannot read the object")
    if len(words) != 3 or words[1] != "blob":
        raise NotBrought(Reason.CONTENT, f"the object is a {words[1] if len(words) > 1 else '?'}, expected a blob")
    size = int(words[2])
    if size > MAX_FILE_BYTES:
        raise NotBrought(Reason.TOO_LARGE, f"{size} bytes, more than {MAX_FILE_BYTES // 2**20} MiB")
    return size


def _make_empty_repository(folder: str) -> None:
    try:
        subprocess.run(
            ["git", "init", "--bare", "--quiet", "--template=", folder],
            env=_environment(folder, []),
            check=True,
            capture_output=True,
        )
    except FileNotFoundError as error:
        raise UserError("--mirror needs the program git, which is not installed; install it") from error
    except subprocess.CalledProcessError as error:
        text = error.stderr.decode("utf-8", "replace").strip()
        raise UserError(f"git cannot make a repository in the temporary folder ({text})") from error


def _environment(empty: str, folders: list[Path]) -> Mapping[str, str]:
    """Ours without whatever it says to git, and with what keeps git from reading or running anything else."""
    held = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    held |= {
        "GIT_DIR": empty,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_NO_LAZY_FETCH": "1",  # objects of a partial copy are missing, not to be asked for
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
    }
    if folders:
        held["GIT_OBJECT_DIRECTORY"] = str(folders[0])
        held["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = os.pathsep.join(_quoted(folder) for folder in folders[1:])
    return held


def _quoted(folder: Path) -> str:
    """A path in the list of alternates as git reads it, whatever characters it holds."""
    return '"' + str(folder).replace("\\", "\\\\").replace('"', '\\"') + '"'
