"""Which version this is, for `--version` of every command and for what people write into a report."""

from __future__ import annotations

import argparse
import platform
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DISTRIBUTION = "speech-deepfake-detection"
_DECIDING = ("torch", "transformers", "numpy")  # another version of these may move a score in its last digits


def project_version() -> str:
    """Of the clone that this file lies in, or else of the installed package; "unknown" where neither says."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "pyproject.toml").is_file():
            project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
            if project.get("name") == DISTRIBUTION:
                return str(project["version"])
    return _installed(DISTRIBUTION) or "unknown"


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add `--version`, which prints one line on stdout and ends with 0."""
    parser.add_argument("--version", action=_Version)


class _Version(argparse.Action):
    """Unlike argparse's own action it looks the versions up only when asked, and does not wrap the line."""

    def __init__(self, option_strings: list[str], dest: str, **_: object) -> None:
        super().__init__(
            option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help="print it and exit"
        )

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        found = ", ".join(f"{name} {_installed(name) or 'missing'}" for name in _DECIDING)
        print(f"{DISTRIBUTION} {project_version()} (Python {platform.python_version()}, {found})")
        parser.exit()


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
