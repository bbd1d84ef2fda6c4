"""`infer.py --check MODEL`: the contract as a table on the screen and a file beside the model."""

from __future__ import annotations

from pathlib import Path

from deepfake.errors import EXIT_SOME_FAILED, UserError
from deepfake.models.checkpoint import load_checkpoint
from deepfake.models.contract import Probe, check_contract, contract, probe_speech
from deepfake.text import write_json


def check_model(name: str, output: Path | None = None, fake_label: str | None = None) -> int:
    """Check a checkpoint, print what was found and write it.

    Args:
        name: model folder or Hub id.
        output: the file to write; default: contract.json in the model's folder, or here for a Hub id.
        fake_label: see `Detector.from_pretrained`.

    Returns:
        0 when every check passed, else 1.

    Raises:
        UserError: the checkpoint cannot be loaded, or the file not be written.
    """
    probe = Probe(load_checkpoint(name, "cpu", fake_label), probe_speech())
    checks = check_contract(probe)
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{'ok  ' if check.passed else 'FAIL'}  {check.name:<{width}}  {check.found}")
    path = output or (Path(name) if Path(name).is_dir() else Path()) / "contract.json"
    try:
        write_json(path, contract(probe, checks))
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}); name another file with --output") from error
    return 0 if all(check.passed for check in checks) else EXIT_SOME_FAILED
