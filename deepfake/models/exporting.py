"""A detector written as an ONNX or OpenVINO file, with its preprocessing contract, and compared with PyTorch."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.errors import UserError
from deepfake.hub import first_line
from deepfake.models import graph
from deepfake.models.checkpoint import Checkpoint
from deepfake.models.choices import EXPORTED
from deepfake.models.contract import Probe, check_contract, contract, probe_speech
from deepfake.models.forward import TorchForward, fuse_head
from deepfake.models.inputs import featurise, has_fixed_length, reads_waveform
from deepfake.models.portable import PortableForward, PortableModel, import_for_export, load_portable
from deepfake.text import write_json

MAX_LOGIT_CHANGE = 1e-3  # of the exported model against PyTorch
# Of models that bring clips to a level in 16-bit steps themselves: one unit in the level's last place moves a sample or
# two to the next step, here as from one processor to another. It is 0.001 of fake_probability.
MAX_LEVELLED_LOGIT_CHANGE = 4e-3
_PACKAGES = {"onnx": "onnx onnxscript", "openvino": "onnx onnxscript openvino"}


class _WithFrames(nn.Module):
    """Waveforms or features in, (logits, evidence of each frame) out; without a linear head, logits alone."""

    def __init__(self, model: PreTrainedModel, index: int) -> None:
        super().__init__()
        self.model = model
        head = fuse_head(model, index)
        self.additive = head is not None
        if head is not None:
            self.register_buffer("weight", head[0].float())
            self.register_buffer("bias", head[1].float())

    def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        captured: list[torch.Tensor] = []
        if not self.additive:
            return (self.model(values).logits,)
        hook = self.model.projector.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
        logits = self.model(values).logits
        hook.remove()
        return logits, captured[0] @ self.weight + self.bias


def export(checkpoint: Checkpoint, backend: str, folder: Path) -> float:
    """Write the model, its config, feature extractor and contract.json to `folder`.

    An ONNX file for the model's own folder is a graph that reads the weights which are there, and the rest of the
    folder stays as it is.

    Returns:
        the largest difference of a logit to PyTorch, over clips of several lengths.

    Raises:
        UserError: a package is missing, the folder cannot be written, or the result does not agree with PyTorch.
    """
    for package in _PACKAGES[backend].split():
        import_for_export(package)
    extractor, index = checkpoint.extractor, checkpoint.fake_index
    own_s = getattr(extractor, "window_s", None)
    if own_s is not None and checkpoint.window_s > own_s:
        raise UserError(
            f"an exported {type(checkpoint.model).__name__} takes one window of {own_s:g} s at a time, but window_s in "
            f"the checkpoint's config.json is {checkpoint.window_s:g}; set detector.window_s there to {own_s:g}"
        )
    probe = Probe(checkpoint, probe_speech())
    one_clip = getattr(checkpoint.model.config, "one_clip_at_a_time", False)
    clips = [_clips_within_a_window(probe)[0]] * (1 if one_clip else 2)
    example = featurise(extractor, clips)[extractor.model_input_names[0]]
    batch, samples = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("samples", min=8000, max=10_000_000)
    fixed = has_fixed_length(extractor) or not reads_waveform(checkpoint.model.config)
    shape = ({} if one_clip else {0: batch}) | ({} if fixed else {1: samples})
    with torch.no_grad(), _quiet_torch():
        program = _exported(_WithFrames(checkpoint.model, index).eval(), example, shape)
    if backend == "onnx" and (folder / graph.WEIGHTS).is_file() and folder.samefile(checkpoint.name):
        _write_beside_weights(program, folder)
        return _small_enough(_compare(checkpoint, load_portable(str(folder), backend).model, probe), checkpoint, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        program.save(folder / EXPORTED["onnx"])
        if backend == "openvino":
            _to_openvino(folder)
        checkpoint.model.config.save_pretrained(folder)
        extractor.save_pretrained(folder)
        facts = contract(probe, check_contract(probe))
        if one_clip:
            facts["input"] |= {"attention_mask": False, "padding": "none", "batching": "one clip at a time"}
        write_json(folder / "contract.json", facts | {"backend": backend})
    except OSError as error:
        raise UserError(f"cannot write {folder} ({error.strerror or error})") from error
    return _small_enough(_compare(checkpoint, load_portable(str(folder), backend).model, probe), checkpoint, folder)


def _small_enough(change: float, checkpoint: Checkpoint, folder: Path) -> float:
    levels_input = getattr(checkpoint.model.config, "levels_input", False)
    if not change <= (MAX_LEVELLED_LOGIT_CHANGE if levels_input else MAX_LOGIT_CHANGE):
        raise UserError(f"the model exported to {folder} differs from PyTorch by {change:.2g} on logits; do not use it")
    return change


def _write_beside_weights(program: torch.onnx.ONNXProgram, folder: Path) -> None:
    place = folder / EXPORTED["onnx"]
    unfinished = place.with_name(f"{place.name}.tmp")
    try:
        program.save(unfinished)
        graph.take_weights_out(unfinished, folder)
        unfinished.replace(place)
    except OSError as error:
        raise UserError(f"cannot write {place} ({error.strerror or error})") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _exported(model: _WithFrames, example: torch.Tensor, shape: dict[int, object]) -> torch.onnx.ONNXProgram:
    try:
        return torch.onnx.export(model, (example,), dynamo=True, dynamic_shapes=(shape,), verbose=False)
    except (RuntimeError, ValueError, TypeError) as error:  # what is not one fixed sequence of operations
        raise UserError(
            f"a {type(model.model).__name__} cannot be exported ({first_line(error.__cause__ or error)}); score with "
            "--backend torch"
        ) from error


def _to_openvino(folder: Path) -> None:
    """Turn the ONNX file in a folder into OpenVINO's."""
    openvino = import_for_export("openvino")
    openvino.save_model(openvino.convert_model(folder / EXPORTED["onnx"]), folder / EXPORTED["openvino"], False)
    for leftover in folder.glob(f"{EXPORTED['onnx']}*"):
        leftover.unlink()


@contextmanager
def _quiet_torch() -> Iterator[None]:
    """Without the exporter's notes about packages it can do without, and the graph it prints where it fails."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _compare(checkpoint: Checkpoint, model: PortableModel, probe: Probe) -> float:
    exact = TorchForward(checkpoint.model, checkpoint.extractor, checkpoint.fake_index, None)
    ported = PortableForward(model, checkpoint.extractor, checkpoint.fake_index)
    return max(abs(exact([c])[0].logit - ported([c])[0].logit) for c in _clips_within_a_window(probe))


def _clips_within_a_window(probe: Probe) -> list[np.ndarray]:
    """No longer than what the scorer will ever give the model: some take one window's features at a time."""
    return [clip[: round(probe.checkpoint.window_s * SAMPLING_RATE)] for clip in probe.clips()]
