"""Decoding: what librosa's users get, from every container, and a reason when it cannot be."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import librosa
import numpy as np
import pytest
import soundfile
from conftest import RECORDINGS
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake.audio.decode import AudioError, AudioReader, encode_flac, load_audio, pcm16


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("real/vctk_p226.wav", 1e-7),  # 44.1 kHz stereo
        ("real/vctk_p227.flac", 1e-7),  # 22.05 kHz
        ("real/vctk_p225.mp3", 1e-5),  # two MP3 decoders: float rounding
        ("real/vctk_p228.ogg", 1e-4),  # Opus: libopus on both sides, 16-bit here
    ],
)
def test_equals_librosa(name: str, tolerance: float) -> None:
    expected, _ = librosa.load(RECORDINGS / name, sr=16_000, mono=True)
    ours = load_audio(RECORDINGS / name)
    assert len(ours) == len(expected)
    np.testing.assert_allclose(ours, expected, atol=tolerance)


def test_all_embedded_containers_decode_to_their_stated_length() -> None:
    files = sorted(p for p in RECORDINGS.rglob("*") if p.suffix in {".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg"})
    assert len(files) >= 12
    for path in files:
        with AudioReader(path) as reader:
            heard = sum(len(b) for b in reader.blocks()) / 16_000
        assert 20 < heard < 110
        assert reader.corrupt_packets == 0


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000, 192_000])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8"])
def test_a_tone_keeps_its_pitch_and_level(rate: int, subtype: str) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(rate) / rate)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([tone, tone], axis=1), rate, subtype=subtype, format="WAV")
    waveform = load_audio(buffer.getvalue())
    assert abs(len(waveform) - 16_000) <= 1
    middle = waveform[2_000:14_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(np.argmax(spectrum) * 16_000 / len(middle) - 1_000) < 2
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.5, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1.25, 1.25, width=32), min_size=1, max_size=3000))
def test_flac_round_trip_is_the_stated_quantisation(values: list[float]) -> None:
    waveform = np.array(values, dtype=np.float32)
    decoded = load_audio(encode_flac(waveform))
    assert np.array_equal(pcm16(decoded), pcm16(waveform))


def test_a_few_bad_packets_are_skipped_and_counted_many_are_refused() -> None:
    data = bytearray((RECORDINGS / "real" / "asterisk_carlo_it.aac").read_bytes())
    one = bytearray(data)
    with av.open(io.BytesIO(bytes(data))) as container:
        packets = [(p.pos, p.size) for p in container.demux(audio=0) if p.size]
    position, size = packets[500]
    one[position + 7 : position + size] = b"\xff" * (size - 7)
    with AudioReader(bytes(one)) as reader:
        heard = sum(len(b) for b in reader.blocks())
    assert heard > 0.99 * 90 * 16_000
    for position, size in packets[::4]:
        data[position + 7 : position + size] = b"\xff" * (size - 7)
    with pytest.raises(AudioError, match="packets are corrupt"):
        load_audio(bytes(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "decodable|empty"),
        (b"not audio at all" * 100, "not decodable"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "not decodable"),
        (b"#EXTM3U\nhttp://127.0.0.1:1/a.mp3\n", "not decodable"),
    ],
)
def test_bytes_that_are_not_audio_have_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        load_audio(data)


def test_names_that_look_like_protocols_are_plain_files(tmp_path: Path) -> None:
    path = tmp_path / "pipe:0 concat:a|b.flac"
    path.write_bytes(encode_flac(np.zeros(16_000, np.float32)))
    assert len(load_audio(path)) == 16_000


def test_nan_samples_are_refused() -> None:
    buffer = io.BytesIO()
    samples = np.zeros(16_000, np.float32)
    samples[8_000] = np.nan
    soundfile.write(buffer, samples, 16_000, subtype="FLOAT", format="WAV")
    with pytest.raises(AudioError, match="NaN"):
        load_audio(buffer.getvalue())


def _wav(samples: bytes, channels: int = 1, rate: int = 16_000, size: int | None = None, behind: bytes = b"") -> bytes:
    """A WAV file of 16 bits whose header says that it holds `size` bytes of samples."""
    size = len(samples) if size is None else size
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(samples))
        + b"WAVEfmt "
        + form
        + b"data"
        + struct.pack("<I", size)
        + (samples + behind)
    )


_NOISE = np.random.default_rng(0).integers(-(2**15), 2**15, 50_000).astype("<i2").tobytes()
_LIST = b"LIST" + struct.pack("<I", 8) + b"INFOabcd"
_SECOND = b"data" + struct.pack("<I", len(_NOISE)) + _NOISE


@pytest.mark.parametrize(
    ("data", "plain"),
    [
        (_wav(_NOISE), True),
        (_wav(_NOISE, channels=2, rate=44_100), True),
        (_wav(_NOISE[:-4], channels=3, rate=8_000), True),
        (_wav(_NOISE, behind=_LIST), True),
        (_wav(_NOISE, size=len(_NOISE) // 2, behind=b"x" * 70_000), False),
        (_wav(_NOISE, size=len(_NOISE) // 2), True),  # the rest is not said to be samples
        (_wav(_NOISE, behind=_SECOND[:60_000]), False),  # FFmpeg plays it
        (_wav(_NOISE, size=2 * len(_NOISE)), False),  # cut short
        (_wav(_NOISE, size=0), False),
        (_wav(_NOISE, size=0xFFFFFFFF), False),  # written to a pipe
        (_wav(_NOISE + b"x"), False),
        (_wav(_NOISE[:-2], channels=2), False),
    ],
)
def test_samples_read_from_a_wav_file_are_those_that_ffmpeg_reads(data: bytes, plain: bool) -> None:
    with AudioReader(data) as reader:
        assert (reader._plain is not None) == plain
        heard = np.concatenate(list(reader.blocks()))
    with AudioReader(data) as reader:
        reader._plain = None
        np.testing.assert_array_equal(heard, np.concatenate(list(reader.blocks())))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_32", "FLOAT", "PCM_U8", "PCM_24", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_every_kind_of_wav_file_gives_the_mean_of_its_channels(subtype: str, channels: int) -> None:
    samples = np.random.default_rng(1).uniform(-0.99, 0.99, (40_000, channels))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, subtype=subtype, format="WAV")
    stored, _ = soundfile.read(io.BytesIO(buffer.getvalue()), always_2d=True)
    np.testing.assert_allclose(load_audio(buffer.getvalue()), stored.mean(axis=1), atol=2e-7)
    with AudioReader(buffer.getvalue()) as reader:
        reader._plain = None
        np.testing.assert_array_equal(load_audio(buffer.getvalue()), np.concatenate(list(reader.blocks())))
