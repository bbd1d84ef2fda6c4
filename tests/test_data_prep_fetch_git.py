"""Fetching from copies of repositories: every form a copy can have, and nothing of it run, obeyed or believed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fetching import Repository, git, make_repository, row, voice, write_list

from data_prep.fetch_clip import ListedFile
from data_prep.fetch_git import MirrorSource, object_folders
from data_prep.fetch_list import files_of, read_list
from deepfake.errors import UserError

PAGE = "some-lab/demo"
NAMES = ["a.wav", "b/ü.wav", "c.wav"]


@pytest.fixture
def pages(tmp_path: Path) -> Repository:
    return make_repository(tmp_path / "made", PAGE, {name: voice(0.5, seed) for seed, name in enumerate(NAMES)})


def files(folder: Path, rows: list[dict]) -> list[ListedFile]:
    return files_of(read_list(write_list(folder / "l.csv", rows)).clips)


def brought(mirror: Path, folder: Path, rows: list[dict]) -> dict:
    """path → content, or the reason for none"""
    (folder / "copies").mkdir(exist_ok=True)
    found = MirrorSource(mirror, folder / "copies").bring(files(folder, rows))
    return {one.file.path: one.problem.reason if one.path is None else one.path.read_bytes() for one in found}


def bare(source: Repository, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    git(source.folder, "clone", "--quiet", "--bare", "--no-local", ".", str(target))
    return target


def test_loose_and_packed_objects_in_bare_and_plain_repositories_at_any_depth(pages, tmp_path):
    rows = [row(pages, name) for name in NAMES]
    expected = {name: pages.content(name) for name in NAMES}
    assert brought(pages.folder.parent, tmp_path, rows) == expected, "a checkout with loose objects"
    for number, place in enumerate((".", "repo", "repo.git", "somewhere/deeper")):
        mirror = tmp_path / f"mirror{number}"
        target = bare(pages, mirror / "some-lab+demo" / place)
        assert list(target.glob("objects/pack/*.pack")), "the objects are not packed"
        (target / "config").unlink()  # what only keeps objects may lack it
        (tmp_path / "copies").mkdir(exist_ok=True)
        for copy in (tmp_path / "copies").iterdir():
            copy.unlink()
        assert brought(mirror, tmp_path, rows) == expected
    nested = tmp_path / "mirror9/some-lab+demo/work"
    nested.parent.mkdir(parents=True)
    git(pages.folder, "clone", "--quiet", "--no-local", ".", str(nested))
    assert object_folders(nested.parent) == [nested / ".git/objects"]


def test_of_several_copies_that_one_serves_that_has_the_object(pages, tmp_path):
    mirror = tmp_path / 'odd: "mirror'
    other = make_repository(tmp_path / "other", PAGE, {"late.wav": voice(0.5, 7)})
    bare(pages, mirror / "some-lab+demo" / "1")
    bare(other, mirror / "some-lab+demo" / '2: "x')
    rows = [row(pages, "a.wav"), row(other, "late.wav")]
    assert brought(mirror, tmp_path, rows) == {"a.wav": pages.content("a.wav"), "late.wav": other.content("late.wav")}


def test_what_a_copy_lacks_is_reported_and_the_rest_comes(pages, tmp_path):
    tree = git(pages.folder, "rev-parse", "HEAD^{tree}")
    (pages.folder.parent / "no+repository").mkdir()
    rows = [
        row(pages, "absent.wav", blob="1" * 40),
        row(pages, "tree.wav", blob=tree),
        row(pages, "commit.wav", blob=pages.commit),
        row(pages, "a.wav"),
        row(pages, "x.wav", page="no/folder", blob="2" * 40),
        row(pages, "y.wav", page="no/repository", blob="2" * 40),
        row(pages, "c.wav"),
    ]
    assert brought(pages.folder.parent, tmp_path, rows) == {
        "absent.wav": "file not found",
        "tree.wav": "other content than listed",
        "commit.wav": "other content than listed",
        "a.wav": pages.content("a.wav"),
        "x.wav": "repository not found",
        "y.wav": "repository not found",
        "c.wav": pages.content("c.wav"),
    }


def test_a_damaged_object_costs_its_own_file_only(pages, tmp_path):
    blob = pages.blobs["b/ü.wav"]
    loose = pages.folder / ".git/objects" / blob[:2] / blob[2:]
    content = loose.read_bytes()
    loose.chmod(0o644)
    for damaged in (content[: len(content) // 2], b"nonsense", b""):
        loose.write_bytes(damaged)
        found = brought(pages.folder.parent, tmp_path, [row(pages, name) for name in NAMES])
        assert found.pop("b/ü.wav") in ("server, network or repository failed", "file not found")
        assert found == {name: pages.content(name) for name in ("a.wav", "c.wav")}


def test_an_object_that_lies_about_its_id_is_not_used(pages, tmp_path):
    """git itself does not compare the content of an object that it reads with its name."""
    good, bad = (pages.folder / ".git/objects" / pages.blobs[n][:2] / pages.blobs[n][2:] for n in ("a.wav", "c.wav"))
    bad.chmod(0o644)
    bad.write_bytes(good.read_bytes())
    assert git(pages.folder, "cat-file", "-t", pages.blobs["c.wav"]) == "blob"
    found = brought(pages.folder.parent, tmp_path, [row(pages, name) for name in NAMES])
    assert found["c.wav"] in ("other content than listed", "server, network or repository failed")
    assert found["a.wav"] == pages.content("a.wav")


def test_neither_configuration_nor_hooks_nor_remotes_of_a_copy_are_run(pages, tmp_path):
    """A partial copy whose remote is a command: git asks it for any object that is missing, when it is let."""
    touched = tmp_path / "touched"
    for name, value in (
        ("extensions.partialClone", "origin"),
        ("core.repositoryFormatVersion", "1"),
        ("remote.origin.url", f"ext::touch {touched}"),
        ("remote.origin.promisor", "true"),
        ("protocol.ext.allow", "always"),
        ("core.fsmonitor", f"touch {touched}"),
        ("core.alternateRefsCommand", f"touch {touched}"),
    ):
        git(pages.folder, "config", name, value)
    with pytest.raises(subprocess.CalledProcessError):
        git(pages.folder, "cat-file", "-p", "1" * 40)
    assert touched.exists(), "the trap does not work, so this test shows nothing"
    touched.unlink()
    rows = [row(pages, "absent.wav", blob="1" * 40), row(pages, "a.wav")]
    found = brought(pages.folder.parent, tmp_path, rows)
    assert found == {"absent.wav": "file not found", "a.wav": pages.content("a.wav")}
    assert not touched.exists()


def test_the_users_own_git_variables_change_nothing(pages, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
    assert brought(pages.folder.parent, tmp_path, [row(pages, "a.wav")]) == {"a.wav": pages.content("a.wav")}
    assert not (tmp_path / "trace").exists()


def test_links_to_copies_are_followed_and_loops_of_them_end(pages, tmp_path):
    folder = tmp_path / "mirror/some-lab+demo"
    folder.mkdir(parents=True)
    (folder / "loop").symlink_to(folder)
    (folder / "repo").symlink_to(pages.folder)
    assert brought(tmp_path / "mirror", tmp_path, [row(pages, "a.wav")]) == {"a.wav": pages.content("a.wav")}


def test_without_git_one_sentence_says_so(pages, tmp_path, monkeypatch):
    rows = [row(pages, "a.wav")]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs the program git"):
        brought(pages.folder.parent, tmp_path, rows)
