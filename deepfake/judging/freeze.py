"""frozen.json: the test, the checkpoint and the threshold, hashed before the test is touched, and whether they held."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.errors import UserError
from deepfake.judging.codec import FORMAT, from_json, read_document, to_json
from deepfake.judging.record import Threshold
from deepfake.text import write_json

if TYPE_CHECKING:
    from datasets import Dataset

# What decides a score; a card or a report beside them may be written later.
CHECKPOINT_FILES = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.onnx", "*.npz", "*.py", "*config.json")
_BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class Frozen:
    """What was fixed, and when by the clock of whoever fixed it; only a date that others keep proves it.

    Attributes:
        test: name of the labels file or dataset. test_sha256: of the file, or of a split's audio and labels.
        checkpoint: name of the folder or file; None where nobody but its owner has it. checkpoint_sha256: of its files.
        threshold: in the unit of the scores; None where the checkpoint's own is kept, whose config is hashed.
        frozen_at: UTC, ISO 8601.
    """

    test: str
    test_sha256: str
    split: str
    checkpoint: str | None
    checkpoint_sha256: str | None
    threshold: float | None
    frozen_at: str


@dataclass(frozen=True)
class Registration:
    """Whether what was judged is what was frozen; None for what could not be checked.

    Attributes:
        scored_later: the scores were made after the freeze.
    """

    frozen_at: str
    test: bool
    checkpoint: bool | None
    threshold: bool | None
    scored_later: bool | None

    @property
    def held(self) -> bool:
        """Nothing that could be checked differs."""
        return False not in (self.test, self.checkpoint, self.threshold, self.scored_later)

    def __str__(self) -> str:
        """One sentence for a reader."""
        if self.held:
            known = [name for name in ("checkpoint", "threshold") if getattr(self, name) is not None]
            same = " and ".join(["test", *known])
            return f"Frozen on {self.frozen_at}, before the test was judged; held since: {same}."
        parts = (
            ("test", "the test is another"), ("checkpoint", "the checkpoint is another"),
            ("threshold", "the threshold is another"), ("scored_later", "the scores are older than the freeze"),
        )  # fmt: skip
        broken = ", ".join(said for name, said in parts if getattr(self, name) is False)
        return f"Frozen on {self.frozen_at}, but {broken}."


def freeze_now(test: str, test_sha256: str, split: str, checkpoint: Path | None, threshold: float | None) -> Frozen:
    """What is fixed from now on. Raises UserError as `hash_of_checkpoint`."""
    return Frozen(
        test=test,
        test_sha256=test_sha256,
        split=split,
        checkpoint=None if checkpoint is None else checkpoint.resolve().name,
        checkpoint_sha256=None if checkpoint is None else hash_of_checkpoint(checkpoint),
        threshold=threshold,
        frozen_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def registration(
    frozen: Frozen,
    test_sha256: str,
    threshold: Threshold,
    checkpoint: Path | None = None,
    scored_at: float | None = None,
) -> Registration:
    """Hold what is judged against what was frozen.

    Args:
        checkpoint: folder or file of the judged detector; None where only its scores are known.
        scored_at: seconds since the epoch at which the scores were written; None where they are made now.
    """
    same = None
    if checkpoint is not None and frozen.checkpoint_sha256 is not None and checkpoint.exists():
        same = hash_of_checkpoint(checkpoint) == frozen.checkpoint_sha256
    later = scored_at is None or scored_at >= datetime.fromisoformat(frozen.frozen_at).timestamp()
    return Registration(
        frozen_at=frozen.frozen_at,
        test=test_sha256 == frozen.test_sha256,
        checkpoint=same,
        threshold=None if frozen.threshold is None else abs(threshold.value - frozen.threshold) <= 1e-9,
        scored_later=later,
    )


def hash_of_file(path: Path) -> str:
    """sha256 of a file's bytes. Raises UserError when it cannot be read."""
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error})") from error
    return found.hexdigest()


def hash_of_checkpoint(path: Path) -> str:
    """sha256 of a file, or of the names and contents of a folder's weights, code and configs.

    Raises:
        UserError: no such file, or a folder without any of these.
    """
    if path.is_file():
        return hash_of_file(path)
    files = sorted({file for pattern in CHECKPOINT_FILES for file in path.glob(pattern)})
    if not files:
        raise UserError(f"{path} holds no weights and no config; expected the folder or the file of a checkpoint")
    lines = "".join(f"{hash_of_file(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def hash_of_split(rows: Dataset) -> str:
    """sha256 of the audio bytes (or, where these are not held, paths) and labels of a split, in its order."""
    found = hashlib.sha256()
    for row in rows:
        audio = row["audio"]
        told = audio["bytes"] if audio.get("bytes") is not None else str(audio["path"]).encode()
        found.update(hashlib.sha256(told).digest())
        found.update(str(row["label"]).encode() + b"\n")
    return found.hexdigest()


def write_frozen(path: Path, found: Frozen) -> None:
    """Write frozen.json. Raises UserError where it is there already: a second freeze would undo the first."""
    if path.exists():
        raise UserError(f"{path} is there already, and freezing again would undo it; give another name to --output")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"format": FORMAT} | to_json(found))


def read_frozen(path: Path) -> Frozen:
    """Read frozen.json. Raises UserError when there is none or it cannot be read."""
    return read_document(path, "what python -m evaluation freeze wrote", dict, _frozen_of)


def _frozen_of(values: dict[str, Any]) -> Frozen:
    return from_json(Frozen, values)
