"""What `python -m evaluation freeze` does: hashes before the test is touched, which the report is held against."""

from __future__ import annotations

from pathlib import Path

from deepfake.dataset import read_splits
from deepfake.errors import UserError
from deepfake.judging.freeze import freeze_now, hash_of_file, hash_of_split, write_frozen
from evaluation.options import FreezeOptions


def freeze(arguments: FreezeOptions) -> int:
    """Write frozen.json and say what it holds."""
    test = Path(arguments.test)
    if test.is_file():
        digest = hash_of_file(test)
    else:
        splits = read_splits(arguments.test)
        if arguments.split not in splits:
            raise UserError(f"{arguments.test} has no split {arguments.split}; it has {', '.join(splits)}")
        digest = hash_of_split(splits[arguments.split])
    name = test.resolve().name if test.exists() else arguments.test
    found = freeze_now(name, digest, arguments.split, arguments.checkpoint, arguments.threshold)
    write_frozen(arguments.output, found)
    print(f"test        {found.test_sha256}  {found.test}")
    print(f"checkpoint  {found.checkpoint_sha256 or 'not given'}  {found.checkpoint or ''}".rstrip())
    print(f"threshold   {'that of the checkpoint' if found.threshold is None else found.threshold}")
    print(f"frozen      {found.frozen_at}  {arguments.output}")
    return 0
