"""Lossy codecs, by FFmpeg inside PyAV: encode, decode, same length and place in time."""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import numpy as np
import soxr

from deepfake.audio.decode import SAMPLING_RATE, load_audio
from deepfake.channels.lines import fitted


@dataclass(frozen=True)
class Codec:
    """How to encode: FFmpeg's names of encoder and container, its sample format and options.

    delay: samples at 16 kHz that encoder and decoder put in front and that nothing in the file makes the decoder take
        off. rate: the codec's own sampling rate in Hz.
    """

    encoder: str
    container: str
    sample_format: str
    options: tuple[tuple[str, str], ...] = ()
    delay: int = 0
    rate: int = SAMPLING_RATE


CODECS = {
    "mp3": Codec("libmp3lame", "mp3", "fltp"),
    "opus": Codec("libopus", "ogg", "flt", (("application", "voip"), ("compression_level", "5"))),
    "aac": Codec("aac", "mp4", "fltp", delay=1024),
    "g722": Codec("g722", "g722", "s16", delay=22),
    "amr": Codec("libopencore_amrnb", "amr", "s16", delay=80, rate=8_000),  # narrowband, as GSM and UMTS calls carry it
}


def round_trip(samples: np.ndarray, codec: str, bit_rate: int | None = None) -> np.ndarray:
    """Encode and decode once.

    Args:
        samples: mono float32 at 16 kHz, shape (n,).
        codec: "mp3", "opus", "aac", "g722" (which has the one rate of 64 kbit/s) or "amr" (4,750 to 12,200 bit/s).
        bit_rate: in bit/s.

    Returns:
        what a listener gets, shape (n,).

    Raises:
        ValueError: an unknown codec.
    """
    if codec not in CODECS:
        raise ValueError(f"unknown codec {codec!r}; choose one of {', '.join(CODECS)}.")
    delay = CODECS[codec].delay
    padded = np.pad(samples, (0, delay))
    if CODECS[codec].rate != SAMPLING_RATE:
        padded = soxr.resample(padded, SAMPLING_RATE, CODECS[codec].rate, "HQ")
    encoded = encode(padded, CODECS[codec], bit_rate)
    decoded = _decode_raw(encoded, "g722") if codec == "g722" else load_audio(encoded)
    return fitted(decoded[delay:], len(samples))


def encode(samples: np.ndarray, codec: Codec, bit_rate: int | None = None) -> bytes:
    """The encoded file, of samples at the codec's rate. Bit-exact muxing: no version string, no random number."""
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format=codec.container, options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec.encoder, rate=codec.rate, options=dict(codec.options))
        stream.layout, stream.format = "mono", codec.sample_format
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        limited = np.clip(samples, -1.0, 1.0).astype(np.float32)[None, :]
        if codec.sample_format == "s16":
            limited = np.rint(limited * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(limited, format=codec.sample_format, layout="mono")
        frame.sample_rate = codec.rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _decode_raw(data: bytes, decoder: str) -> np.ndarray:
    """A stream without a container, which nothing could recognise by its content."""
    with av.open(io.BytesIO(data), mode="r", format=decoder) as container:
        blocks = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return np.concatenate(blocks).astype(np.float32) / 32768.0
