"""Finding recordings: deterministic, complete, and never stuck."""

import os

import pytest

from deepfake.audio.files import find_audio_files
from deepfake.errors import UserError


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "corpus"
    for name in (
        "real/b.wav",
        "real/a.MP3",
        "real/sub/c.flac",
        "fake/d.m4a",
        "fake/notes.txt",
        "fake/._d.m4a",
        "top.ogg",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def names(search):
    return [file.name for file in search]


def test_names_start_at_the_input_folder_and_come_in_one_order(tree):
    expected = [
        "corpus/top.ogg",
        "corpus/fake/d.m4a",
        "corpus/real/a.MP3",
        "corpus/real/b.wav",
        "corpus/real/sub/c.flac",
    ]
    search = find_audio_files([tree])
    assert names(search) == expected
    assert search.skipped == 2
    assert names(find_audio_files([str(tree)])) == expected


def test_a_file_named_directly_is_taken_whatever_its_extension_and_named_with_its_folder(tree):
    assert names(find_audio_files([tree / "fake" / "notes.txt"])) == ["fake/notes.txt"]


def test_relative_and_dotted_inputs_have_the_same_names(tree, monkeypatch):
    expected = names(find_audio_files([tree]))
    monkeypatch.chdir(tree / "real")
    assert names(find_audio_files([".."])) == expected
    assert names(find_audio_files(["."])) == ["real/a.MP3", "real/b.wav", "real/sub/c.flac"]


def test_a_file_reached_by_two_inputs_comes_once(tree):
    found = [file.path for file in find_audio_files([tree / "real" / "a.MP3", tree / "real", tree])]
    assert len(found) == len(set(found)) == 5


def test_symlink_loops_end_and_a_linked_folder_is_named_by_where_it_lies(tree):
    (tree / "a_link").symlink_to(tree / "real", target_is_directory=True)
    (tree / "real" / "loop").symlink_to(tree, target_is_directory=True)
    (tree / "self").symlink_to(tree / "self")
    assert names(find_audio_files([tree])) == [
        "corpus/top.ogg",
        "corpus/fake/d.m4a",
        "corpus/real/a.MP3",
        "corpus/real/b.wav",
        "corpus/real/sub/c.flac",
    ]


def test_a_linked_folder_from_elsewhere_is_followed(tree, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "z.wav").write_bytes(b"x")
    (tree / "fake" / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert names(find_audio_files([tree]))[-1] == "corpus/fake/more/z.wav"


def test_broken_links_are_left_for_the_reader_to_report(tree):
    (tree / "real" / "gone.wav").symlink_to(tree / "nowhere.wav")
    assert "corpus/real/gone.wav" in names(find_audio_files([tree]))


def test_an_unreadable_folder_is_reported_and_the_rest_found(tree, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    search = find_audio_files([tree])
    assert len(names(search)) == 4
    assert search.unreadable_folders == [f"{tree / 'real' / 'sub'} (Permission denied)"]


def test_walking_is_lazy(tree):
    search = find_audio_files([tree])
    assert next(search).name == "corpus/top.ogg"
    assert search.skipped == 0, "fake/ was read before it was its turn"


@pytest.mark.parametrize("inputs", [[], ["/no/such/folder"]])
def test_a_missing_input_is_told_before_anything_is_walked(inputs):
    with pytest.raises(UserError, match="name"):
        find_audio_files(inputs)
