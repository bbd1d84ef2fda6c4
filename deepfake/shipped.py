"""Where a folder that comes with the project lies: beside this package in a clone, inside it once installed."""

from __future__ import annotations

from pathlib import Path


def shipped(path: str) -> Path:
    """Absolute path of a file or folder that comes with the project; it may be missing in a partial copy.

    Args:
        path: as in a clone, e.g. "checkpoints/compact".
    """
    inside = Path(__file__).resolve().parent / path
    return inside if inside.exists() else inside.parents[len(Path(path).parts)] / path
