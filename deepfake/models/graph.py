"""A model's graph beside its weights: a small ONNX file whose weights are read from the folder's model.safetensors.

onnxruntime loads in a tenth of the time that PyTorch and transformers need, so that a verdict on one recording need not
wait for them. The weights are stored once: the graph names their places in the safetensors file.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfake.models.choices import EXPORTED

if TYPE_CHECKING:
    import onnx

WEIGHTS = "model.safetensors"
_LAYOUT = "sha256_of_the_weights_header"  # metadata of the graph: the places it names are those of this header
_STORED = {"F16": "float16", "F32": "float32"}


@dataclass(frozen=True)
class _Tensor:
    """Where a safetensors file holds a tensor, in bytes from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    def read(self, path: Path) -> np.ndarray:
        count = int(np.prod(self.shape, dtype=np.int64))
        return np.fromfile(path, _STORED[self.dtype], count, offset=self.start).reshape(self.shape)


def has_graph(folder: Path) -> bool:
    """Whether a model folder holds a graph, or an exported model, beside its weights. Looks at no more than names."""
    return (folder / EXPORTED["onnx"]).is_file() and (folder / WEIGHTS).is_file()


def fits(metadata: dict[str, str], folder: Path) -> bool:
    """Whether the weights in `folder` lie where an ONNX file with this metadata expects them; one that holds its
    weights itself always fits."""
    layout = metadata.get(_LAYOUT)
    try:
        return layout is None or layout == _layout_of(folder / WEIGHTS)
    except (OSError, struct.error):
        return False


def parameters_in(folder: Path) -> int:
    """How many numbers the weights of a folder are."""
    return sum(int(np.prod(tensor.shape, dtype=np.int64)) for tensor in _tensors(folder / WEIGHTS))


def take_weights_out(path: Path, folder: Path) -> None:
    """Let an ONNX file read from `folder` what it shares with the weights there.

    Weights are recognised by their values, also transposed. What is computed from others stays in the file.

    Args:
        path: of the ONNX file, in float32, which is written anew.
        folder: where the file will stand, with its model.safetensors.
    """
    import onnx
    from onnx import helper

    model = onnx.load(path)
    weights = folder / WEIGHTS
    stored = _by_value(weights)
    kept, casts = [], []
    for initializer in model.graph.initializer:
        value = onnx.numpy_helper.to_array(initializer)
        tensor, turned = stored.get(_digest(value), (None, False)) if value.dtype == np.float32 else (None, False)
        if tensor is None:
            kept.append(initializer)
            continue
        outside, widened = f"{initializer.name}.stored", initializer.name if not turned else f"{initializer.name}.wide"
        kept.append(_outside(outside, tensor))
        casts.append(helper.make_node("Cast", [outside], [widened], to=onnx.TensorProto.FLOAT))
        if turned:
            casts.append(helper.make_node("Transpose", [widened], [initializer.name], perm=[1, 0]))
    nodes = list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:], model.graph.value_info[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(casts + nodes)
    for node in model.graph.node:  # where in the exporting machine's Python each of them came from
        node.doc_string = ""
        del node.metadata_props[:]
    helper.set_model_props(model, {_LAYOUT: _layout_of(weights)})
    path.write_bytes(model.SerializeToString())


def _outside(name: str, tensor: _Tensor) -> onnx.TensorProto:
    import onnx

    proto = onnx.TensorProto(name=name, dims=tensor.shape, data_location=onnx.TensorProto.EXTERNAL)
    proto.data_type = onnx.TensorProto.FLOAT16 if tensor.dtype == "F16" else onnx.TensorProto.FLOAT
    for key, value in (("location", WEIGHTS), ("offset", tensor.start), ("length", tensor.stop - tensor.start)):
        proto.external_data.add(key=key, value=str(value))
    return proto


def _by_value(weights: Path) -> dict[bytes, tuple[_Tensor, bool]]:
    """Tensors by the digest of their float32 values, and whether these are transposed."""
    found: dict[bytes, tuple[_Tensor, bool]] = {}
    for tensor in _tensors(weights):
        if tensor.dtype not in _STORED or tensor.shape == ():
            continue
        value = tensor.read(weights).astype(np.float32)
        if value.ndim == 2:
            found.setdefault(_digest(np.ascontiguousarray(value.T)), (tensor, True))
        found[_digest(value)] = (tensor, False)
    return found


def _digest(value: np.ndarray) -> bytes:
    return hashlib.sha256(repr(value.shape).encode() + np.ascontiguousarray(value).tobytes()).digest()


def _tensors(weights: Path) -> list[_Tensor]:
    header = _header(weights)
    base = 8 + len(header)
    return [
        _Tensor(name, one["dtype"], tuple(one["shape"]), base + one["data_offsets"][0], base + one["data_offsets"][1])
        for name, one in json.loads(header).items()
        if name != "__metadata__"
    ]


def _layout_of(weights: Path) -> str:
    return hashlib.sha256(_header(weights)).hexdigest()


def _header(weights: Path) -> bytes:
    """The description of the tensors at the start of a safetensors file."""
    with weights.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return file.read(min(length, 100_000_000))  # the limit that safetensors itself sets
