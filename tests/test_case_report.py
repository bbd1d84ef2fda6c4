"""The report on recordings: true of its files, the same bytes every time, and found out when anything is changed."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import shutil
import struct
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import RECORDINGS, ROOT, run

from deepfake.audio.decode import load_audio
from deepfake.audio.files import AudioFile
from deepfake.audio.remote import RemoteFile
from deepfake.channels.codecs import CODECS, encode
from deepfake.errors import UserError
from deepfake.scoring.arguments import parse_arguments
from deepfake.scoring.case.build import NOT_EXAMINED, examine_file
from deepfake.scoring.case.container import container_facts
from deepfake.scoring.case.files import PAGE, RECORD, SUMS, altered, differences, read_case
from deepfake.scoring.case.record import Examined
from deepfake.scoring.case.structure import read_structure
from deepfake.scoring.case.traces import examine
from deepfake.scoring.command import execute
from infer import Detector

STORE = b"jumb\x00\x00\x00\x29jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71\x03c2pa\x00"
CLAIM = b"\xa1\x6fclaim_generator\x6fVoice Maker/1.2\x71digitalSourceType\x77trainedAlgorithmicMedia"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, speech: np.ndarray) -> Path:
    """Four seconds of a reader as FLAC, a fake, and a file that is no sound."""
    folder = tmp_path_factory.mktemp("case") / "recordings"
    folder.mkdir()
    (folder / "reader.mp3").write_bytes(encode(speech[:64_000], CODECS["mp3"], 64_000))
    (folder / "fake.m4a").write_bytes(
        encode(load_audio(RECORDINGS / "fake/kokoro_am_onyx.m4a")[:64_000], CODECS["aac"])
    )
    (folder / "text.wav").write_text("no sound at all")
    return folder


@pytest.fixture(scope="module")
def case(recordings: Path) -> Path:
    folder = recordings.parent / "first"
    assert execute(parse_arguments([str(recordings), "--report", str(folder), "--title", "A <case>"])) == 1
    return folder


def examined(path: Path) -> dict[str, Examined]:
    structure = read_structure(path)
    return {one.what: one for one in examine(structure, container_facts(path, structure))}


def test_hashes_and_verdicts_are_those_of_the_files(case: Path, recordings: Path) -> None:
    found = {file.name: file for file in read_case(case).files}
    assert set(found) == {f"recordings/{name}" for name in ("reader.mp3", "fake.m4a", "text.wav")}
    detector = Detector.from_pretrained()
    for name in ("reader.mp3", "fake.m4a"):
        file, path = found[f"recordings/{name}"], recordings / name
        assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert file.audio_sha256 == hashlib.sha256(load_audio(path).astype("<f4").tobytes()).hexdigest()
        assert (file.size, file.samples) == (path.stat().st_size, load_audio(path).size)
        (told,) = file.findings
        score = detector.score(path)
        assert told.fake_probability == pytest.approx(score.fake_probability, abs=1e-4)
        assert told.prediction == score.prediction
        assert len(told.curve.loudness) == len(told.curve.fake_probability) > 100
    assert found["recordings/reader.mp3"].container.codec.startswith("mp3")
    assert found["recordings/text.wav"].audio_sha256 is None
    assert "not decodable" in found["recordings/text.wav"].findings[0].error
    whole = read_case(case)
    stored = json.loads((ROOT / "checkpoints/compact/fingerprint.json").read_text())["sha256"]
    assert dict(whole.instrument.files)["model.safetensors"] == stored
    assert whole.decided.fpr[0] == pytest.approx(0.0633, abs=1e-3)
    assert whole.not_examined == NOT_EXAMINED


def test_the_page_stands_alone_and_says_what_the_record_says(case: Path) -> None:
    page, record = html.unescape((case / PAGE).read_text()), read_case(case)
    assert "<title>A &lt;case&gt;</title>" in (case / PAGE).read_text()
    assert not re.search(r"(?:src|href)=\"(?!#)|url\(|<script|@import", page)
    assert hashlib.sha256((case / RECORD).read_bytes()).hexdigest() in page
    for file in record.files:
        assert file.sha256 in page
        for finding in file.findings:
            assert finding.headline in page
            assert (finding.statement or "") in page
    for text in (record.instrument.weights_sha256, *NOT_EXAMINED):
        assert text in page
    assert not re.search(r"/(?:tmp|home|work|root)/", page + (case / RECORD).read_text())


def test_the_same_bytes_in_another_process_and_place(case: Path, recordings: Path, tmp_path: Path) -> None:
    shutil.copytree(recordings, tmp_path / "recordings")
    done = run(
        sys.executable,
        "infer.py",
        tmp_path / "recordings",
        "--report",
        tmp_path / "again",
        "--title",
        "A <case>",
        check=1,
    )
    for name in (RECORD, PAGE, SUMS):
        assert (tmp_path / "again" / name).read_bytes() == (case / name).read_bytes()
    assert hashlib.sha256((case / RECORD).read_bytes()).hexdigest() in done.stdout


def test_verifying_finds_what_was_changed(
    case: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def verify(folder: Path, *paths: Path) -> tuple[int, str]:
        status = execute(parse_arguments([*map(str, paths), "--verify", str(folder)]))
        return status, capsys.readouterr().out

    status, told = verify(case, recordings)
    assert (status, "the same  3 recordings" in told) == (0, True), told
    assert verify(case)[0] == 0
    shutil.copytree(case, tmp_path / "page")
    text = (case / PAGE).read_text().replace("signs of synthesis were found", "no sign of synthesis was found")
    (tmp_path / "page" / PAGE).write_text(text)
    status, told = verify(tmp_path / "page")
    assert status == 1
    assert f"{PAGE} is not the file" in told
    assert f"{PAGE} does not say what" in told
    shutil.copytree(case, tmp_path / "record")
    (tmp_path / "record" / RECORD).write_text((case / RECORD).read_text().replace('"no sign of', '"clear signs of'))
    assert len(altered(tmp_path / "record")) == 2
    shutil.copytree(recordings, tmp_path / "others")
    (tmp_path / "others" / "reader.mp3").write_bytes((recordings / "reader.mp3").read_bytes() + b"\0")
    status, told = verify(case, tmp_path / "others")
    assert status == 1
    assert "reader.mp3 was not among the files named" in told
    with pytest.raises(UserError, match="none of the recordings that were named is one of the report"):
        verify(case, RECORDINGS / "real" / "vctk_p226.wav")


def test_differences_forgive_last_digits_and_nothing_else(case: Path) -> None:
    one = read_case(case).files[0].findings[0]
    moved = one.__class__(**{**one.__dict__, "fake_probability": one.fake_probability + 5e-4})
    assert differences(one, moved) == []
    moved = one.__class__(**{**one.__dict__, "fake_probability": one.fake_probability + 0.05})
    assert [text.split(":")[0] for text in differences(one, moved)] == ["fake_probability"]


def wav_with(speech: np.ndarray, *chunks: tuple[bytes, bytes], behind: bytes = b"") -> bytes:
    data = (speech[:32_000] * 32767).astype("<i2").tobytes()
    held = [(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)), (b"data", data), *chunks]
    body = b"WAVE" + b"".join(name + struct.pack("<I", len(c)) + c + b"\0" * (len(c) % 2) for name, c in held)
    return b"RIFF" + struct.pack("<I", len(body)) + body + behind


def test_traces_that_were_planted_are_found_and_a_plain_file_has_none(tmp_path: Path, speech: np.ndarray) -> None:
    plain = tmp_path / "plain.wav"
    plain.write_bytes(wav_with(speech))
    assert {one.found for one in examined(plain).values()} == {None}
    assert [part.name for part in read_structure(plain).parts] == ["fmt", "data"]
    info = b"INFO" + b"".join(
        name + struct.pack("<I", len(text)) + text
        for name, text in ((b"ISFT", b"Audacity 3.4\0\0"), (b"ICRD", b"2021-05-04"), (b"ICMT", b"by ElevenLabs "))
    )
    xmp = b'<x:xmpmeta xmp:CreateDate="2024-01-01T10:00:00" xmp:CreatorTool="Adobe Audition 23"></x:xmpmeta>'
    planted = tmp_path / "planted.wav"
    planted.write_bytes(
        wav_with(speech, (b"LIST", info), (b"_PMX", xmp), (b"C2PA", b"\0\0\0\xff" + STORE + CLAIM), behind=b"x" * 12)
    )
    found = examined(planted)
    assert "An editing program signed: Adobe Audition, Audacity" in found["programs that signed the file"].found
    assert "Adobe Audition, Audacity: more than one program" in found["signs of more than one program"].found
    assert "disagree by 972 days" in found["dates in the metadata"].found
    assert found["data behind the end of the container"].found.startswith("12 bytes")
    credentials = found["content credentials (C2PA)"].found
    assert "made by Voice Maker/1.2; its signature was not verified" in credentials
    marks = found["marks of synthesis in the metadata"].found
    assert "ElevenLabs in comment (file)" in marks
    assert "trainedAlgorithmicMedia in the content credentials" in marks
    assert found["marks of synthesis in the metadata"].weight == "trace"


def test_joined_streams_and_other_streams_are_told(tmp_path: Path, speech: np.ndarray) -> None:
    ogg = encode(speech[:32_000], CODECS["opus"], 24_000)
    (tmp_path / "joined.ogg").write_bytes(ogg + ogg.replace(ogg[14:18], b"\x01\x02\x03\x04"))
    assert "2 logical streams" in examined(tmp_path / "joined.ogg")["signs of joined files"].found
    (tmp_path / "one.ogg").write_bytes(ogg)
    assert examined(tmp_path / "one.ogg")["signs of joined files"].found is None
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="mp4") as container:
        sound, picture = container.add_stream("aac", rate=16_000), container.add_stream("mpeg4", rate=5)
        sound.layout, (picture.width, picture.height) = "mono", (64, 64)
        picture.pix_fmt = "yuv420p"
        frame = av.AudioFrame.from_ndarray(speech[None, :32_000], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        for stream, last in ((sound, frame), (sound, None), (picture, None)):
            container.mux(stream.encode(last))
    (tmp_path / "film.mp4").write_bytes(buffer.getvalue())
    assert examined(tmp_path / "film.mp4")["other streams in the file"].found == "video"
    names = [part.name for part in read_structure(tmp_path / "film.mp4").parts]
    assert {"ftyp", "mdat", "moov"} <= set(names)


def test_a_file_that_lies_elsewhere_is_told_and_not_fetched() -> None:
    found = examine_file(Detector.from_pretrained(), AudioFile(RemoteFile("s3://bucket/calls/a.wav"), "calls/a.wav"))
    assert (found.name, found.sha256) == ("calls/a.wav", "")
    assert "copy it here first" in found.findings[0].error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a.wav", "--report", "X", "--output", "y.csv"], "--report is given with --output"),
        (["a.wav", "--report", "X", "--verify", "Y"], "--report is given with --verify"),
        (["a.wav", "--title", "X"], "give --report DIR too"),
        (["a.wav", "--report", "."], "holds something already"),
        (["--verify", "nowhere"], "has no case.json"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        execute(parse_arguments(words))
