"""Names of checkpoints and datasets: a folder here, or an id on the Hub, told apart before any waiting."""

from __future__ import annotations

import os
import re
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

from deepfake.errors import UserError
from deepfake.text import one_line

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def check_name(name: str, what: str) -> None:
    """Refuse a name that is neither an existing folder nor written like a Hub id.

    Raises:
        UserError: `what` (e.g. "model") is given as a path that does not exist.
    """
    if not os.path.exists(name) and not _HUB_ID.fullmatch(name):
        raise UserError(f"there is no {what} at {name}; expected an existing folder or a Hub id such as org/name")


def cache_only() -> bool:
    """True when the Hub cannot be reached from here, so that only what is cached can be loaded.

    The Hub client itself would try for half a minute before it said so.
    """
    if constants.is_offline_mode():
        return True
    host = urlsplit(constants.ENDPOINT).hostname
    proxies = getproxies()
    if host is None or proxies.get("https") or proxies.get("all"):
        return False  # a proxy resolves names for us
    try:
        socket.create_connection((host, 443), timeout=5).close()
    except OSError:
        return True
    return False


def first_line(error: Exception, length: int = 160) -> str:
    """The first sentence of a library's error message, on one line, for quoting inside our own."""
    return re.split(r"(?<=[.!])\s", one_line(error, 1000))[0][:length].rstrip(".")


def offline_hint(name: str) -> str:
    """Why `name` may be missing, as the end of a sentence."""
    return "" if os.path.exists(name) else ", and the Hub cannot be reached from here" if cache_only() else ""
