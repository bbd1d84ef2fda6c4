"""Where is somebody speaking: silero-vad's sequence model, run by onnxruntime without importing torch.

`silero_vad.sequence_vad` does the same, but its package imports torch, which costs every worker process two seconds and
200 MB. The 20 lines that feed the model are therefore here; a test compares them with the stock streaming model.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr

from deepfake.audio.decode import SAMPLING_RATE

if TYPE_CHECKING:
    import onnxruntime

FRAME_SAMPLES = 512  # 32 ms at 16 kHz, the only frame the model knows
SPEECH_THRESHOLD = 0.5  # silero's own default: at or above it a frame is speech
_GOOD_LEVEL, _MOST_GAIN = 0.1, 10 ** (58 / 20)  # −20 dBFS; below −78 dBFS, some 4 steps of 16 bits, is silence
_LOUD_QUANTILE = 0.9  # of the frames: a click is not the level of a voice
CONTEXT_SAMPLES = 64  # the end of the previous frame, which the model expects before each frame
_FRAMES_PER_CALL = 512  # 16 s: larger calls are no faster and cost memory
_FRAMES_PER_LOOK = 16  # 0.5 s: shorter calls cost more than they spare
_MODEL_FILE = "data/silero_vad_16k_sequence.onnx"
_NARROW_RATE = 8_000
_NARROW_MODEL_FILE = "data/silero_vad.onnx"  # for both rates, a frame at a time


def speech_probabilities(waveform: np.ndarray) -> np.ndarray:
    """Probability of speech for each 32 ms frame.

    Args:
        waveform: float32 of shape (samples,), 16 kHz mono, full scale 1. A memory map is read 16 s at a time.

    Returns:
        float32 of shape (ceil(samples / 512),); the last frame is padded with zeros.
    """
    return np.concatenate([np.zeros(0, np.float32), *_listen(waveform, _FRAMES_PER_CALL)])


def faint_speech(waveform: np.ndarray) -> np.ndarray:
    """Frames of a stretch that hold speech for silero's other model, at the level of a good recording.

    The model that `speech_probabilities` asks hears levels, not only shapes: speech below some −50 dBFS is nothing to
    it. And it knows wide bands: of calls by telephone it misses some that its sibling for 8 kHz hears.

    Args:
        waveform: as for `speech_probabilities`, at most some minutes.

    Returns:
        bool of shape (ceil(samples / 512),).
    """
    frames = np.pad(waveform, (0, -len(waveform) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
    levels = np.sqrt(np.square(frames, dtype=np.float64).mean(axis=1))
    loud = float(np.quantile(levels, _LOUD_QUANTILE)) if len(levels) else 0.0
    if loud * _MOST_GAIN < _GOOD_LEVEL:
        return np.zeros(len(frames), dtype=bool)
    leveled = (frames * np.float32(_GOOD_LEVEL / loud)).reshape(-1)
    return _narrow_probabilities(soxr.resample(leveled, SAMPLING_RATE, _NARROW_RATE, "HQ")) >= SPEECH_THRESHOLD


def _narrow_probabilities(waveform: np.ndarray) -> np.ndarray:
    """Probability of speech for each 32 ms of float32 samples at 8 kHz, shape (frames * 256,), from the first on."""
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros(CONTEXT_SAMPLES // 2, np.float32)
    rate, found = np.array(_NARROW_RATE, dtype=np.int64), []
    for frame in waveform.reshape(-1, FRAME_SAMPLES // 2):
        inputs = {"input": np.concatenate((context, frame))[None], "state": state, "sr": rate}
        value, state = _session(_NARROW_MODEL_FILE).run(["output", "stateN"], inputs)
        context = frame[-len(context) :]
        found.append(value.item())
    return np.array(found, dtype=np.float32)


def holds_speech(waveform: np.ndarray, n_frames: int, skip: int = 0) -> bool:
    """Whether at least `n_frames` frames after the first `skip` hold speech; listens no further than that takes.

    Args:
        waveform: as for `speech_probabilities`.
    """
    left = -(-len(waveform) // FRAME_SAMPLES) - skip
    pieces = _listen(waveform, _FRAMES_PER_LOOK)
    while 0 < n_frames <= left:
        speech = next(pieces) >= SPEECH_THRESHOLD
        n_frames -= np.count_nonzero(speech[skip:])
        left -= max(0, len(speech) - skip)
        skip = max(0, skip - len(speech))
    return n_frames <= 0


def _listen(waveform: np.ndarray, n_frames: int) -> Iterator[np.ndarray]:
    """The probabilities of `speech_probabilities`, `n_frames` at a time."""
    listener = Listener()
    step = n_frames * FRAME_SAMPLES
    for start in range(0, len(waveform), step):
        samples = np.asarray(waveform[start : start + step], dtype=np.float32)
        yield listener(np.pad(samples, (0, -len(samples) % FRAME_SAMPLES)))


class Listener:
    """The speech probabilities of one recording that arrives piece by piece, in order.

    What was heard before is kept between calls, so that the result does not depend on how the recording is cut.
    """

    def __init__(self) -> None:
        self._hidden = self._cell = np.zeros((1, 1, 128), dtype=np.float32)
        self._context = np.zeros(CONTEXT_SAMPLES, dtype=np.float32)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Float32 samples of shape (frames * 512,) to probabilities of shape (frames,)."""
        found = [np.zeros(0, np.float32)]
        for start in range(0, len(samples), _FRAMES_PER_CALL * FRAME_SAMPLES):
            frames = samples[start : start + _FRAMES_PER_CALL * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
            contexts = np.vstack((self._context, frames[:-1, -CONTEXT_SAMPLES:]))
            self._context = frames[-1, -CONTEXT_SAMPLES:].copy()  # a view would keep the samples alive
            inputs = {"input": np.hstack((contexts, frames)), "h": self._hidden, "c": self._cell}
            values, self._hidden, self._cell = _session().run(["speech_probs", "hn", "cn"], inputs)
            found.append(values.reshape(-1))
        return np.concatenate(found)


def model_path(file: str = _MODEL_FILE) -> Path:
    """Where a model of silero-vad lies.

    Raises:
        ImportError: the package is not installed.
    """
    package = importlib.util.find_spec("silero_vad")  # finds the folder, imports nothing
    if package is None or package.origin is None:
        raise ImportError("silero-vad is not installed; run: pip install 'silero-vad>=6.2.3'")
    return Path(package.origin).parent / file


@functools.cache
def _session(file: str = _MODEL_FILE) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread: recordings are prepared in parallel, and a fixed order of additions makes results repeatable.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model_path(file)), options, providers=["CPUExecutionProvider"])
