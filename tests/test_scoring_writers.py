"""Rows on disk: whole whatever happens to the process, each exactly once after going on."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import ENVIRONMENT, ROOT, run
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake.audio.decode import encode_flac
from deepfake.errors import UserError
from deepfake.scoring.result import COLUMNS, Score, path_text, row_key
from deepfake.scoring.summary import Summary, error_kind
from deepfake.scoring.writers import ScoreWriter, read_rows, scored_keys

RATE = 16_000
ODD_NAMES = ["plain.wav", 'qu"ote, comma.wav', "line\nbreak.wav", "Größe 音.wav", "no-utf8-\udcff.wav", "tab\t.wav"]


def row(path: str) -> Score:
    if "\t" in path:
        return Score(path, None, None, 0.4, None, 0, None, 'too short: "0.1" s,\nreally')
    return Score(path, 0.1234567890123, "real", 0.4, 3.5, 1, 0.2)


def read(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(line) for line in file]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["csv", "jsonl"]), st.floats(0, 1), st.permutations(ODD_NAMES))
def test_a_file_cut_anywhere_is_completed(kind: str, share: float, names: list[str]) -> None:
    """Cutting the file at any byte and going on gives the very bytes of an undisturbed run, but for rows tried again.

    What failed before the cut is tried again, and so comes later.
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        whole, cut = Path(folder) / f"whole.{kind}", Path(folder) / f"cut.{kind}"
        with ScoreWriter(whole) as writer:
            for name in names:
                writer.write(row(name))
        content = whole.read_bytes()
        cut.write_bytes(content[: round(share * len(content))])
        with ScoreWriter(cut, resume=True) as writer:
            done, failed = writer.done, set(writer.failed)
            assert done | failed == set(map(path_text, names[: len(done) + len(failed)]))
            assert all((row(name).error is not None) == (name in failed) for name in done | failed)
            for name in names:
                if path_text(name) not in done:
                    writer.write(row(name))
        with ScoreWriter(whole) as writer:
            for name in sorted(names, key=lambda name: path_text(name) not in done):
                writer.write(row(name))
        assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_what_failed_is_tried_again_and_put_back_where_it_is_not(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"scores.{kind}"

    def failing(name: str) -> Score:
        return Score(name, None, None, 0.4, None, 0, None, "cannot be read (Permission denied)")

    with ScoreWriter(path) as writer:
        for score in (failing("a.wav"), row("b.wav"), failing("line\nbreak.wav"), failing("c.wav"), row("d.wav")):
            writer.write(score)
    assert scored_keys(path) == {"b.wav", "d.wav"}
    with ScoreWriter(path, resume=True) as writer:
        assert writer.done == {"b.wav", "d.wav"}
        assert set(writer.failed) == {"a.wav", "line\nbreak.wav", "c.wav"}
        writer.write(row("line\nbreak.wav"))
        writer.write(failing("c.wav"))
    told = [(r["path"], bool(r["error"])) for r in read(path)]
    assert told == [
        ("b.wav", False), ("d.wav", False), ("line\nbreak.wav", False), ("c.wav", True), ("a.wav", True),
    ]  # fmt: skip


def test_parquet_rows_survive_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    writer = ScoreWriter(path)
    writer.write(row("a.wav"))
    writer.__exit__(KeyboardInterrupt, None, None)
    assert path.stat().st_size == 0  # nothing half-written under the final name
    with ScoreWriter(path, resume=True) as writer:
        assert writer.done == {"a.wav"}
        writer.write(row("b.wav"))
    assert [r["path"] for r in read(path)] == ["a.wav", "b.wav"]
    assert [p.name for p in tmp_path.iterdir()] == ["scores.parquet"]
    with ScoreWriter(path, resume=True) as writer:  # from a finished file
        assert writer.done == {"a.wav", "b.wav"}
        writer.write(row("c.wav"))
    assert [r["path"] for r in read(path)] == ["a.wav", "b.wav", "c.wav"]


@pytest.mark.parametrize(("name", "content"), [("a.csv", "x,y\n1,2\n"), ("a.jsonl", '{"x": 1}\n'), ("b.csv", "a\n")])
def test_files_of_others_are_not_gone_on_from(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match="does not hold rows of path, fake_probability"):
        ScoreWriter(tmp_path / name, resume=True)
    assert (tmp_path / name).read_text() == content


def test_rows_read_back_equal_what_was_written(tmp_path: Path) -> None:
    for kind in ("csv", "jsonl"):
        with ScoreWriter(tmp_path / f"a.{kind}") as writer:
            for name in ODD_NAMES:
                writer.write(row(name))
        rows = [r for r, _ in read_rows(tmp_path / f"a.{kind}")]
        assert [path_text(r["path"]) for r in rows] == list(map(path_text, ODD_NAMES))
        assert all(tuple(r) == COLUMNS for r in rows)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_names_that_are_no_utf_8_make_no_unreadable_file_and_no_second_row(kind: str, tmp_path: Path) -> None:
    path, name = tmp_path / f"scores.{kind}", "no-utf8-\udcff.wav"
    with ScoreWriter(path) as writer:
        writer.write(row(name))
    (told,) = read(path)  # as UTF-8, strictly
    assert told["path"] in (name, "no-utf8-\\udcff.wav")
    if kind == "jsonl":
        assert os.fsencode(told["path"]) == b"no-utf8-\xff.wav"
    with ScoreWriter(path, resume=True) as writer:
        assert row_key(name, None) in writer.done
    assert len(read(path)) == 1


class Filling(io.FileIO):
    """A file on a disk that has room for some more bytes."""

    room = 0

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = super().write(bytes(data[: self.room]))
        self.room -= taken
        return taken


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_full_disk_is_one_sentence_and_leaves_whole_rows(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"scores.{kind}"
    writer = ScoreWriter(path)
    writer.write(row("a.wav"))
    whole = path.read_bytes()
    writer._file.close()
    writer._file = Filling(path, "r+b")
    writer._file.seek(0, os.SEEK_END)
    writer._file.room = 10
    with pytest.raises(
        UserError, match=r"cannot write .* any more \(No space left on device\); what was scored so far"
    ):
        writer.write(row("b.wav"))
    writer.__exit__(UserError, None, None)
    assert path.read_bytes() == whole
    with ScoreWriter(path, resume=True) as writer:
        assert writer.done == {"a.wav"}


def test_a_full_screen_is_one_sentence_too(tmp_path: Path, speech: np.ndarray, tiny_checkpoint: Path) -> None:
    (tmp_path / "a.flac").write_bytes(encode_flac(speech[: 2 * RATE]))
    command = [sys.executable, "infer.py", tmp_path / "a.flac", "--model", tiny_checkpoint]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: cannot write to the screen or pipe (No space left")


def test_summary_counts_by_kind() -> None:
    summary = Summary(0.5)
    for error in ("too short: 0.1 s", "too short: 0.2 s", "3 of 9 packets are corrupt", None):
        summary.add(Score("x", 0.9, "fake", 0.5, 3600.0, 1, 0.9, error))
    assert summary.errors == {"too short": 2, "N of N packets are corrupt": 1}
    assert error_kind("not decodable as audio (Invalid data)") == "not decodable as audio"
    assert "1 fake, 0 real" in summary.text()
    assert "4.00 h of audio" in summary.text()
    assert "errors: 2 × too short, 1 × N of N packets are corrupt" in summary.text()


# Forks before torch computes anything, so that ten runs pay for the imports once.
KILLER = """
    import os, pathlib, random, signal, sys, time
    import infer, deepfake.scoring.command, deepfake.models.precision, deepfake.models.layers
    import deepfake.architectures.baselines, deepfake.architectures.compact, transformers.models.auto.modeling_auto
    import transformers.models.wav2vec2.modeling_wav2vec2, onnxruntime
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
    output, growing, kills = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    options, dice, killed = sys.argv[4:], random.Random(5), 0
    for attempt in range(200):
        before = growing.stat().st_size if growing.exists() else 0
        child = os.fork()
        if child == 0:
            sys.argv = ["infer.py", *options, "--output", str(output), *(["--resume"] if attempt else [])]
            os._exit(infer.main())
        if killed < kills:
            while os.waitpid(child, os.WNOHANG) == (0, 0):  # until it has written something new, and a little longer
                if growing.exists() and growing.stat().st_size > before:
                    time.sleep(dice.random() * 0.04)
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    killed += 1
                    break
                time.sleep(0.001)
            else:
                break
        else:
            os.waitpid(child, 0)
            break
    print(killed)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "kills"), [("csv", 10), ("parquet", 3)])
def test_killed_at_random_no_row_is_lost_or_doubled(
    kind: str, kills: int, speech: np.ndarray, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder, output = tmp_path / "calls", tmp_path / f"scores.{kind}"
    folder.mkdir()
    for index in range(300):
        length = RATE + 400 * index % 9000
        (folder / f"{index:03d}, a.flac").write_bytes(encode_flac(speech[1000 + 300 * index :][:length]))
    (folder / "broken.wav").write_bytes(b"nothing")
    growing = tmp_path / "scores.parquet.partial.jsonl" if kind == "parquet" else output
    script = textwrap.dedent(KILLER)
    options = (folder, "--model", tiny_checkpoint, "--batch-size", "2", "--workers", "1")
    done = run(sys.executable, "-c", script, output, growing, kills, *options)
    assert int(done.stdout.split()[-1]) == kills, done.stderr[-2000:]
    paths = [os.path.basename(r["path"]) for r in read(output)]
    assert paths == sorted(p.name for p in folder.iterdir())
    run(sys.executable, "infer.py", *options, "--output", tmp_path / "plain.jsonl", check=1)
    plain = {r["path"]: r["fake_probability"] for r in read(tmp_path / "plain.jsonl")}
    for r in read(output):
        value = None if r["fake_probability"] in (None, "") else float(r["fake_probability"])
        assert value == pytest.approx(plain[r["path"]], abs=1e-5)
