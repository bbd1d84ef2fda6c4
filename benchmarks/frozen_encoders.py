"""Frozen encoders beside Whisper base, each as what gives the frames of its stages: what a linear head is fitted on.

`other_encoder` tells by what lies at a path which of them it is. All compute in float32, a clip at a time, at the
level that the detector brings clips to.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import librosa
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, WhisperConfig

from deepfake.architectures.compact import CompactConfig, CompactForAudioClassification
from deepfake.architectures.compact.features_compact import levelled
from deepfake.audio.decode import SAMPLING_RATE
from deepfake.errors import UserError
from deepfake.hub import cache_only
from deepfake.models.precision import with_precision
from deepfake.training.stacked.encoder import load_encoder

if TYPE_CHECKING:
    import onnx

KINDS = (
    "a Whisper encoder of any size (folder or Hub id, or the ONNX file of its encoder, quantised or not), "
    "embedding_model.ckpt of SpeechBrain's ECAPA-TDNN, pretrained.pt of Resemblyzer's GE2E, or the ONNX file of "
    "DNSMOS P.808 (model_v8.onnx) or PLCMOS (plcmos_v2.onnx)"
)
_LEVEL = CompactConfig(edge=0)
_HEAD_WIDTH = 64  # of every Whisper


class Stages(Protocol):
    """An encoder as heads on frozen features see it."""

    def stages(self, samples: Tensor) -> Sequence[Tensor]:
        """One clip, shape (samples,) at 16 kHz, as the frames after each stage, each of shape (frames, channels)."""


def other_encoder(path: str) -> Stages:
    """The encoder at a path, of Whisper the convolutions and the lowest third of its layers, two at least.

    Raises:
        UserError: it is none of `KINDS`.
    """
    place = Path(path)
    if place.suffix == ".onnx" and place.is_file():
        return _of_graph(place)
    if place.suffix in (".ckpt", ".pt") and place.is_file():
        weights = _weights(place)
        if "blocks.0.conv.conv.weight" in weights:
            return Ecapa(weights)
        if "lstm.weight_ih_l0" in weights:
            return Ge2e(weights)
    elif not place.is_file():
        return _of_transformers(path)
    raise UserError(f"{path} is of no known encoder; expected {KINDS}")


def _weights(path: Path) -> dict[str, Tensor]:
    found = torch.load(path, map_location="cpu", weights_only=True)
    return found.get("model_state", found)


def _of_transformers(path: str) -> CompactForAudioClassification:
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=cache_only())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is of no known encoder; expected {KINDS}") from error
    if not isinstance(config, WhisperConfig):
        raise UserError(f"{path} is a {config.model_type}; expected {KINDS}")
    model = _empty_whisper(config.d_model, config.encoder_ffn_dim, config.encoder_layers)
    load_encoder(model, path)
    return with_precision(model, "fp32")


def _empty_whisper(width: int, inner: int, layers: int) -> CompactForAudioClassification:
    """Without weights, of as many layers as are taken of a Whisper encoder with so many."""
    taken = max(2, round(layers / 3))
    heads = width // _HEAD_WIDTH
    config = CompactConfig(channels=width, attention_heads=heads, inner_width=inner, layers=taken, edge=0)
    return CompactForAudioClassification(config).eval()


def _of_graph(path: Path) -> Stages:
    import onnx  # of the extra `export`

    graph = onnx.load(str(path)).graph
    inputs = {one.name: one.type.tensor_type.shape.dim[-1].dim_value for one in graph.input}
    if "input_features" in inputs:
        return _whisper_of_graph(graph)
    bands = next(iter(inputs.values()))
    if bands not in QualityNet.FEATURES:
        raise UserError(f"{path} takes {bands} values a frame; expected {KINDS}")
    return QualityNet(path, bands)


def _whisper_of_graph(graph: onnx.GraphProto) -> CompactForAudioClassification:
    """The weights of an exported Whisper encoder; of a quantised one, what its integers stand for.

    The arithmetic is then the same as with published weights: of int8, only the rounding of the weights is left.
    """
    from onnx import numpy_helper

    tensors = {one.name: one for one in graph.initializer}

    def values(name: str) -> np.ndarray:
        if name in tensors:
            return numpy_helper.to_array(tensors[name])
        integers, zero, scale = (
            numpy_helper.to_array(tensors[f"{name}_{part}"]) for part in ("quantized", "zero_point", "scale")
        )
        return (integers.astype(np.float32) - zero.astype(np.float32)) * scale

    state = {name: values(name) for name in tensors if name.endswith((".bias", "norm.weight"))}
    for node in graph.node:
        if node.op_type not in ("MatMul", "MatMulInteger", "Conv", "ConvInteger") or len(node.input) < 2:
            continue
        name = node.input[1].removesuffix("_quantized")
        if name in tensors or f"{name}_quantized" in tensors:  # the products of attention have no weights
            found = values(name)
            module = ".".join(node.name.strip("/").split("/")[:-1])
            state[f"{module}.weight"] = found.T if found.ndim == 2 else found
    inner, width = state["layers.0.fc1.weight"].shape
    layers = len({name.split(".")[1] for name in state if name.startswith("layers.")})
    model = _empty_whisper(width, inner, layers)
    own = model.state_dict()
    taken = [name for name in own if name.startswith(("conv", "layers."))]
    missing = [name for name in taken if name not in state]
    if missing:
        raise UserError(f"no weights are named {missing[0]} in a Whisper graph; expected as transformers names them")
    model.load_state_dict(own | {name: torch.tensor(np.ascontiguousarray(state[name])) for name in taken})
    return with_precision(model, "fp32")


class Ecapa:
    """The convolution and the three SE-Res2Net blocks of ECAPA-TDNN, which its pooling takes together.

    Desplanques, Thienpondt and Demuynck, "ECAPA-TDNN: Emphasized Channel Attention, Propagation and Aggregation in
    TDNN Based Speaker Verification" (2020), with the features and the names of weights of SpeechBrain.
    """

    _SCALE = 8  # parts of the channels that a Res2Net block takes one after the other
    _DILATIONS = 2, 3, 4

    def __init__(self, weights: dict[str, Tensor]) -> None:
        used = ("blocks.",)
        self.weights = {name: values.float() for name, values in weights.items() if name.startswith(used)}
        self.filters = _htk_filters(80, 400)

    def parameters(self) -> list[Tensor]:
        return [values for name, values in self.weights.items() if name.endswith(("weight", "bias"))]

    def stages(self, samples: Tensor) -> list[Tensor]:
        """See `Stages`; frames of 10 ms."""
        power = _power(levelled(samples, _LEVEL), torch.hamming_window(400), 160)
        decibels = 10 * (self.filters @ power).clamp(min=1e-10).log10()
        decibels = torch.maximum(decibels, decibels.max() - 80)
        frames = (decibels - decibels.mean(1, keepdim=True))[None]
        found = [self._tdnn("blocks.0", frames)]
        for number, dilation in enumerate(self._DILATIONS, start=1):
            found.append(found[-1] + self._block(f"blocks.{number}", found[-1], dilation))
        return [one[0].T for one in found]

    def _block(self, name: str, frames: Tensor, dilation: int) -> Tensor:
        parts = list(self._tdnn(f"{name}.tdnn1", frames).chunk(self._SCALE, dim=1))
        for number in range(1, self._SCALE):
            given = parts[number] if number == 1 else parts[number] + parts[number - 1]
            parts[number] = self._tdnn(f"{name}.res2net_block.blocks.{number - 1}", given, dilation)
        frames = self._tdnn(f"{name}.tdnn2", torch.cat(parts, dim=1))
        squeezed = self._conv(f"{name}.se_block.conv1", frames.mean(2, keepdim=True)).relu()
        return frames * self._conv(f"{name}.se_block.conv2", squeezed).sigmoid()

    def _tdnn(self, name: str, frames: Tensor, dilation: int = 1) -> Tensor:
        norm = [self.weights[f"{name}.norm.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(self._conv(f"{name}.conv", frames, dilation).relu(), *norm)

    def _conv(self, name: str, frames: Tensor, dilation: int = 1) -> Tensor:
        kernel, bias = self.weights[f"{name}.conv.weight"], self.weights[f"{name}.conv.bias"]
        reach = dilation * (kernel.shape[2] - 1) // 2
        if reach:
            frames = functional.pad(frames, (reach, reach), mode="reflect")
        return functional.conv1d(frames, kernel, bias, dilation=dilation)


class Ge2e:
    """The three recurrent layers of a GE2E speaker encoder.

    Wan, Wang, Papir and Moreno, "Generalized end-to-end loss for speaker verification" (2018), with the features and
    the names of weights of Resemblyzer: mel power, no logarithm.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        count = sum(name.startswith("lstm.weight_ih") for name in weights)
        self.layers = nn.ModuleList()
        for number in range(count):
            own = {
                f"{part}_l0": weights[f"lstm.{part}_l{number}"]
                for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
            layer = nn.LSTM(own["weight_ih_l0"].shape[1], own["weight_hh_l0"].shape[1], batch_first=True)
            layer.load_state_dict(own)
            self.layers.append(layer.eval())
        bands = self.layers[0].input_size
        self.filters = torch.from_numpy(librosa.filters.mel(sr=SAMPLING_RATE, n_fft=400, n_mels=bands))

    def parameters(self) -> list[Tensor]:
        return list(self.layers.parameters())

    def stages(self, samples: Tensor) -> list[Tensor]:
        """See `Stages`; frames of 10 ms."""
        power = _power(levelled(samples, _LEVEL), torch.hann_window(400), 160)
        frames, found = (self.filters @ power).T[None], []
        for layer in self.layers:
            frames, _ = layer(frames)
            found.append(frames[0])
        return found


class QualityNet:
    """The convolutions of a network that predicts how people would rate a recording, a stage up to each pooling.

    Reddy, Gopal and Cutler, "DNSMOS P.835" (2022), whose P.808 network this is; Diener, Purin, Sootla, Saabas,
    Aichner and Cutler, "PLCMOS" (2023). A frame is all channels of all bands at one time.
    """

    FEATURES = {120: "DNSMOS P.808", 257: "PLCMOS"}  # by values a frame

    def __init__(self, path: Path, bands: int) -> None:
        import onnxruntime

        self.bands = bands
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # a clip a thread
        model, self._parameters = _cut(path, ("MaxPool",))
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.filters = torch.from_numpy(librosa.filters.mel(sr=SAMPLING_RATE, n_fft=321, n_mels=120))

    def parameters(self) -> list[Tensor]:
        return self._parameters

    def stages(self, samples: Tensor) -> list[Tensor]:
        """See `Stages`; frames of 20 ms and more."""
        samples = levelled(samples, _LEVEL)
        frames = (self._mel(samples) if self.bands == 120 else self._spectrum(samples)).T.contiguous().numpy()
        wanted = self.session.get_inputs()[0]
        frames = frames[(None,) * (len(wanted.shape) - 2)]
        found = self.session.run(None, {wanted.name: frames})
        return [torch.from_numpy(one[0]).transpose(0, 1).flatten(1) for one in found]

    def _mel(self, samples: Tensor) -> Tensor:
        power = self.filters @ _power(samples, torch.hann_window(321), 160)
        decibels = 10 * power.clamp(min=1e-10).log10()
        decibels = torch.maximum(decibels - decibels.max(), torch.tensor(-80.0))
        return (decibels + 40) / 40

    @staticmethod
    def _spectrum(samples: Tensor) -> Tensor:
        return _power(samples, torch.hamming_window(512), 256).clamp(min=1e-12).log() / 20


def _cut(path: Path, after: tuple[str, ...]) -> tuple[bytes, list[Tensor]]:
    """An ONNX graph that ends in the outputs of all its operators of some types, and the weights that are left.

    Its first input may have any number of frames.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(path))
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    outputs = [node.output[0] for node in graph.node if node.op_type in after]
    needed, waiting = set(), list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += made[name].input if name in made else []
    first = graph.input[0]
    shape = [one.dim_value or one.dim_param for one in first.type.tensor_type.shape.dim]
    given = helper.make_tensor_value_info(first.name, onnx.TensorProto.FLOAT, [1, *shape[1:-2], "frames", shape[-1]])
    weights = [one for one in graph.initializer if one.name in needed]
    cut = helper.make_graph(
        [node for node in graph.node if needed & set(node.output)],
        graph.name,
        [given],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        weights,
    )
    found = helper.make_model(cut, opset_imports=model.opset_import, ir_version=model.ir_version)
    arrays = [numpy_helper.to_array(one) for one in weights]
    return found.SerializeToString(), [torch.tensor(one) for one in arrays if one.dtype == np.float32]


def _power(samples: Tensor, window: Tensor, hop: int) -> Tensor:
    """Power spectrum of shape (window / 2 + 1, frames), frames centred, silence beyond the edges."""
    spectrum = torch.stft(samples, len(window), hop, window=window, pad_mode="constant", return_complex=True)
    return spectrum.abs().square()


def _htk_filters(bands: int, fft: int) -> Tensor:
    """SpeechBrain's triangles, (bands, fft / 2 + 1): as wide on both sides as the gap below them, unlike librosa's."""
    edges = np.linspace(0, 2595 * np.log10(1 + SAMPLING_RATE / 2 / 700), bands + 2)
    edges = 700 * (10 ** (edges / 2595) - 1)
    frequencies = np.linspace(0, SAMPLING_RATE // 2, fft // 2 + 1)
    slope = (frequencies - edges[1:-1, None]) / np.diff(edges)[:-1, None]
    return torch.tensor(np.maximum(0, np.minimum(1 + slope, 1 - slope)), dtype=torch.float32)


def parameters_of(model: Stages) -> int:
    """How many numbers are multiplied with: of Whisper, without the detector's own pooling and head, unused here."""
    if isinstance(model, CompactForAudioClassification):
        width, inner = model.config.channels, model.config.inner_width
        convolutions = 3 * width * (model.config.mel_bins + width) + 2 * width
        return convolutions + model.config.layers * (4 * width * width + 2 * width * inner + 8 * width + inner)
    return sum(one.numel() for one in model.parameters())


def seconds_a_second(model: Stages, repeats: int = 15, duration_s: float = 3.0) -> float:
    """Processor time for a second of audio on one core: the least of some tries, as other programs run beside it."""
    samples = torch.from_numpy(np.random.default_rng(0).normal(size=round(duration_s * SAMPLING_RATE))).float()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    taken = []
    try:
        with torch.inference_mode():
            for _ in range(repeats + 1):
                begun = time.process_time()
                model.stages(samples)
                taken.append(time.process_time() - begun)
    finally:
        torch.set_num_threads(threads)
    return min(taken[1:]) / duration_s
