"""Properties of the two-pass chunker, on arrangements of real speech, silence and noise."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import chunking
from data_prep.chunking import NO_SPEECH, TOO_SHORT, ChunkingOptions, chunk_recording
from data_prep.gaps import Timeline
from deepfake.audio import vad
from deepfake.audio.decode import SAMPLING_RATE, load_audio
from deepfake.audio.energy import HOP_SAMPLES, frame_levels, runs
from deepfake.errors import UserError

RECORDINGS = Path(__file__).parents[1] / "examples/recordings"


@cache
def speech() -> np.ndarray:
    return load_audio(RECORDINGS / "real/vctk_p225.mp3")


def noise(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, round(seconds * SAMPLING_RATE)).astype(np.float32)


PIECE = st.one_of(
    st.tuples(st.just("speech"), st.floats(0.05, 15), st.floats(0.02, 2)),
    st.tuples(st.just("silence"), st.floats(0.01, 4), st.just(0.0)),
    st.tuples(st.just("noise"), st.floats(0.01, 6), st.floats(1e-5, 0.3)),
)
OPTIONS = st.builds(
    lambda min_s, factor, share, gap, kept: ChunkingOptions(
        min_s=min_s, max_s=min_s * factor, min_speech_share=share, max_gap_ms=gap, gap_ms=kept
    ),
    st.floats(0.3, 4),
    st.floats(2, 5),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([300, 1500, 4000]),
    st.sampled_from([None, None, 0, 50, 300]),
)


def arrange(pieces, floor: float) -> np.ndarray:
    parts = []
    for index, (kind, seconds, level) in enumerate(pieces):
        size = round(seconds * SAMPLING_RATE)
        if kind == "speech":
            start = (index * 97_003) % (len(speech()) - size)
            parts.append(level * speech()[start : start + size])
        else:
            parts.append(noise(seconds, level, index) if kind == "noise" else np.zeros(size, np.float32))
    waveform = np.concatenate(parts)
    return waveform + noise(len(waveform) / SAMPLING_RATE, floor)[: len(waveform)] if floor else waveform


def check(waveform: np.ndarray, options: ChunkingOptions) -> chunking.Chunking:
    """Everything that must hold of any chunking."""
    result = chunk_recording(waveform, options)
    assert result == chunk_recording(waveform.copy(), options), "not deterministic"
    stop = 0
    for chunk in result.chunks:
        assert options.min_s * SAMPLING_RATE <= chunk.n_samples <= options.max_s * SAMPLING_RATE
        assert chunk.start_sample >= stop, "chunks overlap or are out of order"
        assert all(type(value) is int for value in (chunk.start_sample, chunk.n_samples))
        assert len(chunk.cut(waveform)) == chunk.n_samples
        assert options.gap_ms is not None or not chunk.removed
        edges = [chunk.start_sample, *(edge for stretch in chunk.removed for edge in stretch), chunk.stop_sample]
        assert edges == sorted(set(edges)), "removed stretches overlap, are empty or lie outside"
        stop = chunk.stop_sample
    assert stop <= len(waveform)
    assert result.speech_samples == result.kept_samples + sum(result.lost_samples.values())
    assert result.kept_samples <= sum(chunk.n_samples for chunk in result.chunks)
    assert min([0, *result.lost_samples.values()]) >= 0
    return result


@settings(max_examples=40, deadline=None)
@given(st.lists(PIECE, min_size=1, max_size=7), st.sampled_from([0.0, 1e-4, 3e-3]), OPTIONS)
def test_limits_disjointness_and_accounting_hold_for_any_recording(pieces, floor, options):
    check(arrange(pieces, floor), options)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_pieces_lose_nothing_but_gaps(data):
    """The cutting alone, on random spans and with any answer that a pause finder may give."""
    options = ChunkingOptions(min_s=1, max_s=data.draw(st.floats(2, 5)))
    low, high = options.min_samples, options.max_samples
    steps = data.draw(st.lists(st.tuples(st.integers(1, 3 * high), st.integers(1, low)), min_size=1, max_size=8))
    edges = np.cumsum([0, *(value for step in steps for value in step)])[:-1]
    spans = edges.reshape(-1, 2)
    if spans[-1, 1] - spans[0, 0] < low:
        return
    pieces = list(chunking._pieces(spans, options, lambda a, b: data.draw(st.integers(a, b))))
    assert all(low <= stop - start <= high for start, stop in pieces)
    assert (pieces[0][0], pieces[-1][1]) == (spans[0, 0], spans[-1, 1])
    for (_, stop), (start, _) in zip(pieces, pieces[1:], strict=False):
        assert stop == start or chunking._overlap(spans, stop, start) == 0
    assert sum(chunking._overlap(spans, *piece) for piece in pieces) == (spans[:, 1] - spans[:, 0]).sum()


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*/*.*")), ids=lambda path: path.name)
def test_real_recordings_are_kept_and_cut_in_pauses(path):
    waveform = load_audio(path)
    result = check(waveform, ChunkingOptions())
    spoken = vad.speech_probabilities(waveform) >= vad.SPEECH_THRESHOLD
    inside = np.zeros(len(spoken) * vad.FRAME_SAMPLES, bool)
    for chunk in result.chunks:
        inside[chunk.start_sample : chunk.stop_sample] = True
    missed_s = float((~inside.reshape(-1, vad.FRAME_SAMPLES)[spoken]).sum() / SAMPLING_RATE)
    assert missed_s <= sum(result.losses.values()) + 0.01 * result.speech_s, "speech lost without being reported"
    levels = frame_levels(waveform)
    frames = np.minimum(np.arange(len(levels)) * HOP_SAMPLES // vad.FRAME_SAMPLES, len(spoken) - 1)
    loud = float(np.median(levels[spoken[frames]]))
    inner = [edge for c in result.chunks for edge in (c.start_sample, c.stop_sample) if 0 < edge < len(waveform) - 1]
    loud_edges = [edge / SAMPLING_RATE for edge in inner if levels[edge // HOP_SAMPLES] > loud - 15]
    assert not loud_edges, "an edge inside a word"


def test_long_spans_are_cut_where_the_vad_hears_a_pause():
    """With silences of up to 1.5 s taken as part of a span, only pass 2 can find places to cut."""
    waveform = load_audio(RECORDINGS / "real/vctk_p228.ogg")
    options = ChunkingOptions(min_silence_ms=1499, max_gap_ms=1500)
    result = check(waveform, options)
    spoken = vad.speech_probabilities(waveform) >= vad.SPEECH_THRESHOLD
    cuts = [
        a.stop_sample for a, b in zip(result.chunks, result.chunks[1:], strict=False) if a.stop_sample == b.start_sample
    ]
    assert len(cuts) >= 4
    assert not any(spoken[cut // vad.FRAME_SAMPLES] for cut in cuts)


def test_without_any_pause_the_quietest_instant_is_cut(monkeypatch):
    monkeypatch.setattr(vad, "_listen", lambda w, n: iter([np.ones(-(-len(w) // vad.FRAME_SAMPLES), np.float32)]))
    waveform = noise(20, 0.1)
    dip = slice(round(8.7 * SAMPLING_RATE), round(8.8 * SAMPLING_RATE))
    waveform[dip] *= 0.1
    first, second = check(waveform, ChunkingOptions()).chunks
    assert dip.start <= first.stop_sample == second.start_sample <= dip.stop


def test_short_neighbours_are_joined_with_their_true_gap_and_far_ones_are_reported():
    word, gap = speech()[: round(1.2 * SAMPLING_RATE)] + 0.0, noise(1.0, 1e-4)
    word = np.concatenate([speech()[slice(*span)] for span in loudest_words(3)])[: len(word)]
    joined = np.concatenate([noise(3, 1e-4), word, gap, word, gap, word, noise(3, 1e-4)])
    result = check(joined, ChunkingOptions())
    assert len(result.chunks) == 1
    assert not result.losses
    alone = np.concatenate([noise(3, 1e-4), word, noise(3, 1e-4)])
    result = check(alone, ChunkingOptions())
    assert not result.chunks
    assert result.losses == {TOO_SHORT: pytest.approx(1.4, abs=0.25)}


def loudest_words(count: int) -> list[tuple[int, int]]:
    """Sample ranges of the first `count` runs of speech of the example recording."""
    spans = runs(vad.speech_probabilities(speech()) >= vad.SPEECH_THRESHOLD) * vad.FRAME_SAMPLES
    return [(int(a), int(b)) for a, b in spans[:count]]


def test_noise_is_dropped_and_reported_and_digital_silence_is_silence():
    result = check(noise(20, 0.1), ChunkingOptions())
    assert not result.chunks
    assert result.losses == {NO_SPEECH: pytest.approx(20)}
    silent = check(np.zeros(20 * SAMPLING_RATE, np.float32), ChunkingOptions())
    assert (silent.chunks, silent.speech_samples, silent.losses) == ((), 0, {})


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 161])
def test_tiny_recordings_give_no_chunk(samples):
    assert check(np.full(samples, 0.5, np.float32), ChunkingOptions()).chunks == ()


@pytest.mark.parametrize("gain", [0.03, 0.3, 1.0])
def test_chunks_do_not_depend_on_level_or_dc_offset(gain):
    reference = chunk_recording(speech()).chunks
    changed = chunk_recording((gain * speech() + 0.05).astype(np.float32)).chunks
    assert len(changed) == len(reference)
    for ours, theirs in zip(changed, reference, strict=True):
        assert abs(ours.start_sample - theirs.start_sample) <= SAMPLING_RATE // 2


@pytest.mark.parametrize("gain", [0.1, 0.03, 0.01])
def test_a_voice_that_turns_quiet_is_still_found(gain):
    """The gate follows the recording: 20 to 40 dB less cost what lies around the change, not the rest."""
    loud = np.tile(speech(), 3)
    spoken = np.repeat(vad.speech_probabilities(loud) >= vad.SPEECH_THRESHOLD, vad.FRAME_SAMPLES)[: len(loud)]
    inside = np.zeros(2 * len(loud), bool)
    for chunk in chunk_recording(np.concatenate([loud, gain * loud])).chunks:
        inside[chunk.start_sample : chunk.stop_sample] = True
    covered = [float(half[spoken].mean()) for half in np.split(inside, 2)]
    assert covered[0] > 0.98
    assert covered[1] > 0.9


def test_a_memory_map_gives_the_same_chunks(tmp_path):
    speech().tofile(tmp_path / "samples")
    assert chunk_recording(np.memmap(tmp_path / "samples", np.float32, "r")) == chunk_recording(speech())


def test_frame_levels_do_not_depend_on_the_block_size(monkeypatch):
    expected = frame_levels(speech())
    monkeypatch.setattr("deepfake.audio.energy._BLOCK_FRAMES", 7)
    np.testing.assert_array_equal(frame_levels(speech()), expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_s": 7},
        {"min_s": 0},
        {"max_s": float("nan")},
        {"pad_ms": 200},
        {"max_gap_ms": 100},
        {"min_speech_share": 2},
        {"gap_ms": 2000},
        {"gap_ms": -1},
        {"widen_share": -1},
    ],
)
def test_contradictory_options_are_told_in_one_sentence(wrong):
    with pytest.raises(UserError, match="\\d"):
        replace(ChunkingOptions(), **wrong)


def test_gaps_are_shortened_only_when_asked_and_what_is_left_is_the_recording():
    words = [speech()[a:b] for a, b in loudest_words(3)]
    waveform = np.concatenate([noise(2, 1e-4), words[0], noise(1.2, 1e-4, 1), words[1], noise(1.1, 1e-4, 2), words[2]])
    waveform = np.concatenate([waveform, noise(2, 1e-4, 3)])
    options = ChunkingOptions(min_s=1, max_s=13)
    (true,) = check(waveform, options).chunks
    assert true.removed == ()
    (short,) = check(waveform, replace(options, gap_ms=300)).chunks
    assert (short.start_sample, short.stop_sample) == (true.start_sample, true.stop_sample)
    assert len(short.removed) == 2
    assert short.n_samples + short.removed_samples == true.n_samples
    levels = frame_levels(waveform)
    for start, stop in short.removed:
        assert levels[start // HOP_SAMPLES : stop // HOP_SAMPLES].max() < -70, "speech was cut out"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=6), st.integers(0, 3000))
def test_squeezed_positions_and_back(steps, origin):
    removed = origin + np.cumsum([value for step in steps for value in step]).reshape(-1, 2)
    timeline = Timeline(removed)
    kept = np.setdiff1d(np.arange(removed[-1, 1] + 50), np.concatenate([np.arange(a, b) for a, b in removed]))
    squeezed = timeline.squeeze(kept)
    np.testing.assert_array_equal(squeezed, np.arange(len(kept)))
    assert [timeline.stretch(int(p), begins=True) for p in squeezed] == kept.tolist()
    start, length, inside = timeline.chunk(int(squeezed[0]), int(squeezed[-1]))
    assert length + sum(b - a for a, b in inside) == kept[-1] - start


@pytest.mark.parametrize("room_s", [0.0, 0.1, 2.0])
def test_an_utterance_just_short_of_the_minimum_is_widened_into_its_own_silence(room_s):
    word = np.concatenate([speech()[slice(*span)] for span in loudest_words(5)])[: round(2.2 * SAMPLING_RATE)]
    waveform = np.concatenate([np.zeros(round(room_s * SAMPLING_RATE), np.float32), word])
    waveform = np.concatenate([waveform, np.zeros(round(room_s * SAMPLING_RATE), np.float32)])
    result = check(waveform, ChunkingOptions())
    if len(waveform) < 2.5 * SAMPLING_RATE:
        assert result.losses == {TOO_SHORT: pytest.approx(2.2, abs=0.25)}
    else:
        (chunk,) = result.chunks
        assert chunk.n_samples == 2.5 * SAMPLING_RATE
        assert not result.losses


@pytest.mark.parametrize("loud_s", [40, 95])
def test_speech_after_a_sudden_drop_by_30_db_is_found_or_reported(loud_s):
    loud = np.tile(speech(), 5)[: loud_s * SAMPLING_RATE]
    quiet = 0.03 * speech()
    result = check(np.concatenate([loud, quiet]), ChunkingOptions())
    spoken = np.repeat(vad.speech_probabilities(speech()) >= vad.SPEECH_THRESHOLD, vad.FRAME_SAMPLES)[: len(quiet)]
    inside = np.zeros(len(loud) + len(quiet), bool)
    for chunk in result.chunks:
        inside[chunk.start_sample : chunk.stop_sample] = True
    missed_s = float((spoken & ~inside[len(loud) :]).sum() / SAMPLING_RATE)
    assert missed_s <= sum(result.losses.values()) + 0.05 * len(quiet) / SAMPLING_RATE
