"""What gets scored: files, folders, patterns and lists, each recording once and in a fixed order."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from deepfake.errors import UserError
from deepfake.scoring.arguments import parse_arguments
from deepfake.scoring.command import score
from deepfake.scoring.listing import list_files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a/one.wav", "a/two.mp3", "a/deep/three.wav", "b/one.wav", "b/notes.txt", "b/.hidden.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(*arguments: object, **options: object) -> list[str]:
    return [file.name for file in list_files(*arguments, **options)]


def test_folders_patterns_and_filters(tree: Path) -> None:
    everything = ["a/one.wav", "a/two.mp3", "a/deep/three.wav", "b/one.wav"]
    assert names([str(tree / "a"), str(tree / "b")]) == everything
    assert names([f"{tree}/*/one.wav"]) == ["a/one.wav", "b/one.wav"]
    assert names([f"{tree}/**/*.wav"]) == ["deep/three.wav", "a/one.wav", "b/one.wav"]
    assert names([f"{tree}/a", f"{tree}/a/one.wav"]) == everything[:3]
    both = [str(tree / "a"), str(tree / "b")]
    assert names(both, include=["*.wav"]) == ["a/one.wav", "a/deep/three.wav", "b/one.wav"]
    assert names(both, include=["*.wav"], exclude=["*/deep/*"]) == ["a/one.wav", "b/one.wav"]
    assert names(both, exclude=["one.*", "*.mp3"]) == ["a/deep/three.wav"]
    with pytest.raises(UserError, match="no file matches"):
        names([f"{tree}/*.flac"])
    with pytest.raises(UserError, match="does not exist"):
        names([f"{tree}/a/four.wav"])


def test_filters_know_the_path_as_a_pattern_or_a_list_names_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert names(["**/*.wav"], exclude=["a/*"]) == ["b/one.wav"]
    assert names([f"{tree}/**/*.wav"], exclude=["*/a/*"]) == ["b/one.wav"]
    assert names(["-"], include=["a/deep/*"], stdin=io.BytesIO(b"a/deep/three.wav\na/one.wav\n")) == ["deep/three.wav"]


def test_a_file_with_brackets_in_its_name_is_a_file(tree: Path) -> None:
    (tree / "take[1].wav").touch()
    assert len(names([str(tree / "take[1].wav")])) == 1


def test_an_unreadable_folder_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = list_files([str(tree / "a")])
    assert [file.name for file in listing] == ["a/one.wav", "a/two.mp3"]
    assert listing.unreadable_folders == [f"{tree / 'a' / 'deep'} (Permission denied)"]
    alone = parse_arguments([str(tree / "a" / "deep")])
    with pytest.raises(UserError, match=r"cannot read the folder .*deep \(Permission denied\)"):
        score(alone, list_files(alone.paths))


def test_a_list_on_stdin(tree: Path) -> None:
    lines = [tree / "a/one.wav", tree / "missing.wav", "", tree / "a/one.wav", tree / "b/one.wav"]
    listed = "\r\n".join(map(str, lines)).encode() + b"\n" + os.fsencode(tree) + b"/\xff.wav"
    found = list(list_files(["-"], stdin=io.BytesIO(listed)))
    assert [os.fsencode(f.path.name) for f in found] == [b"one.wav", b"missing.wav", b"one.wav", b"\xff.wav"]
    assert names(["-"], exclude=["missing*"], stdin=io.BytesIO(str(lines[1]).encode())) == []
    together = list_files([str(tree / "a"), "-"], stdin=io.BytesIO(str(tree / "b/one.wav").encode()))
    assert [f.name for f in together][-1] == "b/one.wav"
