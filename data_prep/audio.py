"""Any audio or video container in, 16 kHz mono float32 out, with bounded memory.

PyAV (FFmpeg inside its wheel) decodes; soxr's "HQ" recipe resamples, because that is what `librosa.load` uses and
scores must equal those of a user who loads with librosa.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import soxr

SAMPLING_RATE = 16_000
# A file with a few broken packets (a bad MP3 frame in an hour) is still that hour; beyond this share it is not.
MAX_CORRUPT_SHARE = 0.05
_BLOCK_S = 10.0
# FFmpeg's own Opus decoder resamples the SILK layer differently (correlation 0.97 with the reference decoder on
# speech); libopus is the reference, and what libsndfile and so librosa use.
_PREFERRED_DECODER = {"opus": "libopus"}

_GUESSED_DURATIONS = frozenset({"aac", "mp3", "mpegts", "ac3", "eac3"})  # streams without a header of their own

Source = str | os.PathLike | bytes | BinaryIO


class AudioError(Exception):
    """A file that cannot be used as audio; the message says why in a few words."""


@dataclass(frozen=True)
class AudioInfo:
    """What the container says before anything is decoded. Rate in hertz.

    `stated_s` is the duration in its header; None where there is none, or FFmpeg would only guess it from the bit rate.
    """

    container: str
    codec: str
    sampling_rate: int
    channels: int
    stated_s: float | None = None


class AudioReader:
    """One open recording: `info`, then `blocks()` once.

    Args:
        source: path, encoded bytes, or binary file object.
        sampling_rate: output rate in hertz.

    Raises:
        AudioError: not readable, not audio, or without an audio stream.
    """

    def __init__(self, source: Source, sampling_rate: int = SAMPLING_RATE) -> None:
        self.sampling_rate = sampling_rate
        self.packets = self.corrupt_packets = 0
        # Opened by us and handed over as a file object: FFmpeg would read "a:b.wav" as a protocol, and cannot be
        # talked into opening other files or addresses from inside a playlist this way.
        self._file = open_source(source)
        try:
            self._container = av.open(self._file, mode="r", metadata_errors="ignore")
            if not self._container.streams.audio:
                raise AudioError("no audio stream in the file")
            self._stream = self._container.streams.audio[0]
            codec = self._stream.codec_context
            self.info = AudioInfo(
                self._container.format.name,
                codec.name,
                codec.sample_rate or 0,
                codec.channels or 0,
                _stated_s(self._container, self._stream),
            )
            self._decoder = _decoder(codec)
        except AudioError:
            self.close()
            raise
        except Exception as error:  # FFmpeg reports hostile bytes in many ways; all of them mean the same to a user
            self.close()
            raise AudioError(f"not decodable as audio ({_reason(error)})") from error

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        container = getattr(self, "_container", None)
        if container is not None:
            container.close()
        self._file.close()

    def blocks(self) -> Iterator[np.ndarray]:
        """Mono float32 blocks of about 10 s at `sampling_rate`; their concatenation is the recording.

        Channels are averaged. Packets that FFmpeg cannot decode are skipped and counted.

        Raises:
            AudioError: nothing could be decoded, more than `MAX_CORRUPT_SHARE` of the packets are corrupt, or a
                sample is NaN or infinite.
        """
        resampler: soxr.ResampleStream | None = None
        rate, pending, pending_s, any_audio = 0, [], 0.0, False
        for frame in self._frames():
            if frame.sample_rate != rate:  # some AAC streams change their rate after the first frames
                if resampler is not None:
                    pending.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
                rate = frame.sample_rate
                resampler = soxr.ResampleStream(rate, self.sampling_rate, 1, dtype="float32", quality="HQ")
            samples = _to_mono(frame)
            if not np.isfinite(samples).all():
                raise AudioError("contains NaN or infinite samples")
            any_audio = any_audio or samples.size > 0
            pending.append(samples if rate == self.sampling_rate else resampler.resample_chunk(samples))
            pending_s += samples.size / rate
            if pending_s >= _BLOCK_S:
                yield np.concatenate(pending)
                pending, pending_s = [], 0.0
        if resampler is not None and rate != self.sampling_rate:
            pending.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        if self.corrupt_packets > max(1, MAX_CORRUPT_SHARE * self.packets):
            raise AudioError(f"{self.corrupt_packets} of {self.packets} packets are corrupt")
        if not any_audio:
            raise AudioError("holds no audio samples")
        if pending:
            yield np.concatenate(pending)

    def _frames(self) -> Iterator[av.AudioFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError, ValueError) as error:
                if self.packets == 0:
                    raise AudioError(f"not decodable as audio ({_reason(error)})") from error
                self.corrupt_packets += 1  # the container ends here; what came before stands
                return
            try:
                frames = self._decoder.decode(packet if packet.size else None)
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, ValueError):
                self.packets += 1
                self.corrupt_packets += 1
                continue
            self.packets += bool(packet.size)
            yield from frames


def load_audio(source: Source, sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """Decode a whole recording.

    Args:
        source: path, encoded bytes, or binary file object.
        sampling_rate: output rate in hertz.

    Returns:
        float32 array of shape (samples,), mono, full scale = 1.

    Raises:
        AudioError: see `AudioReader`.
    """
    with AudioReader(source, sampling_rate) as reader:
        return np.concatenate(list(reader.blocks()))


def pcm16(waveform: np.ndarray) -> np.ndarray:
    """Float samples (full scale 1) as int16, rounded to nearest and clipped: the one quantisation used for storing."""
    return np.clip(np.rint(waveform * 32768.0), -32768, 32767).astype(np.int16)


def encode_flac(waveform: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> bytes:
    """Encode mono float32 samples of shape (samples,) as 16-bit FLAC; decoding gives `pcm16(waveform)` exactly."""
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="flac") as container:
        stream = container.add_stream("flac", rate=sampling_rate, layout="mono", format="s16")
        frame = av.AudioFrame.from_ndarray(pcm16(waveform)[None, :], format="s16", layout="mono")
        frame.sample_rate = sampling_rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def open_source(source: Source) -> BinaryIO:
    """Open a path, bytes or file object for reading; a path only when it is a regular file that is not empty.

    Raises:
        AudioError: a folder, pipe or device, an empty file, or one that cannot be read.
    """
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not isinstance(source, (str, os.PathLike)):
        return source
    path = Path(source)
    try:
        if path.is_dir():
            raise AudioError("is a folder, not a file")
        if path.exists() and not path.is_file():
            raise AudioError("is a pipe or device, not a regular file")
        if path.is_file() and path.stat().st_size == 0:
            raise AudioError("file is empty")
        return path.open("rb")
    except OSError as error:
        raise AudioError(f"cannot be read ({error.strerror or error})") from error


def _stated_s(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    if container.format.name in _GUESSED_DURATIONS:
        return None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def _decoder(codec: av.CodecContext) -> av.CodecContext:
    preferred = _PREFERRED_DECODER.get(codec.name)
    if preferred not in av.codecs_available:
        return codec
    decoder = av.CodecContext.create(preferred, "r")
    decoder.extradata = codec.extradata
    return decoder


def _to_mono(frame: av.AudioFrame) -> np.ndarray:
    """Average the channels of a decoded frame into float32, integers scaled by their full scale."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128.0) / 128.0
    elif samples.dtype.kind == "i":
        samples = samples.astype(np.float32) / float(-np.iinfo(samples.dtype).min)
    mono = samples[0] if len(samples) == 1 else samples.mean(axis=0)
    return mono.astype(np.float32, copy=False)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
