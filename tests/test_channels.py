"""Channels do what their names say: to the bit for G.711, to the decibel for noise, in place and in shape for all."""

from __future__ import annotations

import hashlib
import sys
import time

import av
import numpy as np
import pytest
from conftest import run

from deepfake.channels.acoustics import active_power, add_noise, clip_share, gain, reverberate, room_response
from deepfake.channels.codecs import CODECS, round_trip
from deepfake.channels.conditions import CONDITIONS
from deepfake.channels.edits import lead_silence, speed, trim_edges
from deepfake.channels.filters import denoise, normalise_loudness, stretch
from deepfake.channels.lines import alaw_decode, alaw_encode, lose_packets, lost_packets, mulaw_decode, mulaw_encode

RATE = 16_000
ALL_SAMPLES = np.arange(-32768, 32768).astype(np.int16)
ALL_CODES = np.arange(256).astype(np.uint8)
LAWS = {"mulaw": (mulaw_encode, mulaw_decode), "alaw": (alaw_encode, alaw_decode)}


def ffmpeg_values(codec: str) -> np.ndarray:
    decoder = av.CodecContext.create(f"pcm_{codec}", "r")
    decoder.sample_rate, decoder.layout = 8000, "mono"
    frames = [*decoder.decode(av.Packet(ALL_CODES.tobytes())), *decoder.decode(None)]
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


def itu_decision_values(law: str) -> list[int]:
    """Lower ends of the 128 magnitude intervals, in the table's own 14- (mu) or 13-bit (A) steps, from its interval
    sizes: mu-law 1 step of 1, 15 of 2, then 16 each of 4 to 256; A-law 32 of 2, then 16 each of 4 to 128, halved here
    to the 12-bit magnitude."""
    if law == "mulaw":
        sizes = [1] + [2] * 15 + [size for k in range(2, 9) for size in [2**k] * 16]
    else:
        sizes = [1] * 32 + [size for k in range(1, 7) for size in [2**k] * 16]
    assert len(sizes) == 128
    return [sum(sizes[:i]) for i in range(128)]


@pytest.mark.parametrize("law", LAWS)
def test_g711_decodes_as_ffmpeg_does(law: str) -> None:
    np.testing.assert_array_equal(LAWS[law][1](ALL_CODES), ffmpeg_values(law))


@pytest.mark.parametrize("law", LAWS)
def test_g711_encodes_by_the_itu_decision_values(law: str) -> None:
    encode, _ = LAWS[law]
    lower = itu_decision_values(law)
    per_step = 4 if law == "mulaw" else 16  # 16-bit samples per step of the decision values
    for sample in [*range(-32768, 32768, 7), -32768, 32767, *range(-300, 300)]:
        magnitude = (sample if sample >= 0 else -sample - 1) // per_step
        interval = max(i for i, low in enumerate(lower) if low <= magnitude)
        if law == "mulaw":
            expected = 0xFF - interval - (0x80 if sample < 0 else 0)
        else:
            expected = (interval | (0x80 if sample >= 0 else 0)) ^ 0x55
        assert int(encode(np.array([sample], np.int16))[0]) == expected, sample


@pytest.mark.parametrize("law", LAWS)
def test_g711_keeps_its_own_values_and_the_order_of_others(law: str) -> None:
    encode, decode = LAWS[law]
    np.testing.assert_array_equal(decode(encode(decode(ALL_CODES))), decode(ALL_CODES))
    assert (np.diff(decode(encode(ALL_SAMPLES)).astype(int)) >= 0).all()


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_keep_length_and_place(codec: str, speech: np.ndarray) -> None:
    clip = speech[RATE : 4 * RATE + 123]
    heard = round_trip(clip, codec, {"g722": None, "amr": 12_200}.get(codec, 48_000))
    assert heard.shape == clip.shape
    assert heard.dtype == np.float32
    spectrum = np.fft.rfft(heard, 2 * len(clip)) * np.conj(np.fft.rfft(clip, 2 * len(clip)))
    lag = int(np.argmax(np.fft.irfft(spectrum)))
    assert min(lag, 2 * len(clip) - lag) <= 2  # samples
    assert not np.array_equal(heard, clip)
    # AMR keeps 300 to 3400 Hz, and follows the ear rather than the waveform.
    assert np.corrcoef(heard, clip)[0, 1] > (0.5 if codec == "amr" else 0.8)


def test_lower_rates_lose_more(speech: np.ndarray) -> None:
    clip = speech[: 4 * RATE]
    errors = [np.mean((round_trip(clip, "mp3", rate) - clip) ** 2) for rate in (64_000, 32_000, 16_000)]
    assert errors == sorted(errors)


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: c.name)
def test_every_condition_returns_sound_samples(condition: object, speech: np.ndarray) -> None:
    clip = speech[: 3 * RATE]
    before = clip.copy()
    heard = condition.apply(clip, 0, "a")
    np.testing.assert_array_equal(clip, before)
    assert heard.dtype == np.float32
    assert heard.ndim == 1
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() < 4
    if condition.name not in ("clean", "trimmed", "loss_1"):  # three seconds may lose none of one packet in a hundred
        assert not np.array_equal(heard, clip)
    quiet = condition.apply(np.zeros(RATE, np.float32), 0, "a")
    assert np.isfinite(quiet).all()


def test_a_denoiser_takes_noise_out_of_pauses_and_leaves_speech(speech: np.ndarray) -> None:
    clip = speech[: 6 * RATE]
    noisy = (clip + np.random.default_rng(0).normal(scale=0.005, size=clip.size)).astype(np.float32)
    frames = lambda samples: np.square(samples[: samples.size // 400 * 400].reshape(-1, 400)).mean(axis=1)  # noqa: E731
    before, quiet = frames(noisy), frames(noisy) <= np.quantile(frames(noisy), 0.15)
    change = [10 * np.log10(frames(denoise(noisy, db))[quiet].mean() / before[quiet].mean()) for db in (12, 24)]
    assert change[1] < change[0] < -5
    heard = denoise(noisy, 12)
    assert heard.shape == noisy.shape
    assert np.corrcoef(heard, clip)[0, 1] > 0.99  # in its place in time, too


def test_loudness_is_brought_to_the_target_and_stretching_keeps_the_pitch(speech: np.ndarray) -> None:
    clip = speech[: 6 * RATE]
    quieter, louder = (np.sqrt(np.mean(np.square(normalise_loudness(clip, lufs)))) for lufs in (-23, -16))
    assert 20 * np.log10(louder / quieter) == pytest.approx(7, abs=1.5)
    tone = np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE).astype(np.float32) * 0.3
    slower = stretch(tone, 0.96)
    assert slower.size / tone.size == pytest.approx(1 / 0.96, abs=0.03)
    peak = np.abs(np.fft.rfft(slower)).argmax() * RATE / slower.size
    assert peak == pytest.approx(440, abs=4)
    for effect in (lambda x: denoise(x, 12), lambda x: normalise_loudness(x, -16), lambda x: stretch(x, 0.96)):
        assert effect(np.zeros(0, np.float32)).size == 0
        assert np.isfinite(effect(clip[:100])).all()


HASH = """
import hashlib, numpy as np
from deepfake.channels.conditions import CONDITIONS
clip = np.sin(np.arange(32000) * np.linspace(0.01, 0.4, 32000)).astype(np.float32) * 0.3
print(hashlib.sha256(b"".join(c.apply(clip, 5, "x").tobytes() for c in CONDITIONS)).hexdigest())
"""


def test_same_bytes_every_run() -> None:
    first, second = (run(sys.executable, "-c", HASH).stdout for _ in range(2))
    assert first == second
    assert len(first.strip()) == 64


def test_draws_depend_on_seed_condition_and_clip(speech: np.ndarray) -> None:
    white, pink = (next(c for c in CONDITIONS if c.name == name) for name in ("white_10dB", "white_20dB"))
    clip = speech[:RATE]
    noise = [white.apply(clip, 0, "a"), white.apply(clip, 1, "a"), white.apply(clip, 0, "b"), pink.apply(clip, 0, "a")]
    digests = {hashlib.sha256((n - clip).tobytes()).hexdigest() for n in noise}
    assert len(digests) == 4


@pytest.mark.parametrize("colour", ["white", "pink"])
def test_noise_is_as_loud_as_asked(colour: str, speech: np.ndarray) -> None:
    clip = speech[: 6 * RATE]
    for snr_db in (30, 10, 0):
        noise = add_noise(clip, np.random.default_rng(0), snr_db, colour).astype(float) - clip
        measured = 10 * np.log10(active_power(clip) / np.mean(noise**2))
        assert measured == pytest.approx(snr_db, abs=0.1)


def test_pink_noise_has_equal_power_per_octave() -> None:
    tone = np.sin(np.arange(30 * RATE) * 0.1).astype(np.float32)
    noise = add_noise(tone, np.random.default_rng(1), 0, "pink") - tone
    power = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
    octaves = [power[(hertz >= low) & (hertz < 2 * low)].sum() for low in (250, 500, 1000, 2000)]
    assert max(octaves) / min(octaves) < 1.2


def test_pauses_do_not_count_as_signal(speech: np.ndarray) -> None:
    padded = np.concatenate([speech[: 4 * RATE], np.zeros(8 * RATE, np.float32)])
    assert active_power(padded) == pytest.approx(active_power(speech[: 4 * RATE]), rel=0.01)


@pytest.mark.parametrize("loss", [0.01, 0.1, 0.3])
def test_packets_are_lost_in_the_asked_share_and_in_bursts(loss: float) -> None:
    lost = lost_packets(200_000, loss, 2.0, np.random.default_rng(0))
    assert lost.mean() == pytest.approx(loss, rel=0.1)
    starts = np.count_nonzero(lost[1:] & ~lost[:-1])
    assert lost.sum() / starts == pytest.approx(2.0, rel=0.1)


def test_packets_that_arrive_are_untouched(speech: np.ndarray) -> None:
    clip = speech[: 5 * RATE + 77]
    heard = lose_packets(clip, np.random.default_rng(3), 0.2)
    lost = lost_packets(-(-len(clip) // 320), 0.2, 2.0, np.random.default_rng(3))
    kept = ~np.repeat(lost, 320)[: len(clip)]
    np.testing.assert_array_equal(heard[kept], clip[kept])
    assert not np.array_equal(heard, clip)


@pytest.mark.parametrize("rt60_s", [0.3, 1.0])
def test_room_decays_by_60_dB_in_its_rt60(rt60_s: float) -> None:
    response = room_response(rt60_s, 3.0, np.random.default_rng(0))
    left = 10 * np.log10(np.cumsum(response[1:][::-1] ** 2)[::-1])  # Schroeder's backward integral
    t = np.arange(len(left)) / RATE
    linear = (left < left[0] - 5) & (left > left[0] - 35)
    slope = np.polyfit(t[linear], left[linear], 1)[0]
    assert -60 / slope == pytest.approx(rt60_s, rel=0.1)
    assert 10 * np.log10(1 / np.sum(response[1:] ** 2)) == pytest.approx(3.0, abs=1e-6)


def test_room_keeps_the_level(speech: np.ndarray) -> None:
    heard = reverberate(speech[: 5 * RATE], np.random.default_rng(0), 0.6)
    assert np.mean(heard**2) == pytest.approx(np.mean(speech[: 5 * RATE] ** 2), rel=1e-4)


def test_levels(speech: np.ndarray) -> None:
    clip = speech[: 4 * RATE]
    np.testing.assert_allclose(gain(clip, -20), clip / 10, rtol=1e-5)
    assert np.abs(gain(clip, 60)).max() == 1.0
    clipped = clip_share(clip, 0.05)
    assert np.mean(np.abs(clipped) >= np.abs(clipped).max()) == pytest.approx(0.05, abs=0.002)


def test_timing(speech: np.ndarray) -> None:
    clip = speech[: 4 * RATE]
    assert len(speed(clip, 1.25)) == pytest.approx(len(clip) / 1.25, abs=2)
    silence = np.zeros(RATE, np.float32)
    np.testing.assert_array_equal(lead_silence(clip, 1.0), np.concatenate([silence, clip]))
    trimmed = trim_edges(np.concatenate([silence, clip, silence]))
    assert len(trimmed) <= len(clip)
    np.testing.assert_array_equal(trimmed, trim_edges(clip))


def test_a_hundred_times_faster_than_playing_it(speech: np.ndarray) -> None:
    clips = [speech[i * 4 * RATE : (i + 1) * 4 * RATE] for i in range(4)]
    start = time.process_time()
    for condition in CONDITIONS:
        for i, clip in enumerate(clips):
            condition.apply(clip, 0, str(i))
    assert len(CONDITIONS) * 16.0 / (time.process_time() - start) >= 100
