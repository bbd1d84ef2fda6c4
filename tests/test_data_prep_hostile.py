"""Files that are broken, odd or misnamed: none ends a build, each is accounted for in report.json."""

import json
import os
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.__main__ import main
from data_prep.parts import Recipe
from data_prep.recording import PrepareTask, prepare_recording
from deepfake.audio.decode import load_audio, pcm16

EXAMPLES = Path(__file__).parents[1] / "examples/recordings"


def encode(path: Path, samples: np.ndarray, rate: int, codec: str, layout: str = "mono", container: str | None = None):
    """Write samples of shape (channels, n), float32, in any container."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        form = stream.codec_context.format.name
        planar = samples if form.endswith("p") else samples.T.reshape(1, -1)
        data = planar.astype(np.float32) if form.startswith("flt") else pcm16(planar)
        if form.startswith("s32"):
            data = data.astype(np.int32) << 16
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), format=form, layout=layout)
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            output.mux(packet)


def resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    times = np.arange(int(len(samples) * rate / 16_000)) * 16_000 / rate
    return np.interp(times, np.arange(len(samples)), samples).astype(np.float32)


def video_only(path: Path) -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        for _ in range(10):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        output.mux(stream.encode(None))


def make_hostile(root: Path) -> dict[str, tuple[str, str]]:
    """Write hostile files below `root`; returns name → (expected status, a part of the expected error)."""
    root.mkdir(parents=True)
    talk = load_audio(EXAMPLES / "real/vctk_p226.wav")
    mono = talk[None, : 12 * 16_000]
    good = (EXAMPLES / "real/vctk_p225.mp3").read_bytes()
    flac = (EXAMPLES / "real/vctk_p227.flac").read_bytes()
    random = np.random.default_rng(0)
    expected: dict[str, tuple[str, str]] = {}

    def raw(name: str, data: bytes, status: str, error: str = "") -> None:
        (root / name).write_bytes(data)
        expected[name] = (status, error)

    def made(name: str, status: str, samples: np.ndarray, rate: int, codec: str, **more: str) -> None:
        encode(root / name, samples, rate, codec, **more)
        expected[name] = (status, "")

    raw("empty.wav", b"", "failed", "empty")
    raw("garbage.mp3", random.bytes(50_000), "failed")
    raw("text.wav", b"this is not audio at all\n" * 100, "failed", "not decodable")
    raw("page.ogg", b"<!DOCTYPE html><html>404 not found</html>", "failed", "not decodable")
    raw("zeros.flac", bytes(4096), "failed")
    raw("header_only.wav", (EXAMPLES / "real/vctk_p226.wav").read_bytes()[:44], "failed")
    raw("half_header.wav", b"RIFF\x24", "failed", "not decodable")
    raw("truncated.mp3", good[: len(good) // 3], "used")
    raw("truncated.flac", flac[: len(flac) // 2], "used")
    raw("truncated.wav", (EXAMPLES / "real/vctk_p226.wav").read_bytes()[:2_000_000], "used")
    raw("truncated.m4a", (EXAMPLES / "real/asterisk_allison_en.m4a").read_bytes()[:200_000], "failed")
    raw("mp3_called.wav", good[: len(good) // 2], "used")
    raw("playlist.mp3", b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n", "failed")
    raw("trailing.mp3", good[: len(good) // 2] + random.bytes(3_000), "used")
    half = len(flac) // 2
    # FFmpeg resynchronises behind the hole without a word: what is left is used.
    raw("hole.flac", flac[:half] + random.bytes(300_000) + flac[half + 300_000 :], "used")
    made("silent.wav", "no_chunks", np.zeros((1, 160_000), np.float32), 16_000, "pcm_s16le")
    made("noise.wav", "no_chunks", random.normal(0, 0.1, (1, 160_000)), 16_000, "pcm_s16le")
    made("dc.wav", "no_chunks", np.full((1, 160_000), 0.5), 16_000, "pcm_s16le")
    made("10ms.wav", "no_chunks", mono[:, 16_000:16_160], 16_000, "pcm_s16le")
    made("one_sample.wav", "no_chunks", mono[:, :1], 16_000, "pcm_s16le")
    made("stereo.flac", "used", np.vstack((mono, 0 * mono)), 16_000, "flac", layout="stereo")
    made("8k.wav", "used", resampled(mono[0], 8_000)[None], 8_000, "pcm_alaw")
    made("192k.flac", "used", resampled(mono[0], 192_000)[None], 192_000, "flac")
    made("float.wav", "used", mono, 16_000, "pcm_f32le")
    made("clipped.wav", "used", mono * 40, 16_000, "pcm_f32le")
    made("int_as_float.wav", "used", mono * 2.0**31, 16_000, "pcm_f32le")
    made("huge.wav", "failed", mono * 1e30, 16_000, "pcm_f32le")
    expected["huge.wav"] = ("failed", "times full scale")
    nan = mono.copy()
    nan[0, 50_000] = np.nan
    made("nan.wav", "failed", nan, 16_000, "pcm_f32le")
    expected["nan.wav"] = ("failed", "NaN")
    made("naïve 😀 имя.wav", "used", mono * 0.9, 16_000, "pcm_s16le")
    made("UPPER.WAV", "used", mono * 0.8, 16_000, "pcm_s16le", container="wav")
    video_only(root / "video_only.mp4")
    expected["video_only.mp4"] = ("failed", "no audio stream")
    (root / "broken_link.wav").symlink_to(root / "nowhere.wav")
    expected["broken_link.wav"] = ("failed", "No such file")
    os.mkfifo(root / "pipe.wav")
    expected["pipe.wav"] = ("failed", "regular file")
    (root / "folder.wav").mkdir()
    made("folder.wav/inside.wav", "used", mono * 0.7, 16_000, "pcm_s16le")
    (root / "loop").symlink_to(root, target_is_directory=True)
    raw("notes.txt", b"skipped", "skipped")
    return expected


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_every_hostile_file_is_accounted_for(tmp_path, capsys):
    corpus = tmp_path / "corpus"
    expected = make_hostile(corpus / "real")
    for name in ("kokoro_bf_alice.mp3", "kokoro_am_michael.wav", "kokoro_af_bella.flac"):
        (corpus / "fake").mkdir(exist_ok=True)
        (corpus / "fake" / name).symlink_to(EXAMPLES / "fake" / name)
    output = tmp_path / "out"
    assert main(["build", str(corpus), "--output", str(output), "--workers", "1"]) == 1
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    found = {e["name"].removeprefix("corpus/real/"): e for e in report["recordings"] if e["label"] == "real"}
    assert report["skipped_files"] == 1
    expected.pop("notes.txt")
    assert set(found) == set(expected)
    assert len(expected) >= 25
    statuses = {name: (entry["status"], entry["error"]) for name, entry in found.items()}
    assert {name: status for name, (status, _) in statuses.items()} == {name: s for name, (s, _) in expected.items()}
    for name, (_, part) in expected.items():
        assert part in (statuses[name][1] or ""), (name, statuses[name])
    failed = [name for name, (status, _) in expected.items() if status == "failed"]
    assert report["files"]["failed"] == sum(report["errors"].values()) == len(failed)
    assert all((entry["split"] is not None) == (entry["status"] == "used") for entry in found.values())
    assert (found["8k.wav"]["sampling_rate"], found["stereo.flac"]["channels"]) == (8_000, 2)
    for name in ("truncated.flac", "hole.flac", "truncated.mp3", "mp3_called.wav", "trailing.mp3"):  # halves
        assert "cut short or has holes" in found[name]["warning"], name
    intact = ("8k.wav", "stereo.flac", "float.wav", "silent.wav", "192k.flac")
    assert all(found[name]["warning"] is None for name in intact)
    assert found["noise.wav"]["losses"] == {"no_speech": pytest.approx(10)}
    shown = capsys.readouterr()
    assert f"{len(failed)} recordings could not be used" in shown.err
    assert f"  and {len(failed) - 5} more\n" in shown.err
    assert "Traceback" not in shown.err


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([b"", b"RIFF\xff\xff\xff\xffWAVEfmt ", b"fLaC", b"OggS\0", b"ID3\4", b"\xff\xfb\x90"]),
    st.binary(max_size=3000),
)
def test_random_bytes_never_raise(tmp_path, head, tail):
    path = tmp_path / "x.wav"
    path.write_bytes(head + tail)
    facts = prepare_recording(PrepareTask(path, tmp_path / "parts", Recipe()))
    assert facts.error is not None or facts.duration_s is not None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["vctk_p225.mp3", "asterisk_allison_en.m4a", "vctk_p227.flac"]), st.data())
def test_damaged_recordings_never_raise(tmp_path, name, data):
    content = bytearray((EXAMPLES / "real" / name).read_bytes()[:60_000])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content) - 1))
        content[start : start + 200] = data.draw(st.binary(max_size=400))
    path = tmp_path / name
    path.write_bytes(content)
    facts = prepare_recording(PrepareTask(path, tmp_path / "parts", Recipe()))
    assert facts.sha256 is not None
    assert facts.error is not None or facts.duration_s > 0
