"""Folders below real/ and fake/: taken for speakers and generators where they say so, left alone and said where not."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from pathlib import Path

import pytest
from building import EXAMPLES, report, run, write_wav

from data_prep.__main__ import main
from data_prep.inputs import Inputs, read_inputs
from deepfake.audio.decode import SAMPLING_RATE, load_audio
from deepfake.errors import UserError


def tree(root: Path, *folders: str, each: int = 3) -> Path:
    numbers = itertools.count()
    for folder in folders:
        for _ in range(each):
            path = root / folder / f"{next(numbers)}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    return root


def understood(tmp_path: Path, *folders: str, each: int = 3, say: tuple[str, ...] = ("auto",)) -> Inputs:
    return read_inputs([tree(tmp_path / "corpus", *folders, each=each)], "auto", tmp_path / "downloads", say)


def told(found: Inputs, label: str) -> set[tuple[str | None, str | None]]:
    """(speaker, generator) of the recordings of a class."""
    return {(row.speaker, row.generator) for row in found.rows if row.label == label}


PEOPLE = {"p225", "p226", "p227"}
REAL = ("real/p225", "real/p226", "real/p227")


@pytest.mark.parametrize(
    ("folders", "real", "fake"),
    [
        ((*REAL, "fake/melgan", "fake/glow tts"), PEOPLE, {(None, "melgan"), (None, "glow tts")}),
        ((*REAL, "fake/p225", "fake/p227"), PEOPLE, {("p225", None), ("p227", None)}),
        ((*REAL, "fake/p301", "fake/p302"), PEOPLE, {("p301", None), ("p302", None)}),
        ((*REAL, "fake/melgan/p225", "fake/glow/p226"), PEOPLE, {("p225", "melgan"), ("p226", "glow")}),
        ((*REAL, "fake/p225/melgan", "fake/p226/glow"), PEOPLE, {("p225", "melgan"), ("p226", "glow")}),
        (("real/VCTK/p225", "real/VCTK/p226", "fake/tts/bark"), {"p225", "p226"}, {(None, "bark")}),
        (("real/1688/142", "real/1688/143", "real/7021/85", "fake/A07", "fake/A08"), {"1688", "7021"},
         {(None, "A07"), (None, "A08")}),
        (("real/1988", "real/2002", "real/84", "fake/melgan"), {"1988", "2002", "84"}, {(None, "melgan")}),
        (("bonafide/spk 1/día", "bonafide/spk 2/día", "spoof/声/生成"), {"spk 1", "spk 2"}, {(None, "声")}),
        (("real/train/anna", "real/train/ben", "real/test/cora", "real/test/dan", "real/test/eve",
          "fake/train/melgan", "fake/test/glow"), {"anna", "ben", "cora", "dan", "eve"},
         {(None, "melgan"), (None, "glow")}),
        (("my_fake_voices/fake/melgan", "my_fake_voices/fake/glow", "real/voice_a", "real/voice_b"),
         {"voice_a", "voice_b"}, {(None, "melgan"), (None, "glow")}),
    ],
)  # fmt: skip
def test_folders_are_taken_for_what_their_names_say(
    folders: tuple[str, ...], real: set[str], fake: set[tuple[str | None, str | None]], tmp_path: Path
) -> None:
    found = understood(tmp_path, *folders)
    assert told(found, "real") == {(name, "human") for name in real}
    assert told(found, "fake") == fake


@pytest.mark.parametrize(
    ("folders", "label", "because"),
    [
        (("real/calls", "real/podcasts", "fake/melgan"), "real", "may as well be kinds of recordings"),
        ((*REAL, "fake/p225", "fake/melgan", "fake/glow"), "fake", "some of them are called like speakers"),
        (("real/calls", "real/podcasts", "fake/calls", "fake/podcasts"), "fake", "below real/ are called the same"),
        (("real", "fake/01", "fake/02"), "fake", "mere numbers"),
    ],
)
def test_folders_that_may_mean_anything_are_not_used_and_said(
    folders: tuple[str, ...], label: str, because: str, tmp_path: Path
) -> None:
    found = understood(tmp_path, *folders)
    assert {speaker for speaker, _ in told(found, label)} == {None}
    assert {generator for _, generator in told(found, label)} == {"human" if label == "real" else None}
    (sentence,) = [how.sentence() for _, how in found.understood if how.label == label]
    assert because in sentence
    assert f"say --subfolders {label}=" in sentence


def test_a_folder_for_each_recording_names_recordings(tmp_path: Path) -> None:
    found = understood(tmp_path, *(f"real/talk{i}" for i in range(9)), *(f"fake/x{c}" for c in "abc"), each=1)
    assert told(found, "real") == {(None, "human")}
    assert told(found, "fake") == {(None, None)}


@pytest.mark.parametrize(
    "name", ["train", "wav", "16k", "de", "en_US", "2024-05-01", "part_3", "Session2", "audio", "__"]
)
def test_names_that_say_nothing_are_nobodys(name: str, tmp_path: Path) -> None:
    found = understood(tmp_path, f"real/{name}", "real/speaker_1", "real/speaker_2", f"fake/{name}", "fake/melgan")
    assert told(found, "real") == {(None, "human"), ("speaker_1", "human"), ("speaker_2", "human")}
    assert told(found, "fake") == {(None, None), (None, "melgan")}


def test_numbered_folders_are_speakers_once_some_of_them_hold_several_recordings(tmp_path: Path) -> None:
    root = tree(tmp_path / "corpus", *(f"real/libri{i * 37}" for i in range(30)), "fake/melgan", each=1)
    assert told(read_inputs([root], "auto", tmp_path), "real") == {(None, "human")}
    for folder in ("real/libri37", "real/libri74"):
        (root / folder / "more.wav").write_bytes(b"x")
    found = read_inputs([root], "auto", tmp_path)
    assert told(found, "real") == {(f"libri{i * 37}", "human") for i in range(30)}


def test_one_name_in_two_unicode_forms_is_one_speaker(tmp_path: Path) -> None:
    name = "sprecher müller"
    forms = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    found = understood(tmp_path, f"real/{forms[0]}", *(f"real/{who}" for who in ("anna", "ben", "cora", "dan")),
                       f"fake/{forms[1]}")  # fmt: skip
    assert told(found, "fake") == {(forms[0], None)}


def test_speakers_of_one_input_tell_what_the_folders_of_another_are(tmp_path: Path) -> None:
    real, fake = tree(tmp_path / "a/real", "p225", "p226"), tree(tmp_path / "b/fake", "p225", "p226")
    for inputs in ([real, fake], [fake, real]):
        found = read_inputs(inputs, "auto", tmp_path / "downloads")
        assert told(found, "fake") == {("p225", None), ("p226", None)}


def test_a_person_may_say_otherwise(tmp_path: Path) -> None:
    folders = ("real/calls", "real/podcasts", "fake/melgan/01", "fake/glow/02")
    assert told(understood(tmp_path, *folders), "real") == {(None, "human")}
    found = understood(tmp_path, *folders, say=("real=speaker", "fake=generator/speaker"))
    assert told(found, "real") == {("calls", "human"), ("podcasts", "human")}
    assert told(found, "fake") == {("01", "melgan"), ("02", "glow")}
    found = understood(tmp_path, *folders, say=("fake=-/generator",))
    assert told(found, "fake") == {(None, "01"), (None, "02")}
    found = understood(tmp_path, *folders, say=("none",))
    assert told(found, "fake") == {(None, None)}


@pytest.mark.parametrize(
    "words", [("real=generator",), ("speakers",), ("fake=speaker/speaker",), ("none", "fake=none")]
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--subfolders .*(expected auto, none|say it once)"):
        understood(tmp_path, "real/a", "fake/b", say=words)


def test_a_level_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fake=generator/speaker asks for the speakers .* no folder lies there"):
        understood(tmp_path, "real", "fake/melgan", say=("fake=generator/speaker",))


def corpus(root: Path) -> Path:
    """Four real speakers and two generators, with two short recordings in each folder."""
    talk, made = load_audio(EXAMPLES / "real/vctk_p225.mp3"), load_audio(EXAMPLES / "fake/kokoro_bf_alice.mp3")
    for samples, folders in (
        (talk, [f"real/spk {i}/día" for i in range(4)]),
        (made, ["fake/kokoro/生成", "fake/mel gan"]),
    ):
        for index, folder in enumerate(folder for folder in folders for _ in range(2)):
            write_wav(
                root / folder / f"{index}.wav", samples[index * 4 * SAMPLING_RATE : (index + 1) * 4 * SAMPLING_RATE]
            )
    return root


def test_a_build_says_what_it_understood_and_keeps_the_speakers_of_folders_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = corpus(tmp_path / "my corpus ü")
    assert run(place, "--output", tmp_path / "data", "--splits", "0.5", "0.25", "0.25", "--group-by", "speaker") == 0
    said = capsys.readouterr().err
    assert "my corpus ü: folders below real/ are taken for speakers (4: spk 0, spk 1, spk 2, spk 3)" in said
    assert "my corpus ü: folders below fake/ are taken for generators (2: kokoro, mel gan)" in said
    assert re.search(r"who speaks in [34] of \d+ recordings is not known", said)  # the fakes
    found = report(tmp_path / "data")
    assert found["inputs"][0]["subfolders"]["real"]["names"] == {"speaker": 4}
    places: dict[str, set[str]] = {}
    for entry in found["recordings"]:
        if entry["label"] == "real" and entry["split"]:
            places.setdefault(entry["speaker"], set()).add(entry["split"])
        assert entry["generator"] in ("human", "kokoro", "mel gan")
    assert set(places) == {f"spk {i}" for i in range(4)}
    assert all(len(splits) == 1 for splits in places.values())


def test_speakers_that_nobody_named_are_unchecked_and_never_green(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = corpus(tmp_path / "corpus")
    assert run(place, "--output", tmp_path / "data", "--subfolders", "none") == 0
    assert re.search(r"who speaks in (\d+) of \1 recordings is not known", capsys.readouterr().err)
    assert main(["audit", str(tmp_path / "data"), "--output", str(tmp_path / "audit")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("unchecked speakers across splits")
    assert lines[1] == "no leak   no source or audio is in two splits"
    page = (tmp_path / "audit/audit.html").read_text(encoding="utf-8")
    leakage = page.partition(">Leakage</h2>")[2].partition("<h2")[0]
    assert 'class="good"' not in leakage
    assert leakage.index("Unchecked") < leakage.index("No source or audio")
    assert "speakers across splits" in json.loads((tmp_path / "audit/audit.json").read_text())["not_checked"][0]


def test_years_are_no_speakers(tmp_path: Path) -> None:
    found = understood(tmp_path, *(f"real/{year}" for year in range(2015, 2022)), "fake/melgan")
    assert told(found, "real") == {(None, "human")}
