"""The architecture search: it finds what is there to be found, and what it finds is what it looked at."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from datasets import DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForAudioClassification

from deepfake.architectures.baselines import SpectrogramConfig
from deepfake.architectures.baselines.backbone_darts_lstm import RECURRENT, DartsLstm
from deepfake.errors import UserError
from deepfake.groups import connected_groups
from deepfake.training.arguments import parse_recipe
from deepfake.training.search.options import SKIP, SearchOptions, search_options
from deepfake.training.search.run import with_architecture
from deepfake.training.search.search import Batch, SearchResult, search, split_in_halves
from deepfake.training.search.supernet import MixedLayer, Supernet
from train_wav2vec2 import main

BINS = 6
SMALL = SearchOptions(layers=2, width=8, hidden_sizes=(4, 6), partial=1, epochs=2, warmup_epochs=1, batch_size=16)


class Classifier(nn.Module):
    """A backbone with a head, as the model around it in training is."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.output_size, 2)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.backbone(features))


@dataclass
class Half:
    """Batches of 32 clips, drawn anew every epoch. features: (clips, 1, bins, frames)."""

    features: Tensor
    labels: Tensor

    def __call__(self, epoch: int) -> Iterable[Batch]:
        order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(32):
            yield {"features": self.features[rows], "labels": self.labels[rows]}


def local_pattern(clips: int, seed: int) -> Half:
    """Steps up in one bin against steps down: the frames of both classes are the same, only their order is not."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, clips)
    features = 0.1 * rng.standard_normal((clips, 1, BINS, 20))
    for clip, label in zip(features, labels, strict=True):
        for start in rng.choice(np.arange(0, 18, 3), 4, replace=False):
            clip[0, 0, start : start + 3] += (-2, 0, 2) if label else (2, 0, -2)
    return Half(torch.tensor(features, dtype=torch.float32), torch.tensor(labels))


def order_of_cues(clips: int, seed: int) -> Half:
    """Which of two cues comes first, several frames apart: a mean or three frames at a time cannot tell."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, clips)
    features = 0.1 * rng.standard_normal((clips, 1, BINS, 20))
    for clip, label in zip(features, labels, strict=True):
        first, second = rng.integers((3, 11), (5, 13))
        clip[0, label, first : first + 3] += 2
        clip[0, 1 - label, second : second + 3] += 2
    return Half(torch.tensor(features, dtype=torch.float32), torch.tensor(labels))


def config_of(genotype: dict) -> SpectrogramConfig:
    return SpectrogramConfig(backbone="darts_lstm", num_bins=BINS, genotype=genotype)


def weights_of(supernet: Supernet) -> dict[str, Tensor]:
    """Those weights of a decided supernet that its network has, by the network's names."""
    best = {name: int(weight.argmax()) for name, weight in supernet.weights().items()}
    options, found = supernet.options, {}
    kept = []
    for i in supernet.chosen_layers():
        name = options.operations[best[f"operation_{i}"]]
        if name in RECURRENT:
            name += f"_{options.hidden_sizes[best[f'hidden_size_{i}']]}"
        if name != SKIP:
            kept.append(supernet.layers[i].candidates[name])
    parts = {"stem": supernet.stem, "layers": nn.ModuleList(kept), "embedding": supernet.embeddings[best["dropout"]]}
    for prefix, part in parts.items():
        found |= {f"{prefix}.{name}": value for name, value in part.state_dict().items()}
    return found


def searched(task, options: SearchOptions, seed: int = 0, clips: int = 512, **more: object) -> SearchResult:
    torch.manual_seed(seed)
    supernet = Supernet(BINS, options)
    halves = (task(clips, 1), task(clips, 2))
    return search(Classifier(supernet), supernet, halves, cross_entropy, options, seed, **more)


PLANTED = SearchOptions(
    layers=1, width=16, hidden_sizes=(16,), dropouts=(0.0, 0.2), partial=1, epochs=10, warmup_epochs=3,
    learning_rate=1e-2, architecture_learning_rate=5e-2,
)  # fmt: skip


@pytest.mark.parametrize(
    ("task", "operations", "right"),
    [(local_pattern, ("conv", "identity"), "conv"), (order_of_cues, ("gru", "conv", "identity"), "gru")],
)
def test_the_operation_that_can_do_the_task_is_found_and_does_it(task, operations, right) -> None:
    options = replace(PLANTED, operations=operations)
    result = searched(task, options)
    assert [layer["operation"] for layer in result.genotype["layers"]] == [right]
    assert result.history[-1]["entropy"]["operation"] < result.history[0]["entropy"]["operation"]

    torch.manual_seed(0)
    model = Classifier(DartsLstm(config_of(result.genotype)))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    train, test = task(512, 1), task(256, 3)
    for epoch in range(20):
        for batch in train(epoch):
            optimizer.zero_grad()
            cross_entropy(model(batch["features"]), batch["labels"]).backward()
            optimizer.step()
    accuracy = (model.eval()(test.features).argmax(1) == test.labels).float().mean()
    assert accuracy > 0.9  # a constant answer has about 0.5


@settings(max_examples=30, deadline=None)
@given(choices=st.lists(st.integers(0, 59), min_size=8, max_size=8), seed=st.integers(0, 9))
def test_decided_supernet_equals_the_network_it_stands_for(choices: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    supernet = Supernet(BINS, SMALL).eval()
    for choice, parameter in zip(choices, supernet.architecture.values(), strict=True):
        parameter.data = (
            1e4 * torch.nn.functional.one_hot(torch.tensor(choice % len(parameter)), len(parameter)).float()
        )
    network = DartsLstm(config_of(supernet.genotype())).eval()
    network.load_state_dict(weights_of(supernet))
    features = torch.randn(3, 1, BINS, 9)
    mask = torch.arange(9) < torch.tensor([[9], [4], [1]])
    torch.testing.assert_close(network(features, mask), supernet(features, mask), rtol=1e-5, atol=1e-6)
    assert all(value < 1e-6 for value in supernet.entropy().values())


def test_clips_share_a_batch_without_changing_each_other() -> None:
    torch.manual_seed(0)
    supernet = Supernet(BINS, replace(SMALL, partial=4)).eval()
    clips = [torch.randn(1, BINS, frames) for frames in (12, 5, 9)]
    batch = torch.full((3, 1, BINS, 12), 1e3)
    for row, clip in zip(batch, clips, strict=True):
        row[..., : clip.shape[-1]] = clip
    mask = torch.arange(12) < torch.tensor([[12], [5], [9]])
    for order in ([0, 1, 2], [2, 0, 1]):
        together = supernet(batch[order], mask[order])
        alone = torch.cat([supernet(clips[i][None]) for i in order])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_only_one_channel_in_four_goes_through_the_candidates() -> None:
    options = replace(SMALL, partial=4)
    layer = MixedLayer(options)
    frames = torch.randn(2, 5, options.width)
    weights = torch.full((len(options.operations),), 1 / len(options.operations)), torch.full((2,), 0.5)
    out = layer(frames, None, *weights)
    passed = [
        channel for channel in range(options.width) if (out == frames[..., channel : channel + 1]).all(1).all(0).any()
    ]
    assert passed == list(range(options.width // 4, options.width))
    through = Supernet(BINS, replace(SMALL, partial=1)).layers[0]
    assert sum(p.numel() for p in layer.parameters()) < sum(p.numel() for p in through.parameters()) / 2


def test_the_same_seed_gives_the_same_architecture_also_after_an_interruption(tmp_path: Path) -> None:
    options = replace(SMALL, epochs=3, dropouts=(0.0, 0.5))
    whole = searched(local_pattern, options, clips=96)

    def stop_after_two(text: str) -> None:
        if "epoch 2" in text:
            raise KeyboardInterrupt

    state = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        searched(local_pattern, options, clips=96, state_file=state, say=stop_after_two)
    lines: list[str] = []
    resumed = searched(local_pattern, options, clips=96, state_file=state, say=lines.append)
    assert len(lines) == 2  # epoch 2, which was not kept yet, and epoch 3
    assert resumed == whole
    assert not state.exists()
    assert searched(local_pattern, options, seed=1, clips=96) != whole


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(0, 8)), min_size=4, max_size=60))
def test_halves_share_no_recording_and_no_speaker(clips: list[tuple[int, int, int]]) -> None:
    labels = [label for label, _, _ in clips]
    sources = [f"{label} {source}" for label, source, _ in clips]
    speakers = [f"{label} speaker {speaker}" if speaker else None for label, _, speaker in clips]
    groups = connected_groups(list(zip(sources, speakers, strict=True)))
    if min(len({group for group, label in zip(groups, labels, strict=True) if label == one}) for one in (0, 1)) < 2:
        with pytest.raises(UserError, match="too few"):
            split_in_halves(labels, sources, speakers, seed=0)
        return
    halves = split_in_halves(labels, sources, speakers, seed=0)
    assert sorted(halves[0] + halves[1]) == list(range(len(clips)))
    for column in (sources, speakers):
        first, second = ({column[row] for row in half} - {None} for half in halves)
        assert not first & second
    for half in halves:
        assert {labels[row] for row in half} == {0, 1}


def test_halves_of_many_recordings_are_of_about_the_same_size() -> None:
    labels = [0] * 300 + [1] * 500
    halves = split_in_halves(labels, [str(row // 3) for row in range(800)], [None] * 800, seed=0)
    for half in halves:
        assert abs(sum(labels[row] == 0 for row in half) - 150) <= 5
        assert abs(sum(labels[row] == 1 for row in half) - 250) <= 5


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        ({"epoch": 3}, "unknown key search.epoch"),
        ({"operations": ["lstm", "mamba"]}, "search.operations has mamba"),
        ({"hidden_sizes": []}, "search.hidden_sizes is empty"),
        ({"learning_rate": "fast"}, "search.learning_rate is 'fast'"),
        ({"partial": 3}, "search.partial is 3"),
        ({"epochs": 2, "warmup_epochs": 2}, "2 of 2 epochs as warm-up"),
        ({"layers": 1.5}, "search.layers is 1.5"),
    ],
)
def test_options_that_make_no_sense_are_told_in_a_sentence(mapping: dict, told: str) -> None:
    with pytest.raises(UserError, match=told):
        search_options(mapping)


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    assert search_options({"learning_rate": "2e-3", "dropouts": [0, "1e-1"]}).dropouts == (0.0, 0.1)


@pytest.mark.slow
def test_a_recipe_is_searched_drawn_trained_and_found_again(
    dataset_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(folder: Path) -> str:
        words = [
            "--config", ROOT / "configs/darts_lstm.yaml", "--dataset", dataset_dir, "--output_dir", folder,
            "--num_train_epochs", 1, "--set", "search.epochs=2", "--set", "search.warmup_epochs=1",
            "--set", "search.layers=2", "--set", "search.hidden_sizes=[4, 8]",
        ]  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["train_wav2vec2.py", *map(str, words)])
        assert main() == 0
        return capsys.readouterr().err

    folder = tmp_path / "detector"
    assert "search epoch 2 of 2" in train(folder)
    found = json.loads((folder / "architecture.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    results = json.loads((folder / "results.json").read_text())
    assert config["genotype"] == found["genotype"] == results["search"]["genotype"]
    assert results["search"]["halves"]["weights"]["clips"] > 0
    assert (folder / "architecture.png").stat().st_size > 10_000
    assert not list(folder.glob("search-*"))
    model = AutoModelForAudioClassification.from_pretrained(folder)
    assert len(model.backbone.layers) == len(found["genotype"]["layers"])

    # The same recipe, its training not finished: the architecture is there already.
    (folder / "results.json").unlink()
    assert "search epoch" not in train(folder)
    # The same seed elsewhere: the same architecture, weight for weight.
    assert "search epoch 2 of 2" in train(tmp_path / "other")
    other = json.loads((tmp_path / "other" / "architecture.json").read_text())
    assert {**other, "seconds": 0} == {**found, "seconds": 0}


def test_a_search_for_another_network_is_refused(tmp_path: Path) -> None:
    words = [
        "--config",
        "configs/lstm.yaml",
        "--dataset",
        "d",
        "--output_dir",
        str(tmp_path),
        "--set",
        "search.epochs=3",
    ]
    with pytest.raises(UserError, match="is for the backbone darts_lstm; found lstm"):
        with_architecture(parse_recipe(words), DatasetDict())
