"""Worker processes: order kept, a crash costs one task, a long recording costs bounded memory."""

import multiprocessing
import os
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from data_prep import recording
from data_prep.parts import Recipe, read_chunks, read_facts
from data_prep.recording import PrepareTask, decoded, prepare_recording
from data_prep.workers import run_ordered
from deepfake.audio.decode import AudioReader, load_audio, pcm16

ROOT = Path(__file__).parents[1]
SPEECH = ROOT / "examples/recordings/real/vctk_p225.mp3"


def work(number: int) -> int:
    if number == 3:
        os._exit(1)
    time.sleep(0.02 * (number % 3))
    return number


def fail(number: int) -> int:
    raise ValueError(number)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_results_come_in_order_and_exceptions_arrive(workers):
    tasks = [0, 1, 2, 4, 5, 6, 7]
    assert list(run_ordered(work, iter(tasks), workers, lambda task: -task)) == tasks
    with pytest.raises(ValueError, match="0"):
        list(run_ordered(fail, [0], workers, lambda task: -task))


@pytest.mark.slow
def test_a_task_that_kills_its_process_costs_only_itself():
    assert list(run_ordered(work, range(8), 2, lambda task: -task)) == [0, 1, 2, -3, 4, 5, 6, 7]


@pytest.mark.slow
def test_closing_early_ends_the_processes():
    before = set(multiprocessing.active_children())
    results = run_ordered(work, [0, 1, 2] * 50, 2, lambda task: -task)
    assert next(results) == 0
    results.close()
    time.sleep(1)
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.slow
def test_no_more_tasks_are_taken_ahead_than_asked_for():
    taken = []
    results = run_ordered(work, (taken.append(n) or n for n in (0, 1, 2) * 20), 2, lambda task: -task, ahead=2)
    for done in range(1, 10):
        next(results)
        assert done <= len(taken) <= done + 2
    results.close()


def test_a_long_recording_is_mapped_from_a_file_with_the_same_samples(tmp_path, monkeypatch):
    expected = load_audio(SPEECH)
    monkeypatch.setattr(recording, "_IN_MEMORY_SAMPLES", 160_000)
    with AudioReader(SPEECH) as reader, decoded(reader, tmp_path) as waveform:
        assert isinstance(waveform, np.memmap)
        np.testing.assert_array_equal(waveform, expected)
    assert not list(tmp_path.iterdir())


def test_a_part_holds_the_facts_and_the_chunks(tmp_path):
    facts = prepare_recording(PrepareTask(SPEECH, tmp_path, Recipe()))
    (part,) = tmp_path.rglob("*.parquet")
    assert read_facts(part) == facts
    assert (facts.error, facts.container, facts.sampling_rate, facts.channels) == (None, "mp3", 44_100, 2)
    waveform = load_audio(SPEECH)
    chunks = list(read_chunks(part))
    assert tuple(chunk.n_samples for chunk, _ in chunks) == facts.chunk_samples
    for chunk, flac in chunks:
        np.testing.assert_array_equal(
            pcm16(load_audio(flac)), pcm16(waveform[chunk.start_sample : chunk.start_sample + chunk.n_samples])
        )


_MEASURE = """
import sys, threading, time
from pathlib import Path
from data_prep import recording
from data_prep.parts import Recipe

recording._IN_MEMORY_SAMPLES = 5 * 60 * 16_000
peak = 0

def watch():
    global peak
    while True:
        held = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
        peak = max(peak, int(held.split()[1]))
        time.sleep(0.02)

threading.Thread(target=watch, daemon=True).start()
task = recording.PrepareTask(Path(sys.argv[1]), Path(sys.argv[2]), Recipe())
facts = recording.prepare_recording(task)
assert facts.error is None, facts.error
print(peak)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of anonymous memory")
def test_four_times_the_length_needs_no_more_memory(tmp_path):
    speech = pcm16(load_audio(SPEECH)).tobytes()
    peaks_mib = []
    for minutes in (10, 40):
        path = tmp_path / f"{minutes}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            for _ in range(minutes * 60 // 50):
                file.writeframes(speech)
        command = [sys.executable, "-c", _MEASURE, str(path), str(tmp_path / "parts")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        peaks_mib.append(int(done.stdout) / 1024)
    # The 30 minutes between them are 115 MB of float samples; freed memory that is kept varies by 15 MB.
    assert peaks_mib[1] < peaks_mib[0] + 60, peaks_mib
