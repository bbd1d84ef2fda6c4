"""What makes a score less sure is told of the recordings it is true of, and of no clean one."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from conftest import RECORDINGS

from deepfake.audio.decode import AudioReader
from deepfake.scoring.audio_facts import AudioFacts, AudioWarning
from deepfake.scoring.reading import Reading

RATE = 16_000
WINDOW, HOP = 13 * RATE, round(6.5 * RATE)


def warnings(source: bytes | np.ndarray | Path) -> dict[str, str]:
    """Codes and texts."""
    reading = Reading(source, RATE if isinstance(source, np.ndarray) else None, facts=AudioFacts())
    list(reading.windows(WINDOW, HOP))
    found: tuple[AudioWarning, ...] = reading.facts.warnings(reading.track)
    assert len({one.code for one in found}) == len(found)
    return {one.code: one.text for one in found}


def noise(samples: int, level: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, level, samples).astype(np.float32)


def by_telephone(samples: np.ndarray) -> np.ndarray:
    return soxr.resample(soxr.resample(samples, RATE, 8000), 8000, RATE)


def joined(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts).astype(np.float32)


def stereo(left: np.ndarray, right: np.ndarray, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.stack((left, right), axis=1), RATE, format="WAV", subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(
    ("code", "says", "change"),
    [
        ("clipped", "clipped: ", lambda x: np.clip(12 * x, -0.999, 0.999)),
        ("low_level", "very quiet: -5", lambda x: 0.02 * x),
        ("narrowband", "narrow band: nothing above ", by_telephone),
        ("noise", "noisy: the sound is only ", lambda x: x + noise(len(x), 0.05)),
        ("short_speech", "little speech: only ", lambda x: joined(x[RATE : 2 * RATE], np.zeros(2 * RATE))),
        ("music_or_noise", "music or noise: ", lambda x: joined(x[: 3 * RATE], noise(20 * RATE, 0.1))),
    ],
)  # fmt: skip
def test_a_limit_of_the_sound_is_told(
    code: str, says: str, change: Callable[[np.ndarray], np.ndarray], speech: np.ndarray
) -> None:
    clean = speech[: 8 * RATE]
    assert warnings(clean) == {}
    assert warnings(change(clean).astype(np.float32))[code].startswith(says)


def test_the_embedded_recordings_need_few_warnings() -> None:
    for path in sorted(RECORDINGS.glob("*/*.*")):
        assert set(warnings(path)) <= {"different_channels"}, path.name


def test_what_is_told_does_not_depend_on_the_blocks(speech: np.ndarray) -> None:
    samples = np.concatenate((np.clip(9 * speech, -1, 1), noise(50 * RATE, 0.02))).astype(np.float32)
    told = []
    for size in (3_001, 160_000, len(samples)):
        facts = AudioFacts()
        for start in range(0, len(samples), size):
            facts.hear(samples[start : start + size])
        facts.ended()
        told.append(facts.measures)
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8", "FLOAT", "PCM_24"])
def test_channels_are_compared(subtype: str, speech: np.ndarray) -> None:
    left, other = speech[: 8 * RATE], speech[9 * RATE : 17 * RATE]
    level = 10 * left / np.abs(left).max() * 0.09  # 8 bits need some
    assert "different_channels" not in warnings(stereo(level, 0.4 * level, subtype))
    assert "different_channels" not in warnings(stereo(level, np.zeros_like(level), "FLOAT"))
    told = warnings(stereo(level, other, subtype))["different_channels"]
    assert told.startswith("channels differ: correlation 0.0") or told.startswith("channels differ: correlation -0.0")
    slightly = warnings(stereo(level, -0.95 * level + 0.2 * other, subtype))["different_channels"]
    assert slightly.startswith("channels cancel: mixed, they are 2")


def test_products_of_channels_are_those_of_the_samples(speech: np.ndarray) -> None:
    left, right = speech[: 5 * RATE], speech[5 * RATE : 10 * RATE]
    with AudioReader(stereo(left, right, "FLOAT"), compare_channels=True) as reader:
        list(reader.blocks())
        both = np.stack((left, right)).astype(np.float64)
        np.testing.assert_allclose(reader.channel_products, both @ both.T, rtol=1e-4)
    with AudioReader(stereo(left, right)) as reader:
        list(reader.blocks())
        assert reader.channel_products is None


def encoded(samples: np.ndarray, container: str, codec: str, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = RATE
        for part in (*av.AudioResampler(stream.format.name, "mono", rate).resample(frame), None):
            output.mux(stream.encode(part))
    return file.getvalue()


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [("wav", "pcm_s16le", RATE), ("flac", "flac", RATE), ("mp3", "libmp3lame", RATE), ("matroska", "libopus", 48_000)],
)
def test_a_file_cut_short_is_told(container: str, codec: str, rate: int, speech: np.ndarray) -> None:
    whole = encoded(speech[: 12 * RATE], container, codec, rate)
    assert "truncated" not in warnings(whole)
    told = warnings(whole[: len(whole) // 2])["truncated"]
    assert told.startswith("truncated: only ")
    assert "of the 12.0 s that it states" in told
    tagged = b"ID3\x04\x00\x00" + bytes([0, 5, 0, 0]) + bytes(5 << 14) + whole  # a picture of 80 kB before the sound
    if container == "mp3":
        assert "truncated" in warnings(tagged[: len(tagged) - len(whole) // 2])
        assert "truncated" not in warnings(tagged)


def test_a_length_that_was_not_known_when_the_header_was_written_states_nothing(speech: np.ndarray) -> None:
    whole = bytearray(encoded(speech[: 3 * RATE], "wav", "pcm_s16le"))
    at = whole.index(b"data") + 4
    for size in (0, 0x7FFFF000, 0xFFFFFFFF):
        whole[at : at + 4] = size.to_bytes(4, "little")
        with AudioReader(bytes(whole)) as reader:
            assert reader.info.stated_s is None
        assert "truncated" not in warnings(bytes(whole))


def test_damage_inside_is_told(speech: np.ndarray) -> None:
    whole = bytearray(encoded(speech[: 12 * RATE], "mp3", "libmp3lame"))
    assert "damaged" not in warnings(bytes(whole))
    middle = len(whole) // 2
    whole[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    assert warnings(bytes(whole))["damaged"].startswith("damaged: 1 of ")
