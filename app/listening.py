"""What is noticed of a recording while it is decoded for scoring: limits, the picture, and what is wrong with it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
from scipy import fft

from deepfake.audio.decode import SAMPLING_RATE, AudioError, AudioInfo, AudioReader
from deepfake.audio.windows import SpeechTrack
from deepfake.scoring.audio_facts import NARROW_HZ, AudioFacts, AudioWarning

BANDS, MAX_COLUMNS = 64, 1024
_HOP, _FFT = 320, 1024  # 20 ms
_WIDE_HZ = 6800.0
# Decoders' names begin or end so: mp3float, libopus, amrnb, adpcm_g722, pcm_mulaw …
_LOSSY = ("mp3", "mp2", "aac", "opus", "vorbis", "amr", "wma", "ac3", "gsm", "speex", "adpcm", "pcm_alaw", "pcm_mulaw")


class Listener:
    """Called with each block of a recording; ends it when it is too long, too late or nobody waits for it any more.

    Args:
        max_duration_s: of the recording.
        deadline: by `time.monotonic`; None: no hurry.
    """

    def __init__(self, max_duration_s: float, deadline: float | None = None) -> None:
        self.cancelled = threading.Event()
        self.spectrogram = Spectrogram()
        self._most = round(max_duration_s * SAMPLING_RATE)
        self._deadline = deadline
        self._samples = 0

    def __call__(self, block: np.ndarray) -> None:
        """Hear float32 16 kHz mono samples of shape (samples,).

        Raises:
            AudioError: the recording is given up.
        """
        if self.cancelled.is_set():
            raise AudioError("cancelled: nobody waits for it any more")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise AudioError("too late: the time limit passed before all of it was read")
        self._samples += len(block)
        if self._samples > self._most:
            raise AudioError(f"too long: more than {self._most / SAMPLING_RATE:g} s")
        self.spectrogram.add(block)


class Spectrogram:
    """A mel spectrogram of at most `MAX_COLUMNS` columns, whatever the length: neighbours are joined as it grows."""

    def __init__(self) -> None:
        self._held = np.zeros(0, np.float32)
        self._columns: list[np.ndarray] = []  # power, float32 of shape (BANDS,)
        self._joined = 1  # frames a column
        self._open: list[np.ndarray] = []  # frames of the next column

    def add(self, block: np.ndarray) -> None:
        """Hear float32 samples of shape (samples,)."""
        held = np.concatenate((self._held, block))
        count = max(0, (len(held) - _FFT) // _HOP + 1)
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(held, _FFT)[::_HOP][:count]
            power = np.abs(fft.rfft(frames * _HANN, axis=1)) ** 2 @ _MEL
            self._held = held[count * _HOP :]
            self._gather(power.astype(np.float32))
        else:
            self._held = held

    def levels(self) -> np.ndarray:
        """uint8 of shape (columns, BANDS): 0 is 80 dB below the loudest, 255 the loudest."""
        columns = self._columns + ([np.mean(self._open, axis=0)] if self._open else [])
        if not columns:
            return np.zeros((0, BANDS), np.uint8)
        decibels = 10 * np.log10(np.maximum(np.stack(columns), 1e-10))
        return np.clip(255 * (1 + (decibels - decibels.max()) / 80), 0, 255).astype(np.uint8)

    def _gather(self, power: np.ndarray) -> None:
        for frame in power:
            self._open.append(frame)
            if len(self._open) == self._joined:
                self._columns.append(np.mean(self._open, axis=0))
                self._open = []
                if len(self._columns) == MAX_COLUMNS:
                    pairs = np.stack(self._columns).reshape(-1, 2, BANDS)
                    self._columns = list(pairs.mean(axis=1))
                    self._joined *= 2


def look(path: Path) -> AudioInfo:
    """What the container says.

    Raises:
        AudioError: not audio.
    """
    with AudioReader(path) as reader:
        return reader.info


def warnings(facts: AudioFacts, info: AudioInfo, track: SpeechTrack) -> list[AudioWarning]:
    """What to know before believing the score, what `facts` tell, and what the coding took away.

    Args:
        facts: collected while the recording was read.
        info: of the container.
        track: where there is speech.
    """
    if facts.measures is None:
        return []
    found = list(facts.warnings(track))
    lossy = next((name for name in _LOSSY if name in info.codec), None)
    band = facts.measures.bandwidth_hz
    if lossy is not None:
        found.append(AudioWarning("lossy_codec", f"lossy coding ({lossy}): some traces of synthesis are gone"))
    elif NARROW_HZ < band <= _WIDE_HZ and info.sampling_rate >= SAMPLING_RATE:
        text = f"nothing above {band / 1000:.1f} kHz: it went through a codec or filter before"
        found.append(AudioWarning("re_encoded", text))
    return found


def _mel_bands() -> np.ndarray:
    """Triangles between 50 Hz and 8 kHz, equally wide on the mel scale 2595 log10(1 + f / 700): (513, BANDS)."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (50, SAMPLING_RATE / 2))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    frequencies = np.linspace(0, SAMPLING_RATE / 2, _FFT // 2 + 1)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    bands = np.maximum(0, np.minimum(rising, falling))
    return (bands / np.maximum(bands.sum(axis=0), 1e-9)).astype(np.float32)


_HANN = np.hanning(_FFT).astype(np.float32)
_MEL = _mel_bands()
