"""Many recordings at once: the scores of one at a time, in order, in memory that neither count nor length grows."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake.audio.decode import AudioError, encode_flac
from deepfake.models.windows import WindowScore
from deepfake.scoring.engine import Plan, pack, score_readings
from deepfake.scoring.reading import Reading
from infer import Detector

RATE = 16_000


@pytest.fixture(scope="module")
def folder(speech: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 files: short, long (three windows), silent, broken, in no helpful order."""
    folder = tmp_path_factory.mktemp("engine")
    for index in range(24):
        length = round((0.6 + 1.7 * (index % 6)) * RATE) if index % 10 else 20 * RATE
        samples = np.zeros(RATE, "f4") if index % 13 == 5 else speech[100 * index :][:length]
        (folder / f"{index:02d}.flac").write_bytes(encode_flac(samples) if index % 17 else b"junk")
    return folder


def test_packed_scores_are_those_of_single_files(folder: Path, tiny_checkpoint: Path) -> None:
    detector = Detector.from_pretrained(tiny_checkpoint, batch_size=5, workers=3)
    paths = sorted(folder.iterdir())
    rows = list(detector.score_files(paths))
    assert [row.path for row in rows] == [str(path) for path in paths]
    for row in rows:
        if row.error is not None:
            with pytest.raises(AudioError) as raised:
                detector.score(row.path)
            assert str(raised.value) == row.error
            continue
        alone = detector.score(row.path)
        assert row.fake_probability == pytest.approx(alone.fake_probability, abs=1e-5)
        assert (row.windows, row.duration_s) == (alone.windows, alone.duration_s)
    assert {row.windows for row in rows} >= {0, 1, 3}
    again = Detector.from_pretrained(tiny_checkpoint, batch_size=5, workers=1).score_files(paths)
    assert [row.fake_probability for row in again] == [row.fake_probability for row in rows]  # whatever the timing


def test_windows_of_many_files_share_batches(folder: Path, tiny_checkpoint: Path) -> None:
    detector = Detector.from_pretrained(tiny_checkpoint, batch_size=4)
    sizes = []

    def forward(waveforms: Sequence[np.ndarray]) -> list[WindowScore]:
        sizes.append(len(waveforms))
        assert len(waveforms) * max(map(len, waveforms)) * 0.85 <= sum(map(len, waveforms))
        return [WindowScore(0.0, None) for _ in waveforms]

    results = list(score_readings((Reading(p) for p in sorted(folder.iterdir())), forward, detector.plan))
    assert sum(r.windows for r in results) == sum(sizes)
    assert np.mean(sizes) > 2


def test_silence_and_noise_say_no_speech(tiny_checkpoint: Path, tmp_path: Path, speech: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 20 * RATE).astype("f4")
    little = np.concatenate((np.zeros(3 * RATE, "f4"), speech[round(0.5 * RATE) :][: RATE // 10], np.zeros(RATE, "f4")))
    for index, samples in enumerate((np.zeros(40 * RATE, "f4"), noise, little)):
        (tmp_path / f"{index}.flac").write_bytes(encode_flac(samples))
    rows = list(Detector.from_pretrained(tiny_checkpoint).score_files(sorted(tmp_path.iterdir())))
    assert len(rows) == 3
    for row in rows:
        assert row.error.startswith("no_speech: ")
        assert (row.fake_probability, row.prediction, row.max_window, row.windows) == (None, None, None, 0)
        assert row.duration_s > 1


def test_files_are_taken_as_they_are_needed(folder: Path) -> None:
    """The list may be endless: what is read ahead is bounded, and a closed run leaves no threads behind."""
    taken = 0

    def endless() -> Iterator[Reading]:
        nonlocal taken
        while True:
            taken += 1
            yield Reading(folder / "03.flac")

    plan = Plan(window=13 * RATE, hop=6 * RATE, batch_size=2, workers=2)
    results = score_readings(endless(), lambda ws: [WindowScore(0.0, None) for _ in ws], plan)
    for _ in range(50):
        next(results)
    results.close()
    assert taken < 50 + 4 * plan.workers + 8 * plan.batch_size


def test_memory_does_not_grow_with_length(speech: np.ndarray, tiny_checkpoint: Path, tmp_path: Path) -> None:
    detector = Detector.from_pretrained(tiny_checkpoint, workers=1, batch_size=1)
    peaks = []
    for minutes in (3, 15):
        bursts = np.concatenate((speech[: 10 * RATE], np.zeros(50 * RATE, "f4")))
        path = tmp_path / f"{minutes}.flac"
        path.write_bytes(encode_flac(np.tile(bursts, minutes)))
        tracemalloc.start()
        (row,) = detector.score_files([path])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert row.duration_s == 60 * minutes
        assert row.windows >= minutes
    assert peaks[1] < 1.25 * peaks[0]


LENGTHS = st.lists(st.integers(8_000, 208_000), max_size=40)


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.integers(1, 9), st.booleans(), st.booleans())
def test_packing_takes_every_window_once(lengths: list[int], size: int, equal: bool, fixed: bool) -> None:
    plan = Plan(208_000, 104_000, batch_size=size, equal_lengths=equal, fixed_length=fixed)
    batches = pack(lengths, plan)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        of_batch = [lengths[i] for i in batch]
        assert len(batch) <= size
        if not fixed:
            assert 1 - sum(of_batch) / (len(batch) * max(of_batch)) <= 0.15
            assert not equal or len(set(of_batch)) == 1
