"""The 20 ms timeline: it adds up to the score, and points at the part of a recording it comes from."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from conftest import RECORDINGS, run, save_tiny
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    HubertConfig,
    HubertForSequenceClassification,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMForSequenceClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
    set_seed,
)

from deepfake.audio.windows import SpeechTrack, Window
from deepfake.models.forward import TorchForward, fuse_head
from deepfake.models.windows import WindowScore
from deepfake.scoring.engine import Plan, score_readings
from deepfake.scoring.reading import Reading
from deepfake.scoring.timeline import BIN_S, Timeline, segments
from infer import Detector

RATE = 16_000
WIDTHS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
CONVOLUTIONS = {
    "conv_dim": [16] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 8,
    "feat_extract_norm": "layer", "do_stable_layer_norm": True,
}  # fmt: skip
NAMES = {"id2label": {0: "real", 1: "fake"}, "label2id": {"real": 0, "fake": 1}}


def model_of(kind: str) -> tuple[PreTrainedModel, object]:
    """A small untrained model of one architecture, with its feature extractor."""
    set_seed(1)
    if kind in ("hubert", "wavlm"):
        config, model = {
            "hubert": (HubertConfig, HubertForSequenceClassification),
            "wavlm": (WavLMConfig, WavLMForSequenceClassification),
        }[kind]
        built = model(config(**WIDTHS, **CONVOLUTIONS, **NAMES))
        extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    elif kind == "whisper":
        sizes = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48}
        built = WhisperForAudioClassification(
            WhisperConfig(**sizes, decoder_layers=1, max_source_positions=750, classifier_proj_size=8, **NAMES)
        )
        extractor = WhisperFeatureExtractor(chunk_length=15)
    else:
        built = ASTForAudioClassification(ASTConfig(**WIDTHS, max_length=1024, **NAMES))
        extractor = ASTFeatureExtractor()
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if "classifier" in name and parameter.ndim == 2:
                parameter.mul_(30.0)
    return built.eval(), extractor


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {"wav2vec2": save_tiny(tmp_path_factory.mktemp("m") / "wav2vec2")}
    for kind in ("hubert", "wavlm", "whisper", "ast"):
        folders[kind] = tmp_path_factory.mktemp("m") / kind
        model, extractor = model_of(kind)
        model.config.detector = {"window_s": 10.0, "hop_s": 5.0}
        model.save_pretrained(folders[kind])
        extractor.save_pretrained(folders[kind])
    return folders


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm", "whisper"])
def test_frames_average_to_the_models_own_logit(kind: str, saved: dict[str, Path], speech: np.ndarray) -> None:
    detector = Detector.from_pretrained(saved[kind])
    model = detector.checkpoint.model.double()
    forward = TorchForward(model, detector.checkpoint.extractor, 1, fuse_head(model, 1))
    clips = [speech[: 3 * RATE], speech[RATE : 8 * RATE]]
    for clip in clips:
        batch = forward.extractor(
            [clip],
            sampling_rate=RATE,
            return_tensors="pt",
            padding="max_length" if kind == "whisper" else True,
        )
        with torch.no_grad():
            values = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
            logits = model(**values).logits[0]
        (score,) = forward([clip])
        assert score.frames.mean() == pytest.approx(float(logits[1] - logits[0]), abs=1e-6)
    padded = forward(clips)
    assert len(padded[0].frames) < len(padded[1].frames) or kind == "whisper"


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm", "whisper", "ast"])
def test_contributions_add_up_to_the_score(kind: str, saved: dict[str, Path], speech: np.ndarray) -> None:
    detector = Detector.from_pretrained(saved[kind], workers=0)
    for recording in (
        speech[: round(3.217 * RATE)],
        np.concatenate((speech, np.zeros(30 * RATE, "f4"), speech[:70000])),
    ):
        result = detector.analyse(recording, RATE)
        timeline = result.timeline
        assert timeline.contributions.sum() + timeline.padding == pytest.approx(result.logit, abs=1e-6)
        assert detector.score(recording, RATE).fake_probability == detector.row(result, "x").fake_probability
        assert len(timeline.contributions) <= -(-len(recording) // 320)
        assert (timeline.padding != 0) == (kind == "whisper")
    silent = round(30 / BIN_S), round(36 / BIN_S)  # well inside the pause, out of reach of every window with speech
    assert np.isnan(timeline.logits[slice(*silent)]).all() == (detector.checkpoint.window_s < 13)


def test_a_pooled_head_of_another_kind_is_noticed(saved: dict[str, Path], speech: np.ndarray) -> None:
    detector = Detector.from_pretrained(saved["wav2vec2"])
    model = detector.checkpoint.model

    class MaxPooled(type(model)):
        def forward(self, input_values: torch.Tensor, **_: object) -> object:
            hidden = self.projector(self.wav2vec2(input_values)[0])
            return type("Output", (), {"logits": self.classifier(hidden.max(dim=1).values)})()

    model.__class__ = MaxPooled
    forward = TorchForward(model, detector.checkpoint.extractor, 1, fuse_head(model, 1))
    (score,) = forward([speech[: 3 * RATE]])
    assert score.frames is None
    assert forward.head is None


def test_evidence_lies_where_the_fake_part_is() -> None:
    """Planted frames: +4 in 5..8 s, -4 elsewhere, seen through overlapping windows."""
    timeline = Timeline(frame_stride=320)
    truth = np.where((np.arange(1000) >= 250) & (np.arange(1000) < 400), 4.0, -4.0)
    for start in (0, 200, 350):
        frames = truth[start : start + 650]
        samples = np.zeros(650 * 320, dtype=np.float32)
        timeline.add(Window(start * 320, samples), WindowScore(float(frames.mean()), frames))
    np.testing.assert_allclose(timeline.logits, truth)
    found = segments(timeline.smooth_logits(), 0.5)
    assert [s.label for s in found] == ["real", "fake", "real"]
    assert found[1].start_s == pytest.approx(5.0, abs=0.1)
    assert found[1].stop_s == pytest.approx(8.0, abs=0.1)
    assert (found[0].start_s, found[-1].stop_s) == (0.0, 20.0)


def test_pauses_are_neither_real_nor_fake() -> None:
    logits = np.concatenate([np.full(100, 3.0), np.full(50, np.nan), np.full(5, -3.0), np.full(100, 3.0)])
    found = segments(logits, 0.5)
    assert [(round(s.start_s, 2), round(s.stop_s, 2), s.label) for s in found] == [(0, 2, "fake"), (3, 5.1, "fake")]


@pytest.mark.parametrize("size", [333, 5000, 160_000])
def test_speech_is_found_whatever_the_blocks(size: int, speech: np.ndarray) -> None:
    recording = np.concatenate((np.zeros(3 * RATE, "f4"), speech[: 9 * RATE], np.zeros(4 * RATE + 77, "f4")))
    track = SpeechTrack()
    for start in range(0, len(recording), size):
        track.push(recording[start : start + size])
    assert len(track.flags) == len(recording) // 512
    ended = track.finished()
    track.finish()
    assert track.flags == ended.flags
    assert len(track.flags) == -(-len(recording) // 512)
    assert track.speech_s(0, round(2.9 * RATE)) == 0
    assert track.speech_s(round(12.5 * RATE), len(recording)) == 0
    assert track.speech_s(3 * RATE, 12 * RATE) > 5


def test_short_windows_localise_and_leave_the_score_alone(speech: np.ndarray) -> None:
    """A model without evidence for each frame, here one that knows loudness alone."""
    samples = np.concatenate((speech[: 12 * RATE], 4 * speech[:RATE], speech[: 12 * RATE]))

    def forward(waveforms: Sequence[np.ndarray]) -> list[WindowScore]:
        return [WindowScore(float(np.log(np.square(w).mean() + 1e-9)), None) for w in waveforms]

    plan = Plan(window=13 * RATE, hop=6 * RATE, batch_size=3)
    results = []
    for short in (0.0, 1.0):
        finer = replace(plan, timeline_window=round(short * RATE), timeline_hop=RATE // 4)
        (result,) = score_readings([Reading(samples, RATE, peaks=[])], forward, finer, with_timeline=True)
        results.append(result)
    coarse, fine = results
    assert fine.logit == coarse.logit
    assert fine.windows == coarse.windows
    assert fine.timeline.contributions.sum() == pytest.approx(fine.logit, abs=1e-9)
    assert np.array_equal(fine.timeline.contributions, coarse.timeline.contributions)
    assert not np.isnan(fine.timeline.logits).any()
    assert abs(np.argmax(fine.timeline.logits) * 0.02 - 12.5) < 1
    assert np.ptp(fine.timeline.logits) > 2 * np.ptp(coarse.timeline.logits)


class _Addresses(HTMLParser):
    """What a page points at."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [unquote(value) for name, value in attrs if name in ("src", "href")]


def test_the_page_leads_to_every_recording_and_grows_when_resumed(tiny_checkpoint: Path, tmp_path: Path) -> None:
    names = ['a b & "c" #1 %.mp3', "ü/<b>.mp3"]
    for name in names:
        (tmp_path / "calls" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RECORDINGS / "fake" / "kokoro_bf_alice.mp3", tmp_path / "calls" / name)
    (tmp_path / "calls" / "junk.mp3").write_bytes(b"junk")
    folder, output = tmp_path / "timeline", tmp_path / "scores.csv"
    command = [sys.executable, "infer.py", tmp_path / "calls", "--model", tiny_checkpoint, "--threshold", "0.01"]
    command += ["--timeline", folder, "--output", output]
    run(*command, "--include", "a b*")
    for _ in range(2):
        run(*command, "--resume", check=1)
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert len(re.findall('<section class="(?:fake|real)"', text)) == 2  # the first is not there twice
    assert re.findall('<section class="unscored".*', text) == [  # tried again, and there once
        '<section class="unscored" data-name="calls/junk.mp3" data-answer="not scored"><h2>calls/junk.mp3</h2>'
        "<p><b>not scored</b>: not decodable as audio (Invalid data found when processing input)</p></section>"
    ]
    page = _Addresses()
    page.feed(text)
    assert len(page.found) == 2 * 3
    assert all((folder / address).is_file() for address in page.found)
    assert {(folder / address).resolve() for address in page.found} >= {tmp_path / "calls" / name for name in names}
    assert "<b>.mp3" not in text
    assert re.search(r'hear\(this, \d+\.\d\d\)">\d+\.\d–\d+\.\d s', text)
    first = json.loads(next(folder.rglob("a b*.json")).read_text(encoding="utf-8"))["segments"]
    assert text.partition("<section")[2].split("</section>")[0].count("<button ") == min(
        12, sum(s["label"] == "fake" for s in first)
    )
