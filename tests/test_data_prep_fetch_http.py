"""Fetching from a web server: proved content, patience, few connections, and a killed fetch that goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, ROOT
from fetching import Repository, Server, answer, make_repository, metadata, reasons, report, row, run, serving, voice
from fetching import write_list as listing

from data_prep.fetch_http import HttpOptions, HttpSource
from data_prep.fetch_list import files_of, read_list

NAMES = [f"clips/{index:02d}.wav" for index in range(8)] + ["odd/日本語 é #1?100%&+.wav"]
QUICK = {"first_wait_s": 0.02, "timeout_s": 5.0}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    files = {name: voice(1.5 + 0.1 * seed, seed) for seed, name in enumerate(NAMES)}
    return make_repository(tmp_path_factory.mktemp("http") / "mirror", "some-lab/demo", files)


def fetched(pages: Repository, server: Server, output: Path, *options: object, rows: list[dict] | None = None) -> int:
    listed = listing(output.with_suffix(".csv"), rows or [row(pages, name) for name in NAMES])
    return run(listed, "--output", output, "--base-url", server.url, *options)


def brought(pages: Repository, server: Server, folder: Path, names: list[str] = NAMES, **options: object) -> dict:
    """path → problem or None, from the source itself, whose waits the command line does not set."""
    listed = read_list(listing(folder / "l.csv", [row(pages, name) for name in names]))
    (folder / "copies").mkdir(exist_ok=True)
    source = HttpSource(folder / "copies", HttpOptions(base_url=server.url, **(QUICK | options)))
    found = list(source.bring(files_of(listed.clips)))
    for one in found:
        if one.path is not None:
            assert one.path.read_bytes() == pages.content(one.file.path)
    assert not list((folder / "copies").glob("*.part"))
    return {one.file.path: one.problem for one in found}


def test_a_server_and_a_mirror_give_the_same_clips(pages, tmp_path):
    with serving(pages) as server:
        assert fetched(pages, server, tmp_path / "web") == 0
    assert sorted(path for path, _ in server.asked) == sorted(NAMES), "each file is asked for once"
    assert run(tmp_path / "web.csv", "--output", tmp_path / "git", "--mirror", pages.folder.parent) == 0
    assert metadata(tmp_path / "web") == metadata(tmp_path / "git")
    for line in metadata(tmp_path / "web"):
        one, other = (tmp_path / name / line["file_name"] for name in ("web", "git"))
        assert one.read_bytes() == other.read_bytes()


def test_content_with_another_id_is_not_used(pages, tmp_path):
    rows = [
        row(pages, NAMES[0]),
        row(pages, NAMES[1], blob=pages.blobs[NAMES[0]]),
        row(pages, "absent.wav", blob="1" * 40),
    ]
    rows += [row(pages, NAMES[2], commit="2" * 40), row(pages, NAMES[3], page="no/where")]
    with serving(pages) as server:
        assert fetched(pages, server, tmp_path / "out", rows=rows) == 1
    assert [line["path"] for line in metadata(tmp_path / "out")] == [NAMES[0]]
    assert reasons(tmp_path / "out") == {
        NAMES[1]: "other content than listed",
        "absent.wav": "file not found",
        NAMES[2]: "file not found",
        NAMES[3]: "file not found",
    }
    details = {entry["path"]: entry["detail"] for entry in report(tmp_path / "out")["missing_clips"]}
    assert pages.blobs[NAMES[1]] in details[NAMES[1]]
    assert "404" in details["absent.wav"]
    assert len(server.times("absent.wav")) == 1, "what is not there is not asked for again"


@pytest.mark.parametrize("status", [429, 503, 403])
def test_retry_after_is_honoured_by_all_connections(pages, tmp_path, status):
    with serving(pages) as server:
        server.answers[NAMES[0]] = lambda handler, number: number == 0 and answer(handler, status, Retry_After="1")
        assert set(brought(pages, server, tmp_path, connections=1).values()) == {None}
    first, second = server.times(NAMES[0])
    assert second - first >= 0.99
    assert not [path for path, when in server.asked if first < when < first + 0.99], "somebody asked a busy server"


def test_retry_after_may_be_a_date(pages, tmp_path):
    def busy(handler: object, number: int) -> bool:
        return number == 0 and answer(handler, 503, Retry_After=formatdate(time.time() + 2, usegmt=True))

    with serving(pages) as server:
        server.answers[NAMES[0]] = busy
        assert brought(pages, server, tmp_path, NAMES[:1]) == {NAMES[0]: None}
    first, second = server.times(NAMES[0])
    assert 0.9 < second - first < 4


def test_a_server_that_asks_for_hours_is_asked_nothing_more(pages, tmp_path):
    with serving(pages) as server:
        server.answers[NAMES[2]] = lambda handler, number: answer(handler, 429, Retry_After="7200")
        found = brought(pages, server, tmp_path, connections=1)
    assert [path for path, _ in server.asked] == NAMES[:3]
    assert [found[name] for name in NAMES[:2]] == [None, None]
    assert all("7200 s" in found[name].detail for name in NAMES[3:])


def test_passing_faults_are_tried_again_ever_more_slowly(pages, tmp_path):
    with serving(pages) as server:
        server.answers[NAMES[0]] = lambda handler, number: number < 4 and answer(handler, (500, 502, 503, 429)[number])
        assert brought(pages, server, tmp_path, NAMES[:2], first_wait_s=0.1) == dict.fromkeys(NAMES[:2])
    times = server.times(NAMES[0])
    waits = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert len(waits) == 4
    for attempt, wait_s in enumerate(waits):
        assert wait_s >= 0.5 * 0.1 * 2**attempt


def cut_short(handler: object, whole: bytes, told: bool) -> bool:
    """Half of a file, and the connection closed."""
    handler.send_response(200)
    if told:
        handler.send_header("Content-Length", str(len(whole)))
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(whole[: len(whole) // 2])
    handler.close_connection = True
    return True


@pytest.mark.parametrize("told", [True, False], ids=["with a length", "without"])
def test_a_body_that_was_cut_short_comes_whole_or_not_at_all(pages, tmp_path, told):
    whole = pages.content(NAMES[0])
    with serving(pages) as server:
        server.answers[NAMES[0]] = lambda handler, number: number == 0 and cut_short(handler, whole, told)
        server.answers[NAMES[1]] = lambda handler, number: cut_short(handler, whole, told)
        found = brought(pages, server, tmp_path, NAMES[:3])
    assert (found[NAMES[0]], found[NAMES[2]]) == (None, None)
    reason = "server, network or repository failed" if told else "other content than listed"
    assert found[NAMES[1]].reason == reason
    assert len(server.times(NAMES[1])) == (5 if told else 2)


def test_a_file_too_large_is_left(pages, tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.fetch_source.MAX_FILE_BYTES", 1000)
    with serving(pages) as server:
        assert brought(pages, server, tmp_path, NAMES[:1])[NAMES[0]].reason == "file too large"


def test_a_server_that_fails_every_file_is_soon_left_alone(pages, tmp_path):
    with serving(pages) as server:
        server.answers = {name: lambda handler, number: answer(handler, 500) for name in NAMES}
        found = brought(pages, server, tmp_path, connections=1, attempts=2, max_failures=3)
    assert len(server.asked) == 2 * 3
    assert "3 files in a row" in found[NAMES[-1]].detail


def test_where_nobody_listens_nothing_hangs(pages, tmp_path):
    with serving(pages) as server:
        pass
    found = brought(pages, server, tmp_path, NAMES[:2], attempts=2)
    assert {problem.reason for problem in found.values()} == {"server, network or repository failed"}
    assert "ConnectionError" in found[NAMES[0]].detail


@pytest.mark.parametrize("connections", [1, 3])
def test_no_more_connections_than_asked_for(pages, tmp_path, connections):
    with serving(pages) as server:
        server.pause_s = 0.05
        assert set(brought(pages, server, tmp_path, connections=connections).values()) == {None}
    assert server.most_at_once == connections


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_fetch_goes_on_to_the_same_clips(pages, tmp_path, workers):
    """Killed as by a power cut, while the server is silent about one file; what came is not asked for again."""
    with serving(pages) as whole:
        assert fetched(pages, whole, tmp_path / "whole") == 0
    with serving(pages) as server:
        server.answers[NAMES[6]] = lambda handler, number: number == 0 and bool(time.sleep(60))
        listed = listing(tmp_path / "out.csv", [row(pages, name) for name in NAMES])
        words = [listed, "--output", tmp_path / "out", "--base-url", server.url, "--workers", workers]
        command = [sys.executable, "-m", "data_prep", "fetch", *map(str, words), "--connections", "2"]
        process = subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT | {"NO_PROXY": "127.0.0.1"}, stderr=subprocess.DEVNULL
        )
        journal = tmp_path / "out/.fetched.jsonl"
        limit = time.monotonic() + 60
        # Two lines are no clips. Copies of others may lie there, whole or not, and are proved before they are used.
        while time.monotonic() < limit and not (journal.exists() and journal.read_bytes().count(b"\n") >= 5):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        came = {path for path, _ in server.asked if path != NAMES[6]}
        (tmp_path / "out/.fetching/0123456789abcdef0123").write_bytes(b"left over")
        assert not (tmp_path / "out/metadata.csv").exists()
        assert fetched(pages, server, tmp_path / "out") == 0
    assert metadata(tmp_path / "out") == metadata(tmp_path / "whole")
    for line in metadata(tmp_path / "whole"):
        one, other = (tmp_path / name / line["file_name"] for name in ("whole", "out"))
        assert one.read_bytes() == other.read_bytes()
    assert all(len(server.times(name)) <= 2 for name in NAMES)
    assert sum(len(server.times(name)) == 1 for name in came) >= 3, "everything was asked for once more"
    assert not (tmp_path / "out/.fetching").exists()


def test_a_copy_that_was_left_behind_is_proved_before_it_is_used(pages, tmp_path):
    with serving(pages) as server:
        brought(pages, server, tmp_path, NAMES[:2])
        asked = len(server.asked)
        brought(pages, server, tmp_path, NAMES[:2])
        assert len(server.asked) == asked, "a complete copy was asked for again"
        damaged = sorted((tmp_path / "copies").iterdir())[0]
        damaged.write_bytes(damaged.read_bytes()[:-1])
        brought(pages, server, tmp_path, NAMES[:2])
        assert len(server.asked) == asked + 1


def test_ctrl_c_ends_at_once_and_says_how_to_go_on(pages, tmp_path):
    with serving(pages) as server:
        server.answers[NAMES[1]] = lambda handler, number: answer(handler, 503, Retry_After="500")
        listed = listing(tmp_path / "out.csv", [row(pages, name) for name in NAMES])
        words = [listed, "--output", tmp_path / "out", "--base-url", server.url, "--workers", "1"]
        command = [sys.executable, "-m", "data_prep", "fetch", *map(str, words)]
        process = subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT | {"NO_PROXY": "127.0.0.1"}, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
        )  # fmt: skip
        limit = time.monotonic() + 60
        while time.monotonic() < limit and not server.times(NAMES[1]):
            time.sleep(0.02)
        time.sleep(0.3)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - started < 10
    assert "run the same command again" in shown
    assert "Traceback" not in shown
