"""A trained checkpoint, loaded only if scores from it can mean something: weights, a trained head, named classes.

PyTorch and transformers are imported where they load one: a graph that onnxruntime runs needs neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.errors import UserError
from deepfake.hub import cache_only, check_name, first_line, offline_hint
from deepfake.labels import fake_index
from deepfake.models.choices import EXPORTED
from deepfake.shipped import shipped

if TYPE_CHECKING:
    from transformers import FeatureExtractionMixin, PreTrainedConfig, PreTrainedModel

DEFAULT_MODEL = shipped("checkpoints/compact")


def default_model() -> str:
    """The detector that comes with the project, used where no model is named.

    Raises:
        UserError: this installation lacks it.
    """
    if not (DEFAULT_MODEL / "config.json").is_file():
        raise UserError("no model was named, and this installation lacks checkpoints/compact; give --model")
    return str(DEFAULT_MODEL)


@dataclass(frozen=True)
class PortableModel:
    """Stands in for the transformers model of a `Checkpoint`.

    Attributes:
        config: of the model; where it was read without transformers, the plain values of its config.json.
        folder: with the exported file, or with a graph and weights.
        backend: onnx or openvino.
        any_lengths: windows of different lengths may be given at once, as they are taken one by one.
        fixed_length: every window is brought to one length.
        frame_stride: samples from one frame of evidence to the next; None when unknown.
    """

    config: PreTrainedConfig | SimpleNamespace
    folder: Path
    backend: str
    any_lengths: bool = False
    fixed_length: bool = False
    frame_stride: int | None = None


@dataclass(frozen=True)
class RawSamples:
    """The feature extractor of models that take samples as they are: nothing is changed, nothing padded."""

    sampling_rate: int = SAMPLING_RATE
    model_input_names: tuple[str, ...] = ("input_values",)


@dataclass(frozen=True)
class Checkpoint:
    """What scoring needs. Windows in seconds; `threshold` is None and `stored` empty when the checkpoint holds none."""

    model: PreTrainedModel | PortableModel
    extractor: FeatureExtractionMixin | RawSamples
    fake_index: int
    threshold: float | None
    window_s: float
    hop_s: float
    stored: dict[str, Any] = field(default_factory=dict)  # the config's `detector` entry
    name: str = ""  # the folder or Hub id

    @classmethod
    def of(
        cls,
        model: PreTrainedModel | PortableModel,
        extractor: FeatureExtractionMixin | RawSamples,
        name: str,
        fake_label: str | None,
    ) -> Checkpoint:
        """A loaded model with what its config says of scoring.

        Raises:
            UserError: the names of its classes do not say which one means fake.
        """
        stored = getattr(model.config, "detector", None) or {}
        return cls(
            model=model,
            extractor=extractor,
            fake_index=fake_index(model.config.id2label, fake_label),
            threshold=stored.get("threshold"),
            window_s=float(stored.get("window_s", 13.0)),
            hop_s=float(stored.get("hop_s", 6.5)),
            stored=stored,
            name=name,
        )


def load_checkpoint(name: str, device: str, fake_label: str | None = None, layers: int | None = None) -> Checkpoint:
    """Load a folder or Hub id in float32 and evaluation mode; only its first `layers` encoder layers, when given.

    Raises:
        UserError: not found, no weights, an untrained classifier, unknown class names, not a 16 kHz model, or a device
            that PyTorch cannot use here.
    """
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    from deepfake.architectures import baselines, compact  # noqa: F401 - register their architectures
    from deepfake.models.layers import keep_layers

    torch = _torch_for(device)
    check_name(name, "model")
    offline = cache_only() and not Path(name).is_dir()
    try:
        with _no_bar():
            model, loading = AutoModelForAudioClassification.from_pretrained(
                name, dtype=torch.float32, output_loading_info=True, local_files_only=offline
            )
        extractor = AutoFeatureExtractor.from_pretrained(name, local_files_only=offline)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(_explain(name, error)) from error
    untrained = sorted(loading["missing_keys"])
    if untrained:
        raise UserError(
            f"{name} lacks weights for {', '.join(untrained[:3])}: it would be scored with random numbers there; "
            "give a checkpoint fine-tuned for audio classification"
        )
    if extractor.sampling_rate != SAMPLING_RATE:
        raise UserError(f"{name} expects audio at {extractor.sampling_rate} Hz; only {SAMPLING_RATE} Hz is supported")
    if layers is not None:
        keep_layers(model, layers)
    return Checkpoint.of(model.eval().to(device), extractor, name, fake_label)


def _torch_for(device: str) -> ModuleType:
    """PyTorch, which can use the device."""
    import torch

    try:
        torch.empty(1, device=device)
    except (AssertionError, RuntimeError) as error:  # torch asserts where it was built without the device
        raise UserError(
            f"PyTorch cannot use the device {device} here ({first_line(error)}); expected cpu, or one that this "
            "machine has, e.g. cuda:0"
        ) from error
    return torch


@contextmanager
def _no_bar() -> Iterator[None]:
    """Without the bar that transformers draws while it loads weights, which tears what is printed about scores."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _explain(name: str, error: Exception) -> str:
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            return f"{name} is not a model folder: it has no config.json; expected what train_wav2vec2.py left there"
        for backend, file in EXPORTED.items():
            if (folder / file).is_file():
                return f"{name} holds a model exported as {file}, checked when it was; score with --backend {backend}"
        if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
            return f"{name} holds no weights (no model.safetensors); the training may not have finished"
    return (
        f"cannot load the model {name} ({first_line(error)}); expected a model folder or a Hub id{offline_hint(name)}"
    )
