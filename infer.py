#!/usr/bin/env python3
"""Score recordings: is this speech human or AI-generated?

python infer.py FOLDER --model OUT --output scores.csv

from infer import Detector
Detector.from_pretrained("OUT").score("call.wav").fake_probability
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from deepfake.errors import run_command
from deepfake.scoring.arguments import parse_arguments

if TYPE_CHECKING:
    from deepfake.scoring.detector import Detector

__all__ = ["Detector", "main"]


def __getattr__(name: str) -> object:
    """`from infer import Detector`, without making the command line wait for PyTorch."""
    if name != "Detector":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deepfake.scoring.detector import Detector

    return Detector


def command() -> int:
    request = parse_arguments()
    # loads PyTorch, which takes seconds: not for --help or a misspelt option
    from deepfake.scoring.command import execute

    return execute(request)


def main() -> int:
    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
