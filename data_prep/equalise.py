"""Taking away what is not the voice: level, edge silence, band and codec made alike for both classes.

Every chunk of every recording goes through the same steps with the same settings, so that none can tell the classes
apart; what differs before differs less after. A chunk is then no longer the recording's own samples.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import numpy as np

from data_prep.chunks import Chunk, ChunkingOptions
from deepfake.audio.decode import SAMPLING_RATE, load_audio, pcm16
from deepfake.audio.energy import HOP_SAMPLES, frame_levels, gate_thresholds, runs
from deepfake.errors import UserError

STEPS = ("trim", "band", "level", "codec")  # in the order in which they are applied
_HIGHPASS_HZ = 60.0  # below every voice; removes DC and hum
_CEILING = 0.89  # -1 dBFS: a codec overshoots by less
_CODEC_BIT_RATE = 48_000  # MP3, mono at 16 kHz: the commonest codec, audible to a machine and hardly to people


@dataclass(frozen=True)
class EqualiseOptions:
    """Which steps, and their targets.

    Attributes:
        steps: out of `STEPS`. trim: cut edge silence off, as far as min_s allows. band: one band for all. level: sound
            (silence left out) at `level_dbfs`. codec: once through MP3 at 48 kb/s.
        band_hz: upper edge. 7000 is below where MP3, vocoders and resamplers to 16 kHz differ; lower where the audit
            shows a narrower class (3400 for telephone speech).
        level_dbfs: -26 is the usual level of speech databases (ITU-T P.56 active level).

    Raises:
        UserError: an unknown step, or targets out of range.
    """

    steps: tuple[str, ...] = ()
    band_hz: float = 7000.0
    level_dbfs: float = -26.0

    def __post_init__(self) -> None:
        unknown = [step for step in self.steps if step not in STEPS]
        if unknown:
            raise UserError(f"--equalise {unknown[0]} is unknown; expected some of {', '.join(STEPS)}")
        if not 1000 <= self.band_hz < SAMPLING_RATE / 2:
            raise UserError(f"--band-hz is {self.band_hz:g}; expected 1000 up to, not including, {SAMPLING_RATE // 2}")
        if not -60 <= self.level_dbfs <= -10:
            raise UserError(f"--level-dbfs is {self.level_dbfs:g}; expected -60 to -10")


def trim(chunk: Chunk, samples: np.ndarray, chunking: ChunkingOptions) -> Chunk:
    """Move the edges of a chunk to its first and last sound, leaving it at least `min_s` long.

    Args:
        samples: `chunk.cut(recording)`. A chunk out of which silence was cut keeps its edges.
    """
    levels = frame_levels(samples)
    spans = runs(levels > gate_thresholds(levels))
    if not len(spans) or chunk.removed or chunk.n_samples <= chunking.min_samples:
        return chunk
    start, stop = int(spans[0, 0]) * HOP_SAMPLES, min(int(spans[-1, 1]) * HOP_SAMPLES, chunk.n_samples)
    short = chunking.min_samples - (stop - start)
    if short > 0:
        before = min(start, short // 2 + max(0, short - short // 2 - (chunk.n_samples - stop)))
        start, stop = start - before, stop + short - before
    return Chunk(chunk.start_sample + start, stop - start)


def equalised(samples: np.ndarray, options: EqualiseOptions) -> np.ndarray:
    """The steps "band", "level" and "codec" on float32 samples of shape (samples,), 16 kHz; same shape."""
    if "band" in options.steps:
        samples = _band(samples, options.band_hz)
    if "level" in options.steps:
        samples = _level(samples, options.level_dbfs)
    if "codec" in options.steps:
        samples = _through_mp3(samples)
    return samples


def _band(samples: np.ndarray, band_hz: float) -> np.ndarray:
    from scipy import signal  # half a second to import, and most builds do without

    high = signal.butter(4, _HIGHPASS_HZ, "highpass", fs=SAMPLING_RATE, output="sos")
    # Elliptic: 80 dB down within a few per cent of the edge, where a Butterworth would leave each class its own slope.
    low = signal.ellip(12, 0.1, 80, band_hz, fs=SAMPLING_RATE, output="sos")
    return signal.sosfilt(np.vstack((high, low)), samples).astype(np.float32)


def _level(samples: np.ndarray, level_dbfs: float) -> np.ndarray:
    for _ in range(3):  # what counts as sound depends a little on the level
        levels = frame_levels(samples)
        sound = levels[levels > gate_thresholds(levels)]
        if not len(sound):
            return samples
        gain = 10 ** ((level_dbfs - 10 * np.log10(np.mean(10 ** (sound / 10)))) / 20)
        peak = float(np.abs(samples).max()) * gain
        samples = (samples * gain * min(1.0, _CEILING / peak)).astype(np.float32)
    return samples


def _through_mp3(samples: np.ndarray) -> np.ndarray:
    """Encode and decode; the header that libmp3lame writes lets the decoder take the delay away again."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as output:
        stream = output.add_stream("libmp3lame", rate=SAMPLING_RATE, layout="mono", format="s16p")
        stream.bit_rate = _CODEC_BIT_RATE
        frame = av.AudioFrame.from_ndarray(pcm16(samples)[None], format="s16p", layout="mono")
        frame.sample_rate = SAMPLING_RATE
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    decoded = load_audio(buffer.getvalue())[: len(samples)]
    return np.pad(decoded, (0, len(samples) - len(decoded)))
