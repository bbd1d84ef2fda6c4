"""The same audio is recognised after re-encoding, trimming and gain; different audio is not."""

from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from test_data_prep_hostile import encode, resampled

from data_prep import fingerprint as module
from data_prep.fingerprint import Fingerprint, fingerprint, near_duplicates
from deepfake.audio.decode import SAMPLING_RATE, load_audio

EXAMPLES = Path(__file__).parents[1] / "examples/recordings"


@cache
def clips() -> tuple[np.ndarray, ...]:
    """8 s clips, two from each of six recordings of different voices."""
    size = 8 * SAMPLING_RATE
    names = ("real/vctk_p225.mp3", "real/vctk_p226.wav", "real/vctk_p227.flac", "real/asterisk_june_fr.mp3")
    waveforms = [load_audio(EXAMPLES / name) for name in (*names, "fake/kokoro_bf_alice.mp3", "fake/piper_joe.aac")]
    return tuple(w[i * size : (i + 1) * size] for w in waveforms for i in range(2) if len(w) >= (i + 1) * size)


def changed(samples: np.ndarray, kind: str, path: Path) -> np.ndarray:
    if kind == "gain":
        return 0.2 * samples
    if kind == "trim":
        return samples[8_123:-9_777]
    if kind == "telephone":
        encode(path, resampled(samples, 8_000)[None], 8_000, "pcm_alaw", container="wav")
    elif kind == "mp3":
        encode(path, samples[None], SAMPLING_RATE, "libmp3lame", container="mp3")
    elif kind == "opus":
        encode(path, samples[None], SAMPLING_RATE, "libopus", container="ogg")
    return load_audio(path)


@pytest.mark.parametrize("kind", ["gain", "trim", "telephone", "mp3", "opus"])
def test_copies_are_found_and_nothing_else(tmp_path, kind):
    originals = [fingerprint(samples) for samples in clips()]
    copies = [fingerprint(changed(samples, kind, tmp_path / "x")) for samples in clips()]
    count = len(originals)
    found = {(match.first, match.second) for match in near_duplicates(originals + copies)}
    assert found == {(i, i + count) for i in range(count)}


def test_the_shift_is_where_the_copy_begins():
    samples = clips()[0]
    (match,) = near_duplicates([fingerprint(samples[2 * SAMPLING_RATE :]), fingerprint(samples)])
    assert match.shift_s == pytest.approx(2.0, abs=0.05)
    assert match.share > 0.5


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(100), np.zeros(80_000), np.full(80_000, 0.3)])
def test_silence_and_nothing_are_like_nothing(samples):
    empty = fingerprint(samples.astype(np.float32))
    assert near_duplicates([empty, empty, fingerprint(clips()[0])]) == []


def test_a_memory_map_and_any_block_size_give_the_same(tmp_path, monkeypatch):
    expected = fingerprint(clips()[0])
    clips()[0].tofile(tmp_path / "samples")
    monkeypatch.setattr(module, "_BLOCK_FRAMES", 77)
    found = fingerprint(np.memmap(tmp_path / "samples", np.float32, "r"))
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.frames, expected.frames)


def test_unrelated_values_do_not_match_however_many_there_are():
    random = np.random.default_rng(0)
    prints = [
        Fingerprint(random.integers(0, 2**20, 300).astype(np.uint32), np.sort(random.integers(0, 2000, 300)))
        for _ in range(1000)
    ]
    assert near_duplicates(prints) == []


def test_av_still_offers_the_codecs_of_this_test():
    assert {"libmp3lame", "libopus", "pcm_alaw"} <= set(av.codecs_available)
