"""The build as a user runs it: one command in, a portable, leak-free DatasetDict and an honest report out."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from building import EXAMPLES, report, run, write_wav
from datasets import load_from_disk
from huggingface_hub import DatasetCard

from data_prep import build as build_module
from data_prep import push as push_module
from data_prep import recording
from data_prep.__main__ import main
from deepfake.audio.decode import SAMPLING_RATE, load_audio, pcm16
from deepfake.schema import FEATURES

ROOT = Path(__file__).parents[1]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def built(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("built") / "dataset"
    assert run(corpus, "--output", output) == 0
    return output


def test_the_examples_build_and_chunks_are_the_recordings_samples(tmp_path, capsys):
    output = tmp_path / "dataset"
    assert run(EXAMPLES, "--output", output) == 0
    dataset = load_from_disk(str(output))
    assert list(dataset) == ["train", "validation", "test"]
    waveforms = {f"recordings/{p.parent.name}/{p.name}": p for p in EXAMPLES.glob("*/*.*")}
    for split, rows in dataset.items():
        assert rows.features == FEATURES
        for row in rows:
            name = row["source"].split(":", 1)[1]
            if isinstance(waveforms[name], Path):
                waveforms[name] = load_audio(waveforms[name])
            start, size = row["start_s"] * SAMPLING_RATE, row["duration_s"] * SAMPLING_RATE
            assert start == int(start)
            assert 2.5 <= row["duration_s"] <= 13
            expected = waveforms[name][int(start) : int(start + size)]
            np.testing.assert_array_equal(pcm16(load_audio(row["audio"]["bytes"])), pcm16(expected))
            assert rows.features["label"].int2str(row["label"]) == name.split("/")[1]
            assert (row["split"], row["corpus"]) == (split, "recordings")
            assert row["generator"] == ("human" if row["label"] == 0 else None)
            assert row["speaker"] is None
            assert row["language"] is None
    sources = [set(rows["source"]) for rows in dataset.values()]
    assert sum(map(len, sources)) == len(set().union(*sources)) == 14, "a recording in two splits, or lost"
    paths = [audio["path"] for rows in dataset.values() for audio in rows["audio"]]
    assert len(paths) == len(set(paths))
    found = report(output)
    assert sum(cell["chunks"] for row in found["totals"].values() for cell in row.values()) == len(paths)
    assert sum(entry["chunks"] for entry in found["recordings"]) == len(paths)
    for entry in found["recordings"]:
        kept = entry["speech_s"] - sum(entry["losses"].values())
        assert 0 < kept <= entry["chunk_s"] <= entry["duration_s"]
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].split() == ["split", "label", "recordings", "chunks", "minutes"]
    assert "preparing" in shown.err


def test_the_dataset_is_portable(built, tmp_path):
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    shutil.copytree(built, moved)
    code = (
        "import sys, datasets\n"
        "rows = [row for split in datasets.load_from_disk(sys.argv[1]).values() for row in split]\n"
        "assert rows and all(row['audio']['bytes'][:4] == b'fLaC' for row in rows)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(moved)], cwd="/", check=True)
    assert not list(moved.rglob("*.parquet"))
    assert not (built / ".building").exists()


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(corpus, built, tmp_path):
    assert main(["build", str(corpus), "--output", str(tmp_path / "out"), "--workers", "3"]) == 0
    assert contents(tmp_path / "out") == contents(built)


def test_an_interrupted_build_resumes_to_the_same_bytes(corpus, built, tmp_path, monkeypatch, capsys):
    opened = []

    class CountingReader(recording.AudioReader):
        def __init__(self, source, *rest):
            opened.append(source)
            if len(opened) == 4:
                raise KeyboardInterrupt
            super().__init__(source, *rest)

    monkeypatch.setattr(recording, "AudioReader", CountingReader)
    output = tmp_path / "out"
    assert run(corpus, "--output", output) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert not (output / "dataset_dict.json").exists()
    assert run(corpus, "--output", output) == 0
    assert len(opened) == 3 + 1 + 4, "finished recordings were prepared again"
    assert contents(output) == contents(built)


def test_other_options_do_not_reuse_parts(corpus, tmp_path, monkeypatch):
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(build_module.OutputFolder, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(corpus, "--output", output) == 130
    assert run(corpus, "--output", output, "--max-s", 5) == 0
    assert max(row["duration_s"] for rows in load_from_disk(str(output)).values() for row in rows) <= 5


def test_a_write_that_fails_leaves_nothing_that_looks_finished(corpus, tmp_path, monkeypatch):
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("data_prep.writing.DatasetDict.save_to_disk", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(corpus, "--output", output) == 130
    with pytest.raises(FileNotFoundError):
        load_from_disk(str(output))
    assert run(corpus, "--output", output) == 0


def test_a_finished_dataset_is_replaced_only_when_asked(corpus, built, tmp_path, capsys):
    output = tmp_path / "out"
    shutil.copytree(built, output)
    assert run(corpus, "--output", output) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(corpus, "--output", output, "--overwrite", "--splits", 0.6, 0.4, 0) == 0
    assert sorted(load_from_disk(str(output))) == ["train", "validation"]
    assert not (output / "test").exists()


def test_other_peoples_folders_are_left_alone(corpus, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("x")
    assert run(corpus, "--output", tmp_path) == 2
    assert "other files" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_identical_files_are_kept_once_and_under_both_labels_refused(corpus, tmp_path, capsys):
    copy = tmp_path / "corpus"
    shutil.copytree(corpus, copy)
    shutil.copy(copy / "real/spréaker 0/talk.wav", copy / "real/copy.wav")
    assert run(copy, "--output", tmp_path / "out") == 0
    found = report(tmp_path / "out")
    assert found["duplicates"] == [{"name": "corpus/real/spréaker 0/talk.wav", "duplicate_of": "corpus/real/copy.wav"}]
    assert found["files"] == {"duplicate": 1, "used": 7}
    shutil.copy(copy / "real/copy.wav", copy / "fake/copy.wav")
    capsys.readouterr()
    assert run(copy, "--output", tmp_path / "out2") == 2
    message = capsys.readouterr().err
    assert "fake/copy.wav" in message
    assert "real/copy.wav" in message


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.wav", "real/b.wav"], "1 of 2 recordings lie in no folder that names a class, e.g. x/a.wav"),
        (
            ["real/fake/a.wav", "real/b.wav"],
            "1 of 2 recordings lie in folders that name both classes, e.g. x/real/fake/a.wav",
        ),
        (["real/a.wav", "genuine/b.wav"], "all 2 recordings are real; a detector needs fake ones"),
        (["readme.txt"], "no audio file found"),
    ],
)
def test_label_problems_end_at_once_with_examples(tmp_path, capsys, files, expected):
    for name in files:
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_bytes(b"")
    assert run(tmp_path / "x", "--output", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--splits", "0.5", "0.1", "0.1"], "sum to 1"),
        (["--max-s", "4"], "twice"),
        (["--workers", "0"], "--workers"),
        (["--push-to-hub", "a/b/c"], "Hub"),
    ],
)
def test_wrong_arguments_are_told_in_one_sentence(corpus, tmp_path, capsys, arguments, expected):
    assert main(["build", str(corpus), "--output", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_pushing_calls_the_real_method_and_explains_being_offline(corpus, tmp_path, monkeypatch, capsys):
    pushed, cards = [], []
    monkeypatch.setattr(push_module, "cache_only", lambda: False)
    monkeypatch.setattr(
        DatasetCard, "load", lambda repo_id: DatasetCard("---\nconfigs:\n- config_name: default\n---\n")
    )
    monkeypatch.setattr(
        DatasetCard, "push_to_hub", lambda self, repo_id, repo_type: cards.append((str(self), repo_type))
    )
    monkeypatch.setattr(
        "datasets.DatasetDict.push_to_hub", lambda self, repo_id: pushed.append((sorted(self), repo_id))
    )
    output = tmp_path / "out"
    assert run(corpus, "--output", output, "--push-to-hub", "me/data") == 0
    assert pushed == [(["test", "train", "validation"], "me/data")]
    ((card, kind),) = cards
    assert kind == "dataset"
    assert "config_name: default" in card
    assert "task_categories" in card
    monkeypatch.setattr(push_module, "cache_only", lambda: True)
    capsys.readouterr()
    assert main(["push", str(output), "me/data"]) == 2
    assert "could not be pushed to me/data (the Hub cannot be reached" in capsys.readouterr().err
    assert main(["push", str(tmp_path), "me/data"]) == 2


@pytest.mark.slow
def test_control_c_keeps_what_is_finished_and_leaves_no_process(tmp_path):
    samples = load_audio(EXAMPLES / "real/vctk_p225.mp3")
    for index in range(60):
        longer = np.tile(np.roll(samples, 100 * index), 5)  # enough work to be interrupted in
        write_wav(tmp_path / "corpus" / ("real", "fake")[index % 2] / f"{index}.wav", longer)
    command = [
        sys.executable,
        "-m",
        "data_prep",
        "build",
        tmp_path / "corpus",
        "--output",
        tmp_path / "out",
        "--workers",
        "2",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell's background jobs ignore Ctrl-C, and so do their children: these tests' too, without this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 40
    while not list(tmp_path.glob("out/.building/parts/*/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in error
    assert list(tmp_path.glob("out/.building/parts/*/*.parquet"))
    while (
        _group_exists(process.pid) and time.monotonic() < deadline + 20
    ):  # the workers end a moment after their parent
        time.sleep(0.1)
    assert not _group_exists(process.pid)


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_card_lies_beside_the_data_and_its_numbers_are_the_reports(built):
    card = DatasetCard((built / "README.md").read_text(encoding="utf-8"))
    assert card.data.task_categories == ["audio-classification"]
    for split, cells in report(built)["totals"].items():
        for label, cell in cells.items():
            row = f"| {split} | {label} | {cell['recordings']} | {cell['chunks']} | {cell['minutes']:.2f} |"
            assert row in card.text
    assert "sample-exact" in card.text
    assert str(built.parent) not in card.text
