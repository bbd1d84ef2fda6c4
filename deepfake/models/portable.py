"""Exported detectors, and graphs beside their weights, run by onnxruntime or OpenVINO.

The detector in the box comes with a graph, and is loaded here without PyTorch or transformers.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.errors import UserError
from deepfake.launch import usable_cores
from deepfake.models import graph
from deepfake.models.checkpoint import Checkpoint, PortableModel, RawSamples
from deepfake.models.choices import CLIP_BY_CLIP, EXPORTED
from deepfake.models.windows import WindowScore

if TYPE_CHECKING:
    from transformers import FeatureExtractionMixin


class MisfitError(UserError):
    """A graph that was made for other weights than those beside it."""


class PortableForward:
    """Runs an exported model with onnxruntime or OpenVINO; batches must be of equal length, as no mask is exported.

    Files that take one clip at a time are given one, by as many threads as there are cores.

    Raises:
        MisfitError: a graph that does not fit the weights beside it.
        UserError: openvino is not installed.
    """

    def __init__(self, model: PortableModel, extractor: FeatureExtractionMixin | RawSamples, index: int) -> None:
        self._extractor = extractor
        self._index = index
        path = model.folder / EXPORTED[model.backend]
        if model.backend == "onnx":
            self._one_clip, self._run = _onnx(path, one_thread=model.any_lengths)
        else:
            compiled = import_for_export("openvino").compile_model(
                str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
            )
            clips = compiled.input(0).partial_shape[0]
            self._one_clip = clips.is_static and clips.get_length() == 1
            self._run = lambda batch: list(compiled([batch]).values())
        self._threads = ThreadPoolExecutor(_threads()) if model.backend == "onnx" and model.any_lengths else None

    def __call__(self, waveforms: Sequence[np.ndarray]) -> list[WindowScore]:
        if self._one_clip and len(waveforms) > 1:
            return self._one_by_one(waveforms)
        logits, *frames = self._run(self._features(waveforms))
        difference = logits[:, self._index].astype(np.float64) - logits[:, 1 - self._index]
        if not frames:
            return [WindowScore(float(value), None) for value in difference]
        return [WindowScore(float(e.mean()), e) for e in frames[0].astype(np.float64)]

    def _one_by_one(self, waveforms: Sequence[np.ndarray]) -> list[WindowScore]:
        apply = map if self._threads is None else self._threads.map
        order = sorted(range(len(waveforms)), key=lambda i: -len(waveforms[i]))  # no core is left alone with a long one
        found = dict(zip(order, apply(lambda i: self([waveforms[i]])[0], order), strict=True))
        return [found[i] for i in range(len(waveforms))]

    def _features(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        if isinstance(self._extractor, RawSamples):
            return np.stack(waveforms).astype(np.float32, copy=False)
        from deepfake.models.inputs import featurise

        return featurise(self._extractor, waveforms)[self._extractor.model_input_names[0]].numpy()


def _onnx(path: Path, one_thread: bool) -> tuple[bool, Callable[[np.ndarray], list[np.ndarray]]]:
    """Whether the file takes one clip at a time, and what runs it.

    A team of threads for the many small operations of one clip mostly waits for its slowest member, so that clips are
    shared among threads that have one core each.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if one_thread else 0
    options.log_severity_level = 3  # errors; the rest is about the graph, which nobody can change here
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=onnxruntime.get_available_providers())
    except Exception as error:  # onnxruntime has a dozen classes of its own, without a common one
        if not graph.has_graph(path.parent):
            raise
        raise MisfitError(f"{path} cannot be read with the weights beside it ({str(error).splitlines()[0]})") from error
    if not graph.fits(session.get_modelmeta().custom_metadata_map, path.parent):
        raise MisfitError(f"{path} was made for other weights than {graph.WEIGHTS} beside it")
    (values,) = session.get_inputs()
    return values.shape[0] == 1, lambda batch: session.run(None, {values.name: batch})


def _threads() -> int:
    """As many as OMP_NUM_THREADS says, or one a core."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) > 0 else usable_cores()


def runs_as_graph(name: str, device: str | None) -> bool:
    """Whether a model comes with a graph of its own that onnxruntime may run in place of PyTorch: on a CPU.

    Args:
        name: folder, or Hub id.
        device: asked for; None: CUDA is preferred where there is any.
    """
    if not graph.has_graph(Path(name)) or _plain_config(Path(name)) is None:
        return False
    return device == "cpu" or (device is None and not _has_cuda())


def _has_cuda() -> bool:
    """What `torch.cuda.is_available()` says, without importing PyTorch where no driver is there to ask."""
    places = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", r"C:\Windows\System32\nvcuda.dll")
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "" or not any(map(os.path.exists, places)):
        return False
    import torch

    return torch.cuda.is_available()


def load_portable(name: str, backend: str, fake_label: str | None = None) -> Checkpoint:
    """An exported model, or a graph with its weights, as a `Checkpoint` that holds no torch weights.

    Raises:
        UserError: the folder holds no such model.
    """
    folder = Path(name)
    if not (folder / EXPORTED[backend]).is_file():
        raise UserError(
            f"{name} has no {EXPORTED[backend]}; make it with: infer.py --model MODEL --export {backend} {name}"
        )
    config = _plain_config(folder)
    if config is not None:
        return Checkpoint.of(PortableModel(config, folder, backend, any_lengths=True), RawSamples(), name, fake_label)
    return Checkpoint.of(*_by_transformers(folder, backend), name, fake_label)


def _plain_config(folder: Path) -> SimpleNamespace | None:
    """The config of a model that levels clips itself and takes them one by one, so that none are prepared for it; None
    for any other."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        extractor = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not (
        config.get("model_type") in CLIP_BY_CLIP
        and extractor.get("feature_extractor_type") == "Wav2Vec2FeatureExtractor"
        and not extractor.get("do_normalize", True)
        and extractor.get("sampling_rate") == SAMPLING_RATE
    ):
        return None
    return SimpleNamespace(**config | {"id2label": {int(index): label for index, label in config["id2label"].items()}})


def _by_transformers(folder: Path, backend: str) -> tuple[PortableModel, FeatureExtractionMixin]:
    from transformers import AutoConfig, AutoFeatureExtractor

    from deepfake.architectures import baselines, compact  # noqa: F401 - register their architectures
    from deepfake.models.inputs import frame_stride, has_fixed_length

    config = AutoConfig.from_pretrained(folder)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    model = PortableModel(
        config, folder, backend, fixed_length=has_fixed_length(extractor), frame_stride=frame_stride(config)
    )
    return model, extractor


def import_for_export(package: str) -> object:
    """The package, or a sentence that says how to install it."""
    try:
        __import__(package)
    except ImportError as error:
        raise UserError(f"exporting needs {package}; run: pip install '.[export]'") from error
    return sys.modules[package]
