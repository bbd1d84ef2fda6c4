"""`python -m model_card DIR`: build the card of a detector or a dataset again."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from deepfake.errors import UserError, run_command
from deepfake.pages.dataset_card import dataset_card
from deepfake.text import write_text
from deepfake.version import add_version
from model_card.build import write_card


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m model_card",
        description="Write DIR/README.md: the model card, from the results.json that a training run left in DIR and "
        "from report.json and stress.json in DIR, DIR/report or DIR/stress where python -m evaluation wrote "
        "them; or the dataset card, "
        "where DIR holds a dataset of python -m data_prep.",
    )
    add_version(parser)
    parser.add_argument("folder", metavar="DIR", type=Path, help="a detector's or a dataset's folder")
    arguments = parser.parse_args()
    return run_command(lambda: print(write(arguments.folder)))


def write(folder: Path) -> Path:
    """Write the card that the folder's content calls for."""
    if not (folder / "dataset_dict.json").is_file():
        return write_card(folder)
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} has no readable report.json; expected what `python -m data_prep build` left"
        ) from error
    write_text(folder / "README.md", dataset_card(report))
    return folder / "README.md"


if __name__ == "__main__":
    sys.exit(main())
