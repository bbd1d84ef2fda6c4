"""`python -m model_card DIR`: build the card of a checkpoint again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_prep.errors import run_command
from model_card.build import write_card


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m model_card",
        description="Write DIR/README.md, the model card, from the results.json that a training run left in DIR.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="output folder of train_wav2vec2.py")
    arguments = parser.parse_args()
    return run_command(lambda: print(write_card(arguments.folder)))


if __name__ == "__main__":
    sys.exit(main())
