"""What people do to a recording before they pass it on: denoise it, bring it to a loudness, stretch it. By FFmpeg."""

from __future__ import annotations

import av
import numpy as np
from av.error import BlockingIOError as NothingYet
from av.error import EOFError as NothingMore
from av.filter import Graph

from deepfake.audio.decode import SAMPLING_RATE
from deepfake.channels.lines import fitted

_BLOCK = 16_000  # samples a frame
_FRAME = SAMPLING_RATE // 40
_QUIETEST, _ABOVE_FLOOR_DB = 0.1, 6.0
_AFFTDN_FLOORS_DB = (-80.0, -20.0)  # that it takes
_AFFTDN_DELAY = SAMPLING_RATE // 40  # samples that afftdn puts in front, and that it does not say it did


def denoise(samples: np.ndarray, reduction_db: float) -> np.ndarray:
    """Noise taken down by at most `reduction_db`, by FFmpeg's afftdn; shape (n,) stays.

    afftdn is a short-time spectral estimator (Ephraim and Malah 1984). It is told the noise floor, the power of the
    quietest tenth of the 25 ms frames, and takes what is up to 6 dB above it for noise, as dedicated tools do after
    they were shown a stretch of pause. Its own tracker hardly moves on speech.
    """
    frames = len(samples) // _FRAME
    if not frames:
        return samples.astype(np.float32)
    power = np.square(samples[: frames * _FRAME], dtype=np.float64).reshape(frames, _FRAME).mean(axis=1)
    floor_db = 10 * np.log10(max(float(np.quantile(power, _QUIETEST)), 1e-12)) + _ABOVE_FLOOR_DB
    limited = min(max(floor_db, _AFFTDN_FLOORS_DB[0]), _AFFTDN_FLOORS_DB[1])
    late = np.pad(samples, (0, _AFFTDN_DELAY))
    heard = _filtered(late, ("afftdn", f"nr={reduction_db:g}:nf={limited:.1f}"))
    return fitted(heard[_AFFTDN_DELAY:], len(samples))


def normalise_loudness(samples: np.ndarray, target_lufs: float) -> np.ndarray:
    """Brought to an integrated loudness (EBU R 128) by FFmpeg's loudnorm, which also evens it out; shape (n,) stays."""
    if not np.any(samples):  # silence has no loudness, and loudnorm makes NaN of it
        return samples.astype(np.float32)
    chain = (("loudnorm", f"I={target_lufs:g}:TP=-1.5:LRA=11"), ("aresample", str(SAMPLING_RATE)))
    return fitted(_filtered(samples, *chain), len(samples))


def stretch(samples: np.ndarray, factor: float) -> np.ndarray:
    """Spoken `factor` times as fast at one pitch, by FFmpeg's atempo (WSOLA); shape becomes (about n / factor,)."""
    heard = _filtered(samples, ("atempo", f"{factor:g}"))
    return heard if len(heard) else samples.astype(np.float32)  # of less than one window it makes nothing


def _filtered(samples: np.ndarray, *chain: tuple[str, str]) -> np.ndarray:
    """Samples at 16 kHz through filters of FFmpeg, each (name, options); float32 of shape (m,)."""
    if not len(samples):
        return samples.astype(np.float32)
    graph = Graph()
    first = graph.add_abuffer(sample_rate=SAMPLING_RATE, format="flt", layout="mono", time_base=f"1/{SAMPLING_RATE}")
    last = first
    for name, options in (*chain, ("aformat", "sample_fmts=flt:channel_layouts=mono")):
        step = graph.add(name, options)
        last.link_to(step)
        last = step
    sink = graph.add("abuffersink")
    last.link_to(sink)
    graph.configure()
    heard: list[np.ndarray] = []
    wanted = np.ascontiguousarray(np.clip(samples, -1.0, 1.0), dtype=np.float32)
    for start in range(0, len(wanted), _BLOCK):
        frame = av.AudioFrame.from_ndarray(wanted[None, start : start + _BLOCK], format="flt", layout="mono")
        frame.sample_rate, frame.pts = SAMPLING_RATE, start
        graph.push(frame)
        _drain(graph, heard)
    graph.push(None)
    _drain(graph, heard)
    return np.concatenate(heard) if heard else np.zeros(0, np.float32)


def _drain(graph: Graph, heard: list[np.ndarray]) -> None:
    while True:
        try:
            heard.append(graph.pull().to_ndarray().reshape(-1).astype(np.float32, copy=False))
        except (NothingYet, NothingMore):
            return
