"""The VAD on many short stretches at once: silero's network in numpy, for a first answer in a quarter of the time.

onnxruntime convolves each frame of `silero_vad_16k_sequence.onnx` on its own and walks through one stretch after the
other. Here the convolutions of all frames are one matrix product, the Fourier transform is one, and the recurrent layer
takes a step in all stretches together. Both round differently, by some 1e-6 in a probability. Where a thousand times
as much could change an answer, none is given, and `deepfake.audio.vad`, the reference, is to be asked. So no decision
depends on which of the two was asked.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft
from threadpoolctl import ThreadpoolController

from deepfake.audio.vad import CONTEXT_SAMPLES, FRAME_SAMPLES, model_path

_DOUBT = 0.01  # of a logit, 0.0025 of a probability: as good as on the threshold
_FFT, _FFT_HOP, _STEPS = 256, 128, 4  # a frame is four overlapping spectra, the last reflected at its end
_REFLECTED = _FFT + (_STEPS - 1) * _FFT_HOP - CONTEXT_SAMPLES - FRAME_SAMPLES
_BINS = _FFT // 2 + 1
_HIDDEN = 128
_FRAMES_ENCODED = 64  # at a time: half a megabyte stays in the cache
_LEAST_STEPS, _MOST_STEPS = 4, 32  # between two looks at who is decided


def hold_speech(stretches: Sequence[np.ndarray], n_frames: Sequence[int]) -> list[bool | None]:
    """`vad.holds_speech` of each stretch; None where the answer is too close to call.

    Args:
        stretches: float32 of shape (samples,), 16 kHz mono, full scale 1; of any lengths.
        n_frames: how many 32 ms frames of each must hold speech.
    """
    lengths = np.array([-(-len(stretch) // FRAME_SAMPLES) for stretch in stretches], dtype=np.int64)
    needed = np.array(n_frames, dtype=np.int64)
    found: list[bool | None] = [bool(need <= 0) for need in needed]
    active = np.flatnonzero((needed > 0) & (lengths >= needed))
    hidden, cell = (np.zeros((len(stretches), _HIDDEN), np.float32) for _ in range(2))
    surely, maybe = (np.zeros(len(stretches), np.int64) for _ in range(2))
    start = 0
    with _blas().limit(limits=1):  # threads would take the cores of the other workers
        while len(active):
            # Nobody is decided before so many frames more.
            steps = int(np.clip((needed - surely)[active].min(), _LEAST_STEPS, _MOST_STEPS))
            frames = _frames([stretches[index] for index in active], start, steps)
            logits, hidden[active], cell[active] = _network()(frames, hidden[active], cell[active])
            start += steps
            logits[np.arange(start - steps, start) >= lengths[active, None]] = -np.inf  # behind the end
            surely[active] += (logits > _DOUBT).sum(axis=1)
            maybe[active] += (logits > -_DOUBT).sum(axis=1)
            yes = surely >= needed
            no = maybe + np.maximum(lengths - start, 0) < needed
            for index in active:
                if yes[index] or no[index]:
                    found[index] = bool(yes[index])
                elif lengths[index] <= start:
                    found[index] = None
            active = active[(lengths[active] > start) & ~yes[active] & ~no[active]]
    return found


def _frames(stretches: Sequence[np.ndarray], start: int, count: int) -> np.ndarray:
    """Frames `start` to `start + count` of each with what precedes them, shape (stretches, count, 576)."""
    held = np.zeros((len(stretches), CONTEXT_SAMPLES + count * FRAME_SAMPLES), np.float32)
    begin = start * FRAME_SAMPLES - CONTEXT_SAMPLES
    for row, stretch in zip(held, stretches, strict=True):
        samples = stretch[max(begin, 0) : begin + len(row)]
        row[max(-begin, 0) :][: len(samples)] = samples
    return np.lib.stride_tricks.sliding_window_view(held, CONTEXT_SAMPLES + FRAME_SAMPLES, axis=1)[:, ::FRAME_SAMPLES]


@dataclass(frozen=True)
class _Network:
    """The weights, laid out for matrix products: float32, inputs first."""

    window: np.ndarray
    convolutions: tuple[tuple[np.ndarray, np.ndarray], ...]
    inputs: tuple[np.ndarray, np.ndarray]
    recurrent: np.ndarray
    output: tuple[np.ndarray, np.ndarray]

    def __call__(
        self, frames: np.ndarray, hidden: np.ndarray, cell: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frames of shape (stretches, steps, 576) and both states, to logits (stretches, steps) and the next states."""
        shape = frames.shape[:2]
        flat = frames.reshape(-1, frames.shape[-1])
        pieces = [self._encoded(flat[at : at + _FRAMES_ENCODED]) for at in range(0, len(flat), _FRAMES_ENCODED)]
        gates = (np.concatenate(pieces) @ self.inputs[0] + self.inputs[1]).reshape(*shape, -1)
        outputs = np.empty((*shape, _HIDDEN), np.float32)
        for step in range(shape[1]):
            # Sigmoids are tanh of half: the weights of the first three gates (input, output, forget) are halved.
            gate = np.tanh(gates[:, step] + hidden @ self.recurrent)
            opened = gate[:, : 3 * _HIDDEN] * np.float32(0.5) + np.float32(0.5)
            into, out, keep = (opened[:, at : at + _HIDDEN] for at in range(0, 3 * _HIDDEN, _HIDDEN))
            cell = keep * cell + into * gate[:, 3 * _HIDDEN :]
            hidden = out * np.tanh(cell)
            outputs[:, step] = hidden
        logits = np.maximum(outputs, 0, out=outputs) @ self.output[0] + self.output[1]
        return logits, hidden, cell

    def _encoded(self, frames: np.ndarray) -> np.ndarray:
        """Frames of shape (n, 576) to what the recurrent layer takes, shape (n, 128)."""
        n = len(frames)
        padded = np.concatenate((frames, frames[:, -2 : -2 - _REFLECTED : -1]), axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, _FFT, axis=1)[:, ::_FFT_HOP]
        bins = fft.rfft(windows * self.window, axis=2)
        steps = np.zeros((n, _STEPS + 2, _BINS), np.float32)  # one of silence before and one behind
        np.sqrt(bins.real**2 + bins.imag**2, out=steps[:, 1:-1])
        first, second, third, fourth = self.convolutions
        steps = _convolved(_triples(steps, 1), first).reshape(n, _STEPS, -1)
        steps = np.concatenate((np.zeros_like(steps[:, :1]), steps), axis=1)
        steps = _convolved(_triples(steps, 2), second).reshape(n, -1)
        return _convolved(_convolved(steps, third), fourth)


def _triples(steps: np.ndarray, stride: int) -> np.ndarray:
    """Three neighbouring steps side by side: (n, steps, channels) to (n * positions, 3 * channels)."""
    n, count, channels = steps.shape
    flat = np.lib.stride_tricks.sliding_window_view(steps.reshape(n, -1), 3 * channels, axis=1)
    return flat[:, :: stride * channels].reshape(-1, 3 * channels)


def _convolved(rows: np.ndarray, convolution: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    weight, bias = convolution
    found = rows @ weight
    found += bias
    return np.maximum(found, 0, out=found)


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


@functools.cache
def _network() -> _Network:
    weights = _tensors(model_path().read_bytes())
    kernels = [weights[f"encoder.{index}.weight"].transpose(2, 1, 0) for index in range(4)]  # taps, inputs, outputs
    biases = [weights[f"encoder.{index}.bias"] for index in range(4)]
    # The third convolution sees the two steps after one of silence, the fourth one step between two of silence.
    taps = (kernels[0], kernels[1], kernels[2][1:], kernels[3][1:2])
    inputs, recurrent, both = (weights[f"onnx::LSTM_{index}"][0] for index in (209, 210, 211))
    halved = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], np.float32), _HIDDEN)
    return _Network(
        window=weights["stft.forward_basis_buffer"][0, 0],  # of the cosine of 0 Hz only the window is left
        convolutions=tuple(
            (np.ascontiguousarray(tap.reshape(-1, tap.shape[-1])), bias) for tap, bias in zip(taps, biases, strict=True)
        ),
        inputs=(
            np.ascontiguousarray(inputs.T * halved),
            (both[: len(both) // 2] + both[len(both) // 2 :]) * halved,
        ),
        recurrent=np.ascontiguousarray(recurrent.T * halved),
        output=(weights["output.weight"][0, :, 0], weights["output.bias"]),
    )


def _tensors(model: bytes) -> dict[str, np.ndarray]:
    """The float32 weights of an ONNX model by name: field 7 is the graph, its field 5 a tensor (onnx.proto)."""
    (graph,) = (value for number, value in _fields(model) if number == 7)
    found = {}
    for number, tensor in _fields(graph):
        if number == 5:
            fields = _fields(tensor)
            shape = [value for field, value in fields if field == 1]
            held = dict(fields)
            found[held[8].decode()] = np.frombuffer(held[9], "<f4").reshape(shape)
    return found


def _fields(message: bytes) -> list[tuple[int, int | bytes]]:
    from google.protobuf import empty_pb2, unknown_fields  # onnxruntime depends on it; onnx itself is heavier

    return [(f.field_number, f.data) for f in unknown_fields.UnknownFieldSet(empty_pb2.Empty.FromString(message))]
