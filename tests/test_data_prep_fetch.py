"""Fetching as a user runs it: a list in, the listed stretches out, and every missing clip accounted for."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from building import EXAMPLES
from building import run as run_build
from conftest import ROOT
from datasets import load_from_disk
from fetching import Repository, make_repository, metadata, reasons, report, row, run, voice, write_list

from data_prep import arguments
from data_prep.__main__ import _parser
from data_prep.fetch_cut import Treatment, level_dbfs, treated
from data_prep.fetch_http import HttpOptions
from data_prep.fetch_list import read_list
from data_prep.list_tables import replaced
from deepfake.audio.decode import SAMPLING_RATE, load_audio, pcm16
from deepfake.audio.energy import frame_levels, gate_thresholds, runs

AS_PUBLISHED = ("--keep-edges", "--keep-level")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return make_repository(
        tmp_path_factory.mktemp("pages") / "mirror",
        "some-lab/demo.github.io",
        {
            "wavs/real/a.wav": voice(6, 2, edge_s=1.0),
            "wavs/fake/a b#1?.wav": 0.05 * voice(5, 3, edge_s=0.02),
            "wavs/日本語 é.wav": voice(2, 4),
            "speech.mp3": (EXAMPLES / "real/vctk_p225.mp3").read_bytes(),
            "notes.wav": b"no audio at all",
            "silence.wav": np.zeros(32_000, np.float32),
            "stereo.wav": wav(np.stack((voice(3, 1, 44_100), 0.2 * voice(3, 5, 44_100)), axis=1), 44_100),
        },
    )


def wav(samples: np.ndarray, rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_24")
    return buffer.getvalue()


def everything(pages: Repository) -> list[dict]:
    human = {"label": "real", "kind": "human", "generator": "human"}
    return [
        row(pages, "wavs/real/a.wav", 0, 10, **human, speaker="p225", language="en", group_id="demo:a"),
        row(pages, "wavs/fake/a b#1?.wav", 0, 10, family="diffusion", year=2024, licence="MIT License"),
        row(pages, "speech.mp3", 0, 10, **human),
        row(pages, "speech.mp3", 10, 14.5, **human),
        row(pages, "wavs/日本語 é.wav", 0.5, 1.75),
    ]


def fetched(pages: Repository, output: Path, rows: list[dict], *options: object) -> int:
    listed = write_list(output.with_suffix(".csv"), rows)
    return run(listed, "--output", output, "--mirror", pages.folder.parent, *options)


def test_clips_are_the_samples_of_the_listed_stretches(pages, tmp_path):
    rows = [*everything(pages), row(pages, "stereo.wav", 1, 2)]
    assert fetched(pages, tmp_path / "out", rows, *AS_PUBLISHED) == 0
    told = metadata(tmp_path / "out")
    assert [line["path"] for line in told] == [line["path"] for line in rows], "not in the order of the list"
    for line, listed in zip(told, rows, strict=True):
        whole = load_audio(pages.folder / line["path"])
        stretch = whole[round(listed["start_s"] * SAMPLING_RATE) : round(listed["end_s"] * SAMPLING_RATE)]
        written = pcm16(load_audio(tmp_path / "out" / line["file_name"]))
        np.testing.assert_array_equal(written, pcm16(stretch))
        assert float(line["duration_s"]) == len(stretch) / SAMPLING_RATE
        assert float(line["published_dbfs"]) == pytest.approx(level_dbfs(stretch), abs=0.01)


def test_what_the_list_says_of_a_clip_is_kept_and_unknown_is_empty(pages, tmp_path):
    rows = [*everything(pages), row(pages, "stereo.wav", 0, 2, generator="unknown", year="", language="-")]
    assert fetched(pages, tmp_path / "out", rows) == 0
    real, fake, *_, last = metadata(tmp_path / "out")
    assert (real["label"], real["kind"], real["generator"], real["speaker"]) == ("real", "human", "human", "p225")
    assert (real["language"], real["group_id"], real["page"]) == ("en", "demo:a", "some-lab/demo.github.io")
    assert (fake["label"], fake["family"], fake["year"], fake["licence"]) == (
        "fake",
        "diffusion",
        "2024",
        "MIT License",
    )
    assert fake["blob"] == pages.blobs["wavs/fake/a b#1?.wav"]
    assert (last["generator"], last["year"], last["language"], last["speaker"]) == ("", "", "", "")


def test_both_classes_get_one_level_and_no_more_than_the_silence_asked_for_at_the_edges(pages, tmp_path):
    assert fetched(pages, tmp_path / "out", everything(pages)) == 0
    for line in metadata(tmp_path / "out"):
        clip = load_audio(tmp_path / "out" / line["file_name"])
        assert level_dbfs(clip) == pytest.approx(-23, abs=0.01)
        levels = frame_levels(clip)
        sound = runs(levels > gate_thresholds(levels))
        assert sound[0, 0] <= 11
        assert len(levels) - sound[-1, 1] <= 12
        assert len(clip) == round(float(line["duration_s"]) * SAMPLING_RATE)
    real, fake = metadata(tmp_path / "out")[:2]
    assert float(real["start_s"]) == pytest.approx(0.9, abs=0.03), "1 s of silence before the speech becomes 0.1 s"
    assert float(real["duration_s"]) == pytest.approx(6.2, abs=0.06)
    assert float(fake["duration_s"]) == pytest.approx(5.04, abs=0.01), "less silence than asked for is left alone"
    assert float(fake["published_dbfs"]) < float(real["published_dbfs"]) - 20


def test_the_level_gives_way_where_the_peak_would_clip():
    samples = np.zeros(16_000, np.float32)
    samples[::400] = 0.2
    after = treated(samples, Treatment(level_dbfs=-10))
    assert np.abs(after).max() == pytest.approx(0.99, abs=1e-3)
    assert level_dbfs(after) < -10


@pytest.mark.parametrize("bits", [8, 11, 15])
def test_only_so_many_bits_are_significant(pages, tmp_path, bits):
    assert fetched(pages, tmp_path / "out", everything(pages)[:2], "--bits", bits) == 0
    assert fetched(pages, tmp_path / "whole", everything(pages)[:2]) == 0
    for line in metadata(tmp_path / "out"):
        clip = pcm16(load_audio(tmp_path / "out" / line["file_name"])).astype(int)
        whole = pcm16(load_audio(tmp_path / "whole" / line["file_name"])).astype(int)
        step = 2 ** (16 - bits)
        assert np.gcd.reduce(clip) == step
        assert np.abs(clip - whole).max() <= step // 2 + 1


def test_every_missing_clip_is_named_with_its_reason_and_the_rest_comes(pages, tmp_path, capsys):
    elsewhere = row(pages, "a.wav", page="nobody/nothing", blob="0" * 40)
    rows = [
        *everything(pages),
        row(pages, "notes.wav"),
        row(pages, "silence.wav"),
        row(pages, "stereo.wav", 60, 70),
        row(pages, "gone.wav", blob="1" * 40),
        elsewhere,
    ]
    assert fetched(pages, tmp_path / "out", rows) == 1
    assert len(metadata(tmp_path / "out")) == 5
    assert reasons(tmp_path / "out") == {
        "notes.wav": "not decodable as audio",
        "silence.wav": "no sound in the stretch",
        "stereo.wav": "file ends before the stretch",
        "gone.wav": "file not found",
        "a.wav": "repository not found",
    }
    told = report(tmp_path / "out")
    assert (told["listed"], told["fetched"], told["missing"]) == (10, 5, 5)
    assert told["kinds"]["human"] == {"listed": 3, "fetched": 3, "hours": pytest.approx((6.2 + 14.5) / 3600, rel=0.1)}
    assert told["pages"]["nobody/nothing"] == {"listed": 1, "fetched": 0}
    assert sum(told["missing_by_reason"].values()) == 5
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1].split()[:3] == ["all", "10", "5"]
    assert "5 of 10 clips" in shown.err.splitlines()[-1]
    assert not (tmp_path / "out/.fetching").exists()


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("path", "../../etc/passwd", "inside its repository"),
        ("path", "/etc/passwd", "inside its repository"),
        ("path", "wavs/./a.wav", "inside its repository"),
        ("path", "", "inside its repository"),
        ("path", "a\r\nHost: x", "inside its repository"),
        ("page", "../x", "owner/name"),
        ("page", "a/..", "owner/name"),
        ("page", "a/b/c", "owner/name"),
        ("commit", "HEAD", "40 hex digits"),
        ("blob", "--batch-all-objects", "40 hex digits"),
        ("label", "maybe", "real or fake"),
        ("start_s", "soon", "seconds"),
        ("start_s", "-1", "0 <= start_s < end_s"),
        ("end_s", "inf", "0 <= start_s < end_s"),
        ("end_s", "nan", "0 <= start_s < end_s"),
        ("year", "1e9", "whole number"),
    ],
)
def test_a_row_that_names_no_clip_is_set_aside_with_what_is_wrong(pages, tmp_path, column, value, said):
    rows = [row(pages, "wavs/real/a.wav"), row(pages, "stereo.wav", 0, 2) | {column: value}]
    found = read_list(write_list(tmp_path / "l.csv", rows))
    assert [clip.path for clip in found.clips] == ["wavs/real/a.wav"]
    assert said in found.unusable[0].problem.detail


def test_rows_that_would_leave_their_repository_are_reported_and_nothing_else_suffers(pages, tmp_path):
    paths = ("../../etc/passwd", "/etc/passwd", "wavs/../../x.wav")
    rows = [row(pages, "wavs/real/a.wav"), *(row(pages, path, blob=pages.blobs["stereo.wav"]) for path in paths)]
    assert fetched(pages, tmp_path / "out", rows) == 1
    assert len(metadata(tmp_path / "out")) == 1
    assert reasons(tmp_path / "out") == dict.fromkeys(paths, "unusable row of the list")
    assert {p.name for p in tmp_path.iterdir()} == {"out", "out.csv"}


def test_the_same_stretch_listed_twice_is_fetched_once_and_told(pages, tmp_path):
    assert fetched(pages, tmp_path / "out", [row(pages, "stereo.wav", 0, 2), row(pages, "stereo.wav", 0, 2)]) == 1
    assert len(metadata(tmp_path / "out")) == 1
    assert report(tmp_path / "out")["missing_clips"][0]["line"] == 3


def test_no_text_of_the_list_becomes_part_of_a_path(pages, tmp_path):
    assert fetched(pages, tmp_path / "out", everything(pages)) == 0
    names = [line["file_name"] for line in metadata(tmp_path / "out")]
    assert all(re.fullmatch(r"clips/[0-9a-f]{2}/[0-9a-f]{20}\.flac", name) for name in names)
    assert sorted(names) == sorted(str(p.relative_to(tmp_path / "out")) for p in tmp_path.glob("out/clips/*/*"))


def test_the_number_of_workers_changes_nothing(pages, tmp_path):
    rows = everything(pages)
    assert fetched(pages, tmp_path / "one", rows) == 0
    assert fetched(pages, tmp_path / "two", rows, "--workers", 2) == 0
    for path in sorted((tmp_path / "one").rglob("*.*")):
        if path.is_file() and path.name != "fetch_report.json" and not path.name.startswith("."):
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_what_is_there_is_kept_and_a_longer_list_adds_to_it(pages, tmp_path):
    rows = everything(pages)
    assert fetched(pages, tmp_path / "out", rows[:2]) == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out/clips").rglob("*.flac")}
    assert fetched(pages, tmp_path / "out", rows) == 0
    assert len(metadata(tmp_path / "out")) == 5
    assert {p: p.stat().st_mtime_ns for p in before} == before
    lost = next(iter(before))
    lost.unlink()
    assert fetched(pages, tmp_path / "out", rows) == 0
    assert lost.is_file(), "a clip that was deleted comes again"


def test_half_a_line_of_the_journal_costs_one_clip(pages, tmp_path):
    rows = everything(pages)
    assert fetched(pages, tmp_path / "out", rows) == 0
    journal = tmp_path / "out/.fetched.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])
    assert fetched(pages, tmp_path / "out", rows) == 0
    assert len(metadata(tmp_path / "out")) == 5
    assert fetched(pages, tmp_path / "out", rows) == 0


@pytest.mark.parametrize(
    ("prepare", "options", "said"),
    [
        (lambda out: None, ("--level-dbfs", "-30"), "asked for was edge_silence_s 0.1, level_dbfs -30.0"),
        (lambda out: None, ("--bits", "17"), "--bits is 17"),
        (lambda out: None, ("--level-dbfs", "3"), "--level-dbfs is 3"),
        (lambda out: None, ("--edge-silence-s", "-1"), "--edge-silence-s is -1"),
        (lambda out: (out / ".fetched.jsonl").unlink(), (), "holds other files"),
        (lambda out: None, ("--mirror", "absent"), "--mirror absent is no folder"),
        (lambda out: None, ("--connections", "0"), "--connections is 0"),
        (lambda out: None, ("--base-url", "ftp://x"), "--base-url is ftp://x"),
        (lambda out: None, ("--workers", "0"), "--workers is 0"),
    ],
)
def test_a_mistake_ends_in_one_sentence(pages, tmp_path, capsys, prepare, options, said):
    rows = everything(pages)[:1]
    assert fetched(pages, tmp_path / "out", rows) == 0
    prepare(tmp_path / "out")
    capsys.readouterr()
    from data_prep.__main__ import main

    words = [tmp_path / "out.csv", "--output", tmp_path / "out", "--mirror", pages.folder.parent, *options]
    assert main(["fetch", *map(str, words)]) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1


def test_a_list_that_lacks_fetched_clips_is_another_list(pages, tmp_path, capsys):
    assert fetched(pages, tmp_path / "out", everything(pages)) == 0
    assert fetched(pages, tmp_path / "out", everything(pages)[1:]) == 2
    assert "holds 1 clips that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is no file"),
        ("page,path\n", "has no column commit"),
        ("page,commit,path,blob,start_s,end_s,label\n", "lists no clip"),
        ("page,commit,path,blob,start_s,end_s,label\nx,,,,,,\n", "lists no clip that could be fetched (1 rows: page"),
    ],
)
def test_an_unusable_list_ends_in_one_sentence(tmp_path, capsys, text, said):
    if text is not None:
        (tmp_path / "l.csv").write_text(text)
    assert run(tmp_path / "l.csv", "--output", tmp_path / "out", "--mirror", tmp_path) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_when_nothing_came_the_report_is_there_and_the_status_is_2(pages, tmp_path, capsys):
    assert fetched(pages, tmp_path / "out", [row(pages, "gone.wav", blob="1" * 40)]) == 2
    assert "none of 1 clips came (1 file not found)" in capsys.readouterr().err
    assert reasons(tmp_path / "out") == {"gone.wav": "file not found"}


def test_what_was_fetched_builds_and_the_columns_survive(tmp_path):
    """Speech, because `build` looks for it."""
    files = {f"{name}.{kind}": (EXAMPLES / label / f"{name}.{kind}").read_bytes() for label, name, kind in _SPEECH}
    repository = make_repository(tmp_path / "mirror", "coqui-ai/TTS", files)
    rows = []
    for label, name, kind in _SPEECH:
        more = {"kind": "human"} if label == "real" else {"kind": "tts", "family": "VITS-like", "year": 2023}
        rows += [
            row(
                repository,
                f"{name}.{kind}",
                10 * i,
                10 * i + 10,
                label=label,
                generator="kokoro",
                group_id=name,
                **more,
            )
            for i in range(2)
        ]
    assert fetched(repository, tmp_path / "clips", rows) == 0
    assert run_build(tmp_path / "clips", "--output", tmp_path / "set", "--splits", "0.5", "0.5", "0") == 0
    dataset = load_from_disk(str(tmp_path / "set"))
    held = [line for split in dataset.values() for line in split]
    assert {line["group_id"] for line in held} == {name for _, name, _ in _SPEECH}
    for line in held:
        fake = line["label"] == 1
        told = (line["page"], line["kind"], line["family"], line["year"], line["licence"], line["generator"])
        if fake:
            assert told == ("coqui-ai/TTS", "tts", "VITS-like", 2023, None, "kokoro")
        else:
            assert told == ("coqui-ai/TTS", "human", None, None, None, "human")
    splits = [set(split["group_id"]) for split in dataset.values()]
    assert not splits[0] & splits[1], "a group in two splits"


_SPEECH = [
    ("real", "vctk_p225", "mp3"),
    ("real", "vctk_p226", "wav"),
    ("fake", "kokoro_bf_alice", "mp3"),
    *[("fake", p.stem, p.suffix[1:]) for p in sorted((EXAMPLES / "fake").glob("kokoro*")) if "bf_alice" not in p.stem][
        :1
    ],
]


def test_the_options_on_the_command_line_have_the_defaults_of_the_library():
    asked = _parser().parse_args(["fetch", "l.csv", "--output", "o"])
    assert (asked.edge_silence_s, asked.level_dbfs, asked.bits) == tuple(vars(Treatment()).values())
    assert (asked.base_url, asked.connections) == (HttpOptions().base_url, HttpOptions().connections)
    assert asked.workers == arguments.usable_cores()


@pytest.fixture(scope="module")
def public():
    return read_list(ROOT / "corpora/pages.csv")


def test_the_public_list_is_usable_to_its_last_row(public):
    assert public.unusable == ()
    assert len(public.clips) == 21_272
    assert len({clip.page for clip in public.clips}) == 338
    assert len({clip.generator for clip in public.clips if clip.label == "fake"}) == 705
    assert all((clip.kind == "human") == (clip.label == "real") == (clip.generator == "human") for clip in public.clips)
    classes = {}
    assert all(classes.setdefault(clip.blob, clip.label) == clip.label for clip in public.clips), "one file, two labels"


def test_the_tables_in_the_readme_are_those_of_the_list(public):
    readme = (ROOT / "corpora/README.md").read_text(encoding="utf-8")
    assert replaced(readme, public.clips) == readme
    assert replaced(readme, public.clips[1:]) != readme


def test_the_readme_explains_every_column(public):
    with (ROOT / "corpora/pages.csv").open(encoding="utf-8", newline="") as file:
        columns = next(csv.reader(file))
    readme = (ROOT / "corpora/README.md").read_text(encoding="utf-8")
    explained = re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`.*?) \|", readme, re.M)))
    assert explained == columns
