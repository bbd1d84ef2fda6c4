"""What made a file of scores, kept beside it, so that rows of different detectors or options never meet in one file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.errors import UserError
from deepfake.models.choices import EXPORTED
from deepfake.scoring.outputs import record_path
from deepfake.text import write_json
from deepfake.version import project_version

if TYPE_CHECKING:
    from deepfake.scoring.detector import Detector

_FORMAT = 1  # of the file
_MODEL = ("model", "model_sha256")
# In the order in which a sentence names them, with what they are called there.
_TITLES = {
    "model_sha256": "model", "threshold": "threshold", "real_below": "lower threshold",
    "operating_point": "operating point", "precision": "precision", "layers": "layers", "backend": "backend",
    "channels": "channels", "speech_detection": "speech detection",
    "fake_class": "class that means fake", "window_s": "window_s", "hop_s": "hop_s", "version": "version",
}  # fmt: skip


@dataclass(frozen=True)
class Record:
    """Everything that a row of scores depends on besides its recording.

    Attributes:
        version: of the project.
        model: its folder or Hub id, as it was named. The same weights elsewhere are the same model.
        model_sha256: of its weights.
        fake_class: name of the class that means fake.
        window_s, hop_s: how recordings are cut, in seconds.
        threshold, real_below: as probabilities, see `deepfake.scoring.decision.Decision`.
        operating_point: the one asked for; None: the threshold that is stored or was given.
        precision, layers, channels, speech_detection: as in `deepfake.scoring.options.ScoringOptions`.
        backend: what ran the model: torch, onnx or openvino.
    """

    version: str
    model: str
    model_sha256: str
    fake_class: str
    window_s: float
    hop_s: float
    threshold: float
    real_below: float
    operating_point: str | None
    precision: str
    layers: int | None
    backend: str
    channels: str
    speech_detection: str

    @classmethod
    def of(cls, detector: Detector) -> Record:
        """What the rows of this detector depend on. Reads all its weights once."""
        checkpoint, options, decision = detector.checkpoint, detector.options, detector.decision
        return cls(
            version=project_version(),
            model=checkpoint.name,
            model_sha256=weights_sha256(checkpoint.name, getattr(checkpoint.model.config, "_commit_hash", None)),
            fake_class=str(checkpoint.model.config.id2label[checkpoint.fake_index]),
            window_s=checkpoint.window_s,
            hop_s=checkpoint.hop_s,
            threshold=decision.threshold,
            real_below=decision.real_below,
            operating_point=decision.name,
            precision=options.precision,
            layers=options.layers,
            backend=detector.backend,
            channels=options.channels,
            speech_detection=options.speech_detection,
        )

    @classmethod
    def read(cls, rows: Path) -> Record:
        """The record beside a file of rows.

        Raises:
            UserError: there is none, or it is of no use.
        """
        path = record_path(rows)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{field.name: values[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
            raise UserError(
                f"{path}, which says what made {rows.name}, {problem}, so --resume cannot tell whether this run would "
                "go on in the same way; give --overwrite to score anew, or another --output"
            ) from error

    def write(self, rows: Path) -> None:
        """Write it beside a file of rows, in one step."""
        write_json(record_path(rows), {"format": _FORMAT, "rows_of": rows.name, **asdict(self)})

    def require_same(self, rows: Path) -> None:
        """Refuse to add to rows that something else made.

        Raises:
            UserError: the sentence names what differs. Or nothing says what made them.
        """
        before = Record.read(rows)
        different = [name for name in _TITLES if getattr(before, name) != getattr(self, name)]
        if different:
            told = (f"{_TITLES[name]} {before._told(name)}, now {self._told(name)}" for name in different)
            raise UserError(
                f"--resume cannot go on from {rows}, which was made otherwise ({', '.join(told)}); score with what "
                "made it, or give --overwrite or another --output"
            )

    def _told(self, name: str) -> str:
        value: Any = getattr(self, name)
        if name in _MODEL:
            return f"{self.model} (sha256 {self.model_sha256[:8]})"
        return f"{value:.6g}" if isinstance(value, float) else "none" if value is None else str(value)


def weights_sha256(model: str, commit: str | None = None) -> str:
    """The SHA-256 of a checkpoint's weights: of its one file, or of its files in the order of their names.

    Args:
        model: folder, or Hub id.
        commit: of the Hub id, which stands for the weights there.
    """
    folder = Path(model)
    if not folder.is_dir():
        return hashlib.sha256(f"{model}@{commit}".encode()).hexdigest()
    files = sorted({*folder.glob("*.safetensors"), *(folder / file for file in EXPORTED.values())})
    files = [file for file in files if file.is_file()] or sorted(folder.glob("*.bin"))
    digest = hashlib.sha256()
    for file in files:
        for path in (file, *_with_data(file)):
            with path.open("rb") as content:
                while block := content.read(1 << 22):
                    digest.update(block)
    return digest.hexdigest()


def _with_data(file: Path) -> list[Path]:
    """Exported models of either kind may keep their weights in a second file."""
    names = (file.with_name(file.name + ".data"), file.with_suffix(".bin") if file.suffix == ".xml" else None)
    return [path for path in names if path is not None and path.is_file()]
