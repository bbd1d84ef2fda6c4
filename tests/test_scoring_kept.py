"""What was scored of a long recording survives a kill, and is used for nothing else."""

from __future__ import annotations

import fcntl
import io
import json
import os
import struct
import sys
import termios
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import run, save_tiny

from deepfake.audio.decode import encode_flac
from deepfake.audio.windows import Window
from deepfake.models.windows import WindowScore
from deepfake.scoring.engine import Result
from deepfake.scoring.kept import KeptWindows, WindowStore
from deepfake.scoring.outputs import files_of, kept_files, kept_path, parts
from deepfake.scoring.progress import Progress
from deepfake.scoring.reading import Reading
from deepfake.scoring.record import Record

RATE = 16_000
RECORD = Record("1.0", "here", "ab" * 32, "fake", 13.0, 6.5, 0.4, 0.4, None, "fp32", None, "torch", "mix", "auto")
# Forks, so that the imports are paid for once. Kills the first run in the middle, goes on, and scores anew.
KILLED_AND_RESUMED = """
    import os, pathlib, signal, sys, time
    import infer, deepfake.models.forward as forward, deepfake.scoring.command
    import deepfake.architectures.baselines, deepfake.models.layers, deepfake.models.precision
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
    from deepfake.scoring.outputs import kept_files
    folder, options = pathlib.Path(sys.argv[1]), sys.argv[2:]
    score_batch = forward.TorchForward.__call__

    def start(name, *more):
        child = os.fork()
        if child:
            return child
        counted = open(folder / f"{name}.counted", "w", buffering=1)

        def counting(self, waveforms):
            print(len(waveforms), file=counted)
            return score_batch(self, waveforms)

        forward.TorchForward.__call__ = counting
        output = folder / ("whole.jsonl" if name == "whole" else "cut.jsonl")
        timeline = folder / ("whole" if name == "whole" else "cut")
        sys.argv = ["infer.py", *options, "--output", str(output), "--timeline", str(timeline), *more]
        os._exit(infer.main())

    first = start("first")
    while os.waitpid(first, os.WNOHANG) == (0, 0):
        kept = kept_files(folder / "cut.jsonl")
        if kept and kept[0].read_bytes().count(b"\\n") > 100:
            os.kill(first, signal.SIGKILL)
            print("killed", os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]))
            break
        time.sleep(0.002)
    print("kept", kept_files(folder / "cut.jsonl")[0].read_bytes().count(b"\\n") - 1)
    for name, more in (("again", ["--resume"]), ("whole", [])):
        print(name, os.waitstatus_to_exitcode(os.waitpid(start(name, *more), 0)[1]))
"""


def test_a_killed_run_goes_on_within_the_file_and_ends_as_if_undisturbed(speech: np.ndarray, tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", detector={"threshold": 0.4, "window_s": 1.5, "hop_s": 0.8})
    (tmp_path / "long.flac").write_bytes(encode_flac(np.tile(speech, 13)))
    options = (tmp_path / "long.flac", "--model", model, "--no-pictures", "--workers", "1")
    done = run(sys.executable, "-c", textwrap.dedent(KILLED_AND_RESUMED), tmp_path, *options)
    told = dict(
        line.split() for line in done.stdout.splitlines() if line.split()[0] in ("killed", "kept", "again", "whole")
    )
    assert (told["killed"], told["again"], told["whole"]) == ("-9", "0", "0"), done.stderr
    again, whole = (
        sum(int(line) for line in (tmp_path / f"{name}.counted").read_text().split()) for name in ("again", "whole")
    )
    assert int(told["kept"]) >= 100
    assert again + int(told["kept"]) in (whole, whole + 1)  # a torn line is scored again
    cut, undisturbed = (json.loads((tmp_path / f"{name}.jsonl").read_text()) for name in ("cut", "whole"))
    for key, value in undisturbed.items():
        assert cut[key] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)
    for key in ("evidence", "contribution"):
        one, other = (json.loads(next((tmp_path / n).rglob("*.json")).read_text())[key] for n in ("cut", "whole"))
        np.testing.assert_allclose(np.array(one, float), np.array(other, float), atol=1e-5, equal_nan=True)
    assert kept_files(tmp_path / "cut.jsonl") == []


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    (tmp_path / "a.wav").write_bytes(b"whatever")
    return tmp_path / "a.wav"


def window(index: int, start_s: float = 200.0) -> Window:
    return Window(round((start_s + 13 * index) * RATE), np.zeros(13 * RATE, np.float32))


def opened(recording: Path, record: Record = RECORD, resume: bool = True) -> KeptWindows:
    return WindowStore(recording.with_name("scores.csv"), record, resume).of(Reading(recording))


def test_windows_are_read_back_as_they_were_up_to_a_torn_line(recording: Path) -> None:
    scores = [WindowScore(1.5, None), WindowScore(-0.1, np.array([0.1, -0.3]))]
    kept = opened(recording)
    for index, score in enumerate(scores):
        kept.put(window(index), score)
    (file,) = kept_files(recording.with_name("scores.csv"))
    whole = file.read_bytes()
    for torn in (b"", b'{"start": 1, "st', b'{"start": 1}\n{"start": 5, "stop": 9, "logit": 1.0}\n', b"\xff\n"):
        file.write_bytes(whole + torn)
        again = opened(recording)
        assert again.get(window(0)).logit == 1.5
        assert np.array_equal(again.get(window(1)).frames, scores[1].frames)
        assert again.get(window(2)) is None
        assert file.read_bytes() == whole
    again.put(window(2), WindowScore(0.25, None))
    assert opened(recording).get(window(2)).logit == 0.25
    opened(recording).remove()
    assert not file.exists()


def test_other_recordings_models_and_options_get_nothing(recording: Path) -> None:
    for change in ("time", "content", "record", "anew"):
        opened(recording).put(window(0), WindowScore(1.0, None))
        assert opened(recording).get(window(0)) is not None
        if change == "time":
            os.utime(recording, (5, 5))
        elif change == "content":
            recording.write_bytes(b"something longer")
        record = replace(RECORD, precision="bf16") if change == "record" else RECORD
        assert opened(recording, record, resume=change != "anew").get(window(0)) is None
        assert kept_files(recording.with_name("scores.csv")) == []
    store = WindowStore(recording.with_name("scores.csv"), RECORD, True)
    assert store.of(Reading(recording, channel=1))._path != store.of(Reading(recording, channel=0))._path
    assert store.of(Reading(recording.with_name("gone.wav"))) is None


def test_short_recordings_leave_no_file_and_a_full_disk_ends_no_run(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = opened(recording)
    kept.put(window(0, start_s=100.0), WindowScore(1.0, None))
    assert kept_files(recording.with_name("scores.csv")) == []
    kept._path = Path("/dev/full")
    for index in range(3):
        kept.put(window(index), WindowScore(1.0, None))
    assert capsys.readouterr().err.count("warning: /dev/full cannot be written (No space left on device)") == 1


def test_they_belong_to_the_output(tmp_path: Path) -> None:
    output = tmp_path / "s[1].csv"
    part = tmp_path / "s[1].csv.part-00000-of-00002.jsonl"
    for path in (part, kept_path(output, "ab"), kept_path(part, "cd")):
        path.touch()
    assert parts(output) == [part]
    assert set(files_of(output)) == {part, kept_path(output, "ab"), kept_path(part, "cd")}


def shown_by(progress_of: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> str:
    """What `progress_of` writes to a terminal of 100 columns as stderr."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        progress_of()
        terminal.flush()
        told = os.read(ours, 1 << 16).decode()
        monkeypatch.undo()
    os.close(ours)
    return told


@pytest.mark.parametrize(("stated_s", "says"), [(3600.0, "33 %"), (None, "20:00 [")])
def test_a_bar_moves_within_a_long_file_on_a_terminal(
    stated_s: float | None, says: str, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score() -> None:
        result = Result(Reading(recording, stated_s=stated_s))
        result.reading.track.samples = 1300 * RATE  # read ahead of what is scored
        with Progress() as bar:
            for reached_s in (600.0, 1200.0):
                result.reached_s = reached_s
                bar.scored(result)
                time.sleep(0.15)  # tqdm shows no more than ten states a second
            bar.scored(result)
            bar.finished()

    told = shown_by(score, monkeypatch)
    assert "a.wav" in told
    assert says in told
    assert ("20:00 of 1:00:00" in told) == (stated_s is not None)


def test_no_bar_in_a_log_nor_for_short_files(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    long, short = Result(Reading(recording, stated_s=3600.0)), Result(Reading(recording, stated_s=20.0))
    monkeypatch.setattr(sys, "stderr", log)
    with Progress() as bar:
        bar.scored(long)
        bar.finished()
    assert log.getvalue() == ""
    monkeypatch.undo()

    def score() -> None:
        with Progress() as bar:
            bar.scored(short)
            bar.finished()

    assert "a.wav" not in shown_by(score, monkeypatch)
