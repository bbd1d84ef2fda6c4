"""What is noticed of a recording while it is decoded for scoring: limits, the picture, and what is wrong with it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from scipy import fft

from data_prep.audio import SAMPLING_RATE, AudioError, AudioInfo, AudioReader
from data_prep.measures import measure
from scoring.windows import SpeechTrack

MIN_EVIDENCE_S = 1.5  # of speech; below it the page and the API's `verdict` say that they cannot tell
BANDS, MAX_COLUMNS = 64, 1024
_HOP, _FFT = 320, 1024  # 20 ms
_MEASURED_S = 60  # of the beginning: enough to know the line and the room
_CLIPPED_FROM, _CLIPPED_SHARE = 0.985, 1e-3
_LOW_DBFS, _NOISY_DB = -42.0, 15.0
_NARROW_HZ, _WIDE_HZ = 4300.0, 6800.0
_OTHER_SOUND_SHARE = 0.5
_SAME_CHANNELS = 0.9  # correlation
# Decoders' names begin or end so: mp3float, libopus, amrnb, adpcm_g722, pcm_mulaw …
_LOSSY = ("mp3", "mp2", "aac", "opus", "vorbis", "amr", "wma", "ac3", "gsm", "speex", "adpcm", "pcm_alaw", "pcm_mulaw")


@dataclass(frozen=True)
class AudioWarning:
    """Something about the sound that makes its score less sure: a `code` for programs and a `text` for people."""

    code: str
    text: str


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
        self._samples = self._clipped = 0
        self._beginning: list[np.ndarray] = []

    def __call__(self, block: np.ndarray) -> None:
        """Hear float32 16 kHz mono samples of shape (samples,).

        Raises:
            AudioError: the recording is given up.
        """
        if self.cancelled.is_set():
            raise AudioError("cancelled: nobody waits for it any more")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise AudioError("too late: the time limit passed before all of it was read")
        if self._samples < _MEASURED_S * SAMPLING_RATE:
            self._beginning.append(block[: _MEASURED_S * SAMPLING_RATE - self._samples])
        self._samples += len(block)
        if self._samples > self._most:
            raise AudioError(f"too long: more than {self._most / SAMPLING_RATE:g} s")
        self._clipped += int(np.count_nonzero(np.abs(block) >= _CLIPPED_FROM))
        self.spectrogram.add(block)

    def warnings(self, info: AudioInfo, different_channels: bool, track: SpeechTrack) -> list[AudioWarning]:
        """What to know before believing the score.

        Args:
            info: of the container.
            different_channels: see `channels_differ`.
            track: where there is speech.
        """
        if self._samples == 0:
            return []
        found = []
        lossy = next((name for name in _LOSSY if name in info.codec), None)
        measures = measure(np.concatenate(self._beginning))
        speech_s = track.speech_s(0, track.samples)
        if speech_s < MIN_EVIDENCE_S:
            found.append(AudioWarning("short_speech", f"Only {speech_s:.1f} s of speech: too little to judge by."))
        if self._clipped > _CLIPPED_SHARE * self._samples:
            share = 100 * self._clipped / self._samples
            found.append(AudioWarning("clipped", f"Clipped: {share:.1f} % of the samples are at full scale."))
        if measures.level_dbfs < _LOW_DBFS:
            found.append(AudioWarning("low_level", f"Very quiet: {measures.level_dbfs:.0f} dBFS."))
        if measures.bandwidth_hz <= _NARROW_HZ:
            found.append(
                AudioWarning(
                    "narrowband", f"Narrow band: nothing above {measures.bandwidth_hz / 1000:.1f} kHz, as by telephone."
                )
            )
        elif measures.bandwidth_hz <= _WIDE_HZ and info.sampling_rate >= SAMPLING_RATE and lossy is None:
            text = f"Nothing above {measures.bandwidth_hz / 1000:.1f} kHz: it went through a codec or filter before."
            found.append(AudioWarning("re_encoded", text))
        if measures.level_dbfs - measures.noise_floor_dbfs < _NOISY_DB:
            over = measures.level_dbfs - measures.noise_floor_dbfs
            found.append(AudioWarning("noise", f"Noisy: the sound is only {over:.0f} dB above its background."))
        sound_s = (1 - measures.silence_share) * len(np.concatenate(self._beginning)) / SAMPLING_RATE
        heard_s = track.speech_s(0, min(track.samples, _MEASURED_S * SAMPLING_RATE))
        if sound_s > 2 and heard_s < (1 - _OTHER_SOUND_SHARE) * sound_s:
            share = 100 * (1 - heard_s / sound_s)
            found.append(AudioWarning("music_or_noise", f"{share:.0f} % of the sound is not speech: music or noise."))
        if lossy is not None:
            found.append(AudioWarning("lossy_codec", f"Lossy coding ({lossy}): some traces of synthesis are gone."))
        if different_channels:
            text = "The channels differ, as of two speakers on a line: score each channel on its own."
            found.append(AudioWarning("different_channels", text))
        return found

    def forget(self) -> None:
        """Let the recording's beginning go; `warnings` has none to tell any more."""
        self._beginning, self._samples = [], 0


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


def look(path: Path) -> tuple[AudioInfo, bool]:
    """What the container says, and whether the first two channels hold different sound in the first 20 s.

    Raises:
        AudioError: not audio.
    """
    with AudioReader(path) as reader:
        info = reader.info
    return info, info.channels > 1 and _channels_differ(path)


def _channels_differ(path: Path) -> bool:
    beginnings = []
    for channel in (0, 1):
        with AudioReader(path, channel=channel) as reader:
            beginnings.append(np.concatenate(list(islice(reader.blocks(), 2))))
    left, right = (samples[: min(map(len, beginnings))] for samples in beginnings)
    energy = float(np.sqrt((left**2).sum() * (right**2).sum()))
    if energy == 0:
        return bool(left.any() != right.any())
    return float((left * right).sum()) / energy < _SAME_CHANNELS


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
