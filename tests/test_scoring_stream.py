"""A stream's final score is that of the whole recording, whatever the pieces, and its memory does not grow."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from conftest import save_tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake.audio.decode import AudioError
from deepfake.scoring.stream import StreamingDetector
from infer import Detector

RATE = 16_000
# Windows so short that a few seconds of speech give many, with and without overlap at the end.
SHORT = {"threshold": 0.4, "window_s": 1.5, "hop_s": 0.7}


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return Detector.from_pretrained(save_tiny(tmp_path_factory.mktemp("stream") / "model", detector=SHORT))


@pytest.fixture(scope="module")
def recording(speech: np.ndarray) -> np.ndarray:
    """Speech with silence before, within and after."""
    silence = np.zeros(3 * RATE + 77, "f4")
    return np.concatenate((silence, speech[: 4 * RATE], silence, speech[4 * RATE : 7 * RATE + 123], silence))


def in_pieces(samples: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    edges = np.minimum(np.cumsum([0, *sizes, len(samples)]), len(samples))
    return [samples[a:b] for a, b in zip(edges, edges[1:], strict=False)]


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_pieces_give_the_score_of_the_whole(detector: Detector, recording: np.ndarray, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, 4 * RATE))
    samples = recording[start : data.draw(st.integers(start + 4 * RATE, len(recording)))]
    sizes = data.draw(st.lists(st.integers(0, 3 * RATE), max_size=30))
    stream = StreamingDetector(detector, update_s=data.draw(st.sampled_from([None, 0.5, 2.0])))
    for piece in in_pieces(samples, sizes):
        stream.feed(piece)
    score, whole = stream.finish(), detector.score(samples, RATE)
    assert score.fake_probability == pytest.approx(whole.fake_probability, abs=1e-6)
    assert score.max_window == pytest.approx(whole.max_window, abs=1e-6)
    assert (score.windows, score.duration_s, score.prediction) == (whole.windows, whole.duration_s, whole.prediction)


def test_the_detector_in_the_box_streams_to_the_score_of_the_whole(speech: np.ndarray) -> None:
    detector = Detector.from_pretrained()
    stream = StreamingDetector(detector, update_s=None)
    for piece in in_pieces(speech, [320] * 100 + [7777] * 20):
        stream.feed(piece)
    assert stream.finish().fake_probability == pytest.approx(detector.score(speech, RATE).fake_probability, abs=1e-6)


def test_a_provisional_verdict_is_the_score_of_what_was_heard(detector: Detector, recording: np.ndarray) -> None:
    stream, heard, checked = StreamingDetector(detector, update_s=0.5), 0, 0
    for piece in in_pieces(recording, [RATE // 4] * 80):
        heard += len(piece)
        for verdict in stream.feed(piece):
            if verdict.provisional:
                score = detector.score(recording[:heard], RATE)
                assert verdict.score.fake_probability == pytest.approx(score.fake_probability, abs=1e-6)
                assert (verdict.score.duration_s, verdict.score.windows) == (score.duration_s, score.windows)
                checked += 1
            assert verdict.start_s < verdict.stop_s <= heard / RATE
    assert checked > 10


def test_there_is_no_verdict_before_there_is_speech_and_one_a_second_afterwards(
    detector: Detector, recording: np.ndarray
) -> None:
    stream = StreamingDetector(detector)
    silent = 3 * RATE
    assert [stream.feed(piece) for piece in in_pieces(recording[:silent], [800] * 60)] == [[]] * 61
    times = [v.score.duration_s for p in in_pieces(recording[silent : 7 * RATE], [800] * 80) for v in stream.feed(p)]
    assert times[0] < 4.6
    assert max(np.diff(times)) <= 1.06  # a second, and the rest of the piece in which it ends


def test_a_minute_at_once_costs_one_provisional_verdict(detector: Detector, recording: np.ndarray) -> None:
    verdicts = StreamingDetector(detector, update_s=0.5).feed(np.tile(recording, 4))
    assert [v.provisional for v in verdicts[:-1]] == [False] * (len(verdicts) - 1)


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_other_rates_are_resampled_as_a_file_would_be(detector: Detector, speech: np.ndarray, rate: int) -> None:
    import soxr

    samples = soxr.resample(speech[: 6 * RATE], RATE, rate)
    stream = StreamingDetector(detector, rate)
    for piece in in_pieces(samples, [160] * 100 + [5000] * 3):
        stream.feed(piece)
    assert stream.finish().fake_probability == pytest.approx(detector.score(samples, rate).fake_probability, abs=1e-6)


@pytest.mark.parametrize(("seconds", "reason"), [(0.0, "too short"), (0.3, "too short"), (5.0, "no_speech")])
def test_what_cannot_be_scored_is_told_in_the_words_of_a_file(detector: Detector, seconds: float, reason: str) -> None:
    samples = np.zeros(round(seconds * RATE), np.float32)
    stream = StreamingDetector(detector)
    assert stream.feed(samples) == []
    with pytest.raises(AudioError, match=reason) as raised:
        stream.finish()
    with pytest.raises(AudioError) as of_file:
        detector.score(samples, RATE)
    assert str(raised.value) == str(of_file.value)


def test_samples_of_another_kind_and_a_finished_stream_are_refused(detector: Detector, speech: np.ndarray) -> None:
    stream = StreamingDetector(detector)
    with pytest.raises(ValueError, match="int16"):
        stream.feed(np.zeros(10, np.int16))
    with pytest.raises(ValueError, match=r"\(2, 5\)"):
        stream.feed(np.zeros((2, 5), np.float32))
    with pytest.raises(AudioError, match="NaN"):
        stream.feed(np.full(10, np.nan))
    stream.feed(speech[: 2 * RATE])
    stream.finish()
    for call in (stream.finish, lambda: stream.feed(speech)):
        with pytest.raises(ValueError, match="finished"):
            call()


def test_memory_does_not_grow_with_the_hours(tmp_path: Path, speech: np.ndarray) -> None:
    """Eight minutes in steps of four seconds, mostly silent so that the model has little to do."""
    folder = save_tiny(tmp_path / "model", detector={"threshold": 0.4, "window_s": 13.0, "hop_s": 13.0})
    stream = StreamingDetector(Detector.from_pretrained(folder), update_s=None)
    minute = np.concatenate((speech[: 2 * RATE], np.zeros(58 * RATE, "f4")))
    kept = []
    tracemalloc.start()
    for _ in range(8):
        for start in range(0, len(minute), 4 * RATE):
            stream.feed(minute[start : start + 4 * RATE])
        kept.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert stream.finish().duration_s == 480
    assert kept[-1] - kept[1] < 500_000  # of 31 MB of samples
