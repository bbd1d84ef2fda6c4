"""Which split a recording goes to when a corpus is built: told early, kept whole, and accounted for."""

import os
import shutil

from building import report, run, write_wav
from datasets import load_from_disk

from deepfake.audio.decode import load_audio


def test_too_few_recordings_for_the_splits(corpus, tmp_path, capsys):
    few = tmp_path / "few"
    shutil.copytree(corpus / "real/spréaker 0", few / "real")
    shutil.copytree(corpus / "fake", few / "fake")
    assert run(few, "--output", tmp_path / "out") == 2
    assert "found 1 real recording with usable speech, expected at least 3" in capsys.readouterr().err
    assert run(few, "--output", tmp_path / "out", "--splits", 1, 0, 0) == 0


def test_a_misspelt_held_out_name_is_told_before_anything_is_decoded(corpus, tmp_path, capsys):
    assert run(corpus, "--output", tmp_path / "out", "--hold-out-generator", "gan") == 2
    shown = capsys.readouterr().err
    assert "--hold-out-generator gan is no generator of these recordings; known are none" in shown
    assert "preparing" not in shown


def test_a_split_with_one_class_is_warned_of(corpus, tmp_path, capsys):
    copy = tmp_path / "corpus"
    shutil.copytree(corpus, copy)
    names = sorted(str(path.relative_to(copy)) for path in copy.rglob("*.wav"))
    splits = {"real": iter(("train", "train", "validation")), "fake": iter(("train", "train", "validation", "test"))}
    rows = [f"{name},{label},{next(splits[label])}" for name in names for label in [name.split(os.sep)[0]]]
    (copy / "metadata.csv").write_text("\n".join(["file_name,label,split", *rows]) + "\n", encoding="utf-8")
    assert run(copy, "--output", tmp_path / "out", "--group-by", "source") == 0
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")] == [
        "warning: test holds no real recording; nothing can be trained or judged on one class alone"
    ]


def test_near_duplicates_stay_in_one_split_and_are_reported(corpus, tmp_path):
    copy = tmp_path / "corpus"
    shutil.copytree(corpus, copy)
    for index in range(3):
        samples = load_audio(corpus / f"real/spréaker {index}/talk.wav")
        write_wav(copy / f"real/copy{index}.wav", 0.5 * samples[3_333:])
    for seed in range(2):
        output = tmp_path / f"out{seed}"
        assert run(copy, "--output", output, "--seed", seed) == 0
        found = report(output)
        pairs = {(pair["first"], pair["second"]) for pair in found["splits"]["near_duplicates"]}
        assert pairs == {(f"corpus/real/copy{i}.wav", f"corpus/real/spréaker {i}/talk.wav") for i in range(3)}
        splits = {entry["name"]: entry["split"] for entry in found["recordings"]}
        assert all(splits[first] == splits[second] for first, second in pairs)


def test_what_a_table_knows_reaches_every_chunk_and_speakers_stay_whole(corpus, tmp_path):
    copy = tmp_path / "corpus"
    shutil.copytree(corpus, copy)
    lines = ["file_name,label,speaker,generator,language"]
    lines += [f"real/spréaker {i}/talk.wav,real,s{i},,en" for i in range(3)]
    lines += [f"fake/spréaker {i}/talk.wav,fake,s{i % 3},vits,en" for i in range(4)]
    (copy / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    assert run(copy, "--output", tmp_path / "out") == 0
    rows = [row for data in load_from_disk(str(tmp_path / "out")).values() for row in data]
    assert {(row["label"], row["generator"], row["language"]) for row in rows} == {
        (0, "human", "en"),
        (1, "vits", "en"),
    }
    places = {(row["speaker"], row["split"]) for row in rows}
    assert len(places) == 3, "a speaker in two splits"
    assert report(tmp_path / "out")["splits"]["groups"] == 3


def test_what_leaks_dropped_is_in_report_and_card(corpus, tmp_path):
    copy = shutil.copytree(corpus, tmp_path / "corpus")
    lines = ["file_name,label,speaker,split"]
    for index, (voice, split) in enumerate((("ann", "train"), ("ann", "test"), ("bob", "train"))):
        lines.append(f"real/spréaker {index}/talk.wav,real,{voice},{split}")
    lines += [f"fake/spréaker {i}/talk.wav,fake,tts{i},{split}" for i, split in enumerate(("train", "train", "test"))]
    shutil.rmtree(copy / "fake/spréaker 3")
    (copy / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    output = tmp_path / "dataset"
    assert run(copy, "--output", output, "--leaks", "drop") == 0
    found = report(output)
    assert found["splits"]["left_out_recordings"] == {"train": 1}
    assert [r["name"] for r in found["recordings"] if r["status"] == "left_out"] == ["corpus/real/spréaker 0/talk.wav"]
    assert "corpus/real/spréaker 0/talk.wav" not in " ".join(load_from_disk(str(output))["train"]["source"])
    card = (output / "README.md").read_text(encoding="utf-8")
    assert "5 recordings where their corpus puts them (1 groups are in several of the corpus' own splits" in card
    assert "so that none is in two here, 1 recordings of train are left out" in card


def test_a_test_manifest_that_is_not_there_is_told_before_any_work(corpus, tmp_path, capsys):
    output = tmp_path / "dataset"
    assert run(corpus, "--output", output, "--test-manifest", tmp_path / "none.txt") == 2
    assert "none.txt is no file; expected one recording's name a line" in capsys.readouterr().err
    assert not output.exists()
