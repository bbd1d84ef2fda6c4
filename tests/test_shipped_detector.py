"""The detector in checkpoints/compact: whole, small, documented, the default, and unchanged since it was made."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RECORDINGS, ROOT, run
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from deepfake.audio.decode import load_audio
from deepfake.errors import UserError
from deepfake.models import checkpoint
from deepfake.models.contract import Probe, check_contract, probe_speech
from infer import Detector

FOLDER = ROOT / "checkpoints" / "compact"
TWO = ("real/vctk_p226.wav", "fake/kokoro_am_michael.wav")


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The embedded recordings scored by infer.py without --model, by file name."""
    output = tmp_path_factory.mktemp("scores") / "scores.csv"
    run(sys.executable, "infer.py", RECORDINGS, "--output", output)
    with output.open(newline="") as file:
        return {Path(row["path"]).name: row for row in csv.DictReader(file)}


def test_it_fits_into_a_clone() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 45e6
    weights = load_file(FOLDER / "model.safetensors")
    assert weights["conv2.weight"].dtype == torch.float16


def test_weights_and_scores_are_those_the_card_was_written_for() -> None:
    """The digest is stored beside the scores of two recordings, so that neither drifts unnoticed."""
    known = json.loads((FOLDER / "fingerprint.json").read_text())
    assert hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest() == known["sha256"]
    detector = Detector.from_pretrained()
    for name in TWO:
        assert detector.fake_logits([load_audio(RECORDINGS / name)[:64_000]])[0] == pytest.approx(
            known["fake_logits_of_4_s"][name], abs=0.02
        )


def shipped() -> Probe:
    return Probe(checkpoint.load_checkpoint(str(FOLDER), "cpu"), probe_speech())


def test_its_scores_can_be_trusted() -> None:
    checks = check_contract(shipped())
    assert [check for check in checks if not check.passed] == []


def test_a_model_that_only_claims_to_level_its_input_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = shipped()
    module = sys.modules[type(probe.checkpoint.model).__module__]
    monkeypatch.setattr(module, "levelled", lambda samples, config: (30 * samples.float()).clamp(-1, 1))
    assert "normalisation" in {check.name for check in check_contract(probe) if not check.passed}


def test_without_a_model_the_embedded_recordings_are_scored_by_it(scores: dict) -> None:
    assert len(scores) == 14
    assert all(row["error"] == "" and 0 <= float(row["fake_probability"]) <= 1 for row in scores.values())
    stored = json.loads((FOLDER / "config.json").read_text())["detector"]["threshold"]
    assert all(float(row["threshold"]) == pytest.approx(stored, abs=1e-6) for row in scores.values())


def test_a_missing_default_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkpoint, "DEFAULT_MODEL", tmp_path)
    with pytest.raises(UserError, match="no model was named, and this installation lacks checkpoints/compact"):
        Detector.from_pretrained()


def test_the_architecture_beside_the_weights_is_the_one_tested_here() -> None:
    for path in sorted((ROOT / "deepfake/architectures/compact").glob("*_compact.py")):
        assert (FOLDER / path.name).read_text() == path.read_text()


def test_nothing_of_the_embedded_recordings_voices_was_fitted_on() -> None:
    left_out = json.loads((FOLDER / "results.json").read_text())["recipe"]["stacked"]["leave_out"]

    def used(**clip: str) -> bool:
        return not any(all(re.fullmatch(rule, clip.get(c, "")) for c, rule in entry.items()) for entry in left_out)

    for name in (path.stem for path in (RECORDINGS / "real").glob("vctk_*")):
        assert not used(speaker=name.removeprefix("vctk_"))
    assert not used(generator="Kokoro")
    assert not used(generator="Piper (VITS)", group_id="some/page:en_US-joe-medium")
    assert used(speaker="p229", generator="human")
    with (ROOT / "corpora" / "pages.csv").open(newline="", encoding="utf-8") as file:
        rest = [row for row in csv.DictReader(file) if used(**row)]
    told = " ".join(row["speaker"] + row["generator"] + row["path"] for row in rest).lower()
    assert "asterisk" not in told
    assert "hibari" not in told


def test_the_card_names_licences_sources_results_and_weaknesses() -> None:
    card = ModelCard((FOLDER / "README.md").read_text(encoding="utf-8"))
    for said in (
        "corpora/pages.csv", "licence", "Whisper", "MIT", "pages", "telephone", "codec", "conversion", "Kokoro",
        "What was tried", "Known weaknesses", "trust_remote_code=True",
    ):  # fmt: skip
        assert said in card.content, said
    assert card.data.library_name == "transformers"
    assert card.data.base_model == "openai/whisper-base"
    assert not re.search(r"/(?:home|tmp|work|root)/", card.content)


def test_it_finds_most_fakes_of_the_embedded_recordings_and_accuses_no_reader(scores: dict) -> None:
    fakes = [row["prediction"] for row in scores.values() if "/fake/" in row["path"]]
    reals = [row for row in scores.values() if "/real/" in row["path"]]
    assert fakes.count("fake") > len(fakes) / 2
    assert {row["prediction"] for row in reals} == {"real"}
    assert max(float(row["fake_probability"]) for row in reals) < 0.25


def test_the_card_is_the_one_its_results_give(tmp_path: Path) -> None:
    for name in ("results.json", "config.json"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    (tmp_path / "compact").mkdir()
    for name in ("results.json", "config.json"):
        (tmp_path / name).rename(tmp_path / "compact" / name)
    run(sys.executable, "-m", "model_card", tmp_path / "compact")
    assert (tmp_path / "compact/README.md").read_text() == (FOLDER / "README.md").read_text()


def test_long_recordings_keep_scores_finite_in_every_precision() -> None:
    long = np.tile(load_audio(RECORDINGS / TWO[0]), 2)
    for precision in ("fp32", "bf16"):
        score = Detector.from_pretrained(precision=precision).score(long, 16_000)
        assert score.windows > 1
        assert np.isfinite(score.fake_probability)
