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
import soundfile
import soxr

from deepfake.audio.pcm import plain_samples
from deepfake.audio.remote import FetchError, RemoteFile
from deepfake.audio.samples import as_floats, planes, to_mono
from deepfake.audio.stated import beginning, stated_s

SAMPLING_RATE = 16_000
# A file with a few broken packets (a bad MP3 frame in an hour) is still that hour; beyond this share it is not.
MAX_CORRUPT_SHARE = 0.05
# Integers of 32 bits stored as floats are the largest that mean anything; the power of far larger ones overflows.
MAX_PEAK = 2.0**32
_BLOCK_S = 10.0
# FFmpeg's own Opus decoder resamples the SILK layer differently (correlation 0.97 with the reference decoder on
# speech); libopus is the reference, and what libsndfile and so librosa use.
_PREFERRED_DECODER = {"opus": "libopus"}
Source = str | os.PathLike | bytes | BinaryIO | RemoteFile


class AudioError(Exception):
    """A file that cannot be used as audio; the message says why in a few words."""


@dataclass(frozen=True)
class AudioInfo:
    """What the container says before anything is decoded. Rate in hertz.

    `stated_s` is the duration in its header; None where there is none, or it would only be guessed from the bit rate.
    """

    container: str
    codec: str
    sampling_rate: int
    channels: int
    stated_s: float | None = None


class AudioReader:
    """One open recording: `info`, then `blocks()` once.

    Args:
        source: path, encoded bytes, binary file object, or a remote file, which is fetched.
        sampling_rate: output rate in hertz.
        channel: this channel alone, counted from 0, in place of the mean of all.
        compare_channels: add up `channel_products` on the way.

    Attributes:
        channel_products: float64 of shape (channels, channels), the sums over all samples so far of each channel times
            each other; None for mono, for one channel alone, and where nobody asked.

    Raises:
        AudioError: not readable, not audio, or without an audio stream.
    """

    def __init__(
        self,
        source: Source,
        sampling_rate: int = SAMPLING_RATE,
        channel: int | None = None,
        compare_channels: bool = False,
    ) -> None:
        self.sampling_rate = sampling_rate
        self.channel = channel
        self.channel_products: np.ndarray | None = None
        self._compares = compare_channels and channel is None
        self.packets = self.corrupt_packets = 0  # none of a file that is read without FFmpeg
        # Opened by us and handed over as a file object: FFmpeg would read "a:b.wav" as a protocol, and cannot be
        # talked into opening other files or addresses from inside a playlist this way.
        self._file = open_source(source)
        try:
            head = beginning(self._file)
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
                stated_s(head, self._container, self._stream),
            )
            self._decoder = _decoder(codec)
            self._plain = None
            if self.info.container == "wav" and not (self._compares and self.info.channels > 1):
                self._plain = plain_samples(head, self._file, codec)
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

        Channels are averaged, unless one was asked for. Packets that FFmpeg cannot decode are skipped and counted.

        Raises:
            AudioError: nothing could be decoded, more than `MAX_CORRUPT_SHARE` of the packets are corrupt, or a
                sample is NaN, infinite or beyond `MAX_PEAK`.
        """
        resampler: soxr.ResampleStream | None = None
        rate, pending, pending_s, any_audio = 0, [], 0.0, False
        for samples_rate, samples in self._mono():
            if samples_rate != rate:  # some AAC streams change their rate after the first frames
                if resampler is not None:
                    pending.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
                rate = samples_rate
                resampler = soxr.ResampleStream(rate, self.sampling_rate, 1, dtype="float32", quality="HQ")
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

    def _mono(self) -> Iterator[tuple[int, np.ndarray]]:
        """Rate and mono samples of about a second at a time: frames hold 5 to 60 ms, too little to work on alone.

        Raises:
            AudioError: a sample is NaN, infinite or beyond `MAX_PEAK`.
        """
        if self._plain is not None:
            rate = self.info.sampling_rate
            for samples in self._plain.blocks(self._file, rate):
                yield rate, self._joined([[samples]], self._plain.n_channels)
            return
        held: list[list[np.ndarray]] = []
        held_samples, form = 0, None
        for frame in self._frames():
            new_form = frame.sample_rate, frame.layout.nb_channels, frame.format.name
            if held and (held_samples >= form[0] or new_form != form):
                yield form[0], self._joined(held, form[1])
                held, held_samples = [], 0
            form = new_form
            held.append(planes(frame, form[2], form[1]))
            held_samples += frame.samples
        if held:
            yield form[0], self._joined(held, form[1])

    def _joined(self, held: list[list[np.ndarray]], n_channels: int) -> np.ndarray:
        mono = to_mono(held, n_channels, self.channel)
        if held[0][0].dtype.kind == "f":  # integers are neither infinite nor beyond full scale
            mono = _finite(mono)
        if self._compares and n_channels > 1:
            channels = as_floats(held, n_channels)
            products = (channels @ channels.T).astype(np.float64)
            if self.channel_products is not None and len(self.channel_products) == n_channels:
                products += self.channel_products
            self.channel_products = products
        return mono

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
    scaled = waveform * 32768.0
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -32768, 32767, out=scaled).astype(np.int16)


def encode_flac(waveform: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> bytes:
    """Encode mono float32 samples of shape (samples,) as 16-bit FLAC; decoding gives `pcm16(waveform)` exactly."""
    buffer = io.BytesIO()
    # libFLAC, not FFmpeg's own encoder: twice as fast, and its files are 6 % smaller.
    soundfile.write(buffer, pcm16(waveform), sampling_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def open_source(source: Source) -> BinaryIO:
    """Open a path, bytes or file object for reading; a path only when it is a regular file that is not empty.

    Raises:
        AudioError: a folder, pipe or device, an empty file, or one that cannot be read or fetched.
    """
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if isinstance(source, RemoteFile):
        try:
            return source.open()
        except FetchError as error:
            raise AudioError(str(error)) from error
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


def _decoder(codec: av.CodecContext) -> av.CodecContext:
    preferred = _PREFERRED_DECODER.get(codec.name)
    if preferred not in av.codecs_available:
        return codec
    decoder = av.CodecContext.create(preferred, "r")
    decoder.extradata = codec.extradata
    return decoder


def _finite(samples: np.ndarray) -> np.ndarray:
    peak = max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))  # NaN from either if there is one
    if not np.isfinite(peak):
        raise AudioError("contains NaN or infinite samples")
    if peak > MAX_PEAK:
        raise AudioError(f"contains samples of {peak:.0e} times full scale")
    return samples


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
