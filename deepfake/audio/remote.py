"""Recordings on object storage, on the Hub and on web servers: found and fetched one at a time, when asked for by URL.

Only a `RemoteFile` is ever fetched. A string is always a name on this machine, so that nothing which takes names from
somebody else, such as a table of a dataset or the page, can be made to fetch.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urlsplit

from deepfake.errors import UserError
from deepfake.text import one_line

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# What each scheme needs besides fsspec, and what installs it.
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub", "http": "aiohttp",
    "https": "aiohttp", "abfs": "adlfs", "az": "adlfs",
}  # fmt: skip
_WEB = ("http", "https")  # no folders, no listing but what a page links to, nothing can be written
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://")
_PAUSES_S = (0.2, 1.0)  # before a second and a third try
_COMMAND_S = 30  # to be connected


class FetchError(Exception):
    """A remote file that cannot be had; the message says why in a few words."""


@dataclass(frozen=True)
class RemoteFile:
    """A file by its URL, such as s3://bucket/calls/a.wav. `str` of it is the URL."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def report_name(self) -> str:
        """Its folder and its own name, as for a file that is named by itself."""
        return "/".join(_path_parts(self.url)[-2:])

    def open(self) -> BinaryIO:
        """The whole file, in a temporary one that is gone once it is closed; FFmpeg seeks in it as it likes.

        A file that breaks off is tried three times in all.

        Raises:
            FetchError: it is not there, may not be read, or breaks off each time.
        """
        handle, name = tempfile.mkstemp(suffix=_extension(self.report_name)[:16], prefix="fetched-")
        os.close(handle)
        try:
            _fetch(self.url, name)
            return _open_once(name)
        except BaseException:
            os.unlink(name)
            raise


def is_url(text: str) -> bool:
    """Whether this names a file elsewhere: `scheme://`, with a scheme that is known here."""
    found = _URL.match(text)
    return found is not None and found[1] in _PACKAGES


def filesystem(url: str) -> AbstractFileSystem:
    """fsspec's way to where a URL lies. Keys, endpoints and the like come from where each service looks for them, such
    as AWS_PROFILE and AWS_ENDPOINT_URL, and from fsspec's own variables, such as FSSPEC_S3_ANON.

    Raises:
        UserError: a package is missing, or the service cannot be set up.
    """
    return _filesystem(_URL.match(url)[1])


@cache
def _filesystem(scheme: str) -> AbstractFileSystem:
    import fsspec

    options = {"use_listings_cache": False}
    try:
        if scheme in _WEB:
            import aiohttp

            # aiohttp itself would give up a file after five minutes, however well it is coming in.
            limits = aiohttp.ClientTimeout(total=None, sock_connect=_COMMAND_S, sock_read=2 * _COMMAND_S)
            options["client_kwargs"] = {"timeout": limits, "trust_env": True}
        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        raise UserError(
            f"{scheme}:// needs the package {_PACKAGES[scheme]}; run: pip install '.[remote]' (adlfs by itself)"
        ) from error
    except Exception as error:  # each service has its own way to say that a key is missing
        raise UserError(f"{scheme}:// cannot be used ({one_line(error)})") from error


def find_remote_files(url: str, extensions: frozenset[str]) -> Iterator[tuple[RemoteFile, str]]:
    """The recordings that a URL names, lazily, each with the name it is reported under.

    A URL is a file; or a folder (a prefix, or for a web server an address that ends in "/" and whose page links to
    files), searched with all below it, files before subfolders, by name; or, with a "*", a pattern. A folder is listed
    whole, one at a time.

    Args:
        extensions: of the files that are taken from folders and patterns, in lower case with the dot.

    Raises:
        UserError: nothing is there, or it may not be listed (raised by this call).
    """
    system, scheme = filesystem(url), _URL.match(url)[1]
    path = system._strip_protocol(url)
    try:
        if "*" in url:
            paths = sorted(name for name in system.glob(path) if _extension(name) in extensions)
            if not paths:
                raise UserError(f"no audio file matches {url}; check the pattern")
            return iter([_named(scheme, name) for name in paths])
        if scheme in _WEB and not url.endswith("/"):
            return iter([_named(scheme, url)])
        if scheme not in _WEB and system.info(path)["type"] != "directory":
            return iter([_named(scheme, path)])
        folders = system.walk(path, detail=False, on_error="raise")
        first = next(folders, None)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{url} does not exist; name a recording, or a folder that holds some") from error
    except Exception as error:
        raise UserError(f"{url} cannot be listed ({one_line(error)})") from error
    return _walked(url, scheme, path, first, folders, extensions)


def _walked(
    url: str,
    scheme: str,
    path: str,
    first: tuple[str, list[str], list[str]] | None,
    folders: Iterator[tuple[str, list[str], list[str]]],
    extensions: frozenset[str],
) -> Iterator[tuple[RemoteFile, str]]:
    depth = len(_path_parts(path)) - 1  # of the folder itself, whose name begins the names of its files
    while first is not None:
        folder, subfolders, names = first
        # A web server's page may link anywhere; what is not below the folder is not in it.
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and _extension(name) in extensions:
                whole = f"{folder.rstrip('/')}/{name}"
                yield _named(scheme, whole, len(_path_parts(whole)) - depth)
        try:
            first = next(folders, None)
        except Exception as error:
            raise UserError(
                f"{url} could only be listed in part ({one_line(error)}); what was scored is kept, go on with --resume"
            ) from error


def _named(scheme: str, path: str, parts: int = 2) -> tuple[RemoteFile, str]:
    """The file at a path of a file system, and the last `parts` of its path as its name."""
    url = path if _URL.match(path) else f"{scheme}://{path}"
    return RemoteFile(url), "/".join(_path_parts(url)[-parts:])


def _path_parts(url: str) -> list[str]:
    """Bucket (or host) and folders and file of a URL, without a query."""
    scheme, separator, rest = url.rpartition("://")
    if scheme in _WEB:
        parsed = urlsplit(url)
        rest = f"{parsed.netloc}{unquote(parsed.path)}"
    return [part for part in rest.split("/") if part] or [url]


def _extension(name: str) -> str:
    return os.path.splitext(name.rpartition("/")[2])[1].lower()


def _fetch(url: str, place: str) -> None:
    for pause_s in (*_PAUSES_S, None):
        try:
            system = filesystem(url)
            system.get_file(system._strip_protocol(url), place)
        except UserError as error:
            raise FetchError(f"cannot be fetched ({error})") from error
        except FileNotFoundError as error:
            raise FetchError("cannot be fetched (not there)") from error
        except Exception as error:  # each service has its own way to say that a connection broke
            if pause_s is None or isinstance(error, PermissionError):
                raise FetchError(f"cannot be fetched ({one_line(error)})") from error
            time.sleep(pause_s)
        else:
            return


def _open_once(name: str) -> BinaryIO:
    """Open a temporary file so that nothing of it is left, whatever becomes of this process."""
    temporary = getattr(os, "O_TEMPORARY", 0)  # Windows removes such a file when it is closed
    file = open(name, "rb", opener=lambda path, flags: os.open(path, flags | temporary))  # noqa: SIM115
    if not temporary:
        os.unlink(name)
    return file
