"""The spectrogram detectors: sizes as published, clips that do not change each other, loading anywhere."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, run
from torch import nn
from torch.nn import functional
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, set_seed

from deepfake.architectures.baselines import (
    SpectrogramConfig,
    SpectrogramFeatureExtractor,
    SpectrogramForAudioClassification,
)
from deepfake.architectures.baselines.backbone_gnn import nearest
from deepfake.architectures.baselines.modeling_spectrogram import BACKBONES
from deepfake.errors import UserError
from deepfake.models.freeze import FreezePlan, count_parameters, freeze, on_meta
from deepfake.scoring.detector import Detector
from deepfake.training.arguments import parse_recipe
from deepfake.training.data import load_splits
from deepfake.training.model import load_feature_extractor, planned_config
from deepfake.training.plan import describe_plan
from deepfake.training.prefix import require_cacheable
from deepfake.training.recipe import read_recipe

# One recipe for each backbone, and the same backbones small.
RECIPES = {
    read_recipe(path)["architecture"]["backbone"]: path
    for path in sorted((ROOT / "configs").glob("*.yaml"))
    if read_recipe(path).get("architecture", {}).get("model_type") == "spectrogram"
}
SMALL = {
    "resnet18": {"widths": [8, 8, 16, 16]},
    "res2net50": {"widths": [16, 16, 16, 16], "depths": [1, 2, 1, 1]},
    "senet154": {"widths": [32, 32, 32, 32], "depths": [1, 2, 1, 1]},
}
# What a stranger runs: no project on the path.
REMOTE = """
import json, sys, numpy as np, torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline
assert not any(name.split(".")[0] in ("baselines", "scoring") for name in sys.modules)
wave, *folders = sys.argv[1:]
audio, told = np.load(wave), {}
for folder in folders:
    model = AutoModelForAudioClassification.from_pretrained(folder, trust_remote_code=True).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
    inputs = extractor(audio, sampling_rate=16000, return_tensors="pt", padding=True)
    with torch.no_grad():
        logits = model(**inputs).logits
    classify = pipeline("audio-classification", model=folder, trust_remote_code=True)
    scores = {one["label"]: one["score"] for one in classify({"raw": audio, "sampling_rate": 16000})}
    told[folder] = [*logits[0].tolist(), scores["fake"]]
print(json.dumps(told))
"""


def recipe_of(backbone: str, *options: str) -> object:
    return parse_recipe(["--config", str(RECIPES[backbone]), "--plan", *options])


def awake(model: nn.Module) -> nn.Module:
    """With the running statistics of some training, which an untrained model lacks, and a head that reacts."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
    with torch.no_grad():
        model.classifier.weight.mul_(20.0)
    return model.eval()


@pytest.fixture(scope="module", params=sorted(BACKBONES))
def system(request: pytest.FixtureRequest) -> tuple[nn.Module, SpectrogramFeatureExtractor]:
    """Each recipe's model, small, and its feature extractor."""
    set_seed(0)
    options = [f"--set=architecture.{key}={value}" for key, value in SMALL.get(request.param, {}).items()]
    recipe = recipe_of(request.param, *options)
    config = planned_config(recipe)
    model = awake(AutoModelForAudioClassification.from_config(config))
    return model, load_feature_extractor(recipe, config)


@pytest.fixture(scope="module")
def clips(speech: np.ndarray) -> list[np.ndarray]:
    return [speech[s : s + n] for s, n in ((0, 30_001), (40_000, 150_000), (200_000, 9_000), (60_000, 64_000))]


def logits_of(system: tuple, clips: list[np.ndarray]) -> torch.Tensor:
    model, extractor = system
    with torch.no_grad():
        return model(**extractor(clips, sampling_rate=16_000, return_tensors="pt")).logits


@pytest.mark.parametrize(
    ("backbone", "channels", "parameters"),
    [
        ("cnn_a", 1, 421_954), ("cnn_b", 1, 23_650), ("cnn_mfcc", 1, 175_426), ("gnn", 1, 2_754), ("lstm", 1, 20_802),
        ("resnet18", 1, 11_171_266), ("resnet18", 3, 11_177_538),
        ("res2net50", 1, 23_647_946), ("res2net50", 3, 23_654_218),
        ("senet154", 1, 113_042_930), ("senet154", 3, 113_044_082),
    ],
)  # fmt: skip
def test_sizes_are_the_published_ones(backbone: str, channels: int, parameters: int) -> None:
    config = planned_config(recipe_of(backbone, "--set", f"architecture.in_channels={channels}"))
    model = on_meta(SpectrogramForAudioClassification, config)
    assert count_parameters(model) == (parameters, parameters)


@pytest.mark.parametrize(("backbone", "parameters"), [("cnn_a", 421_825), ("cnn_b", 23_585)])
def test_sizes_with_one_logit_are_those_of_the_originals(backbone: str, parameters: int) -> None:
    values = recipe_of(backbone).architecture | {"num_labels": 1}
    values.pop("model_type")
    model = on_meta(SpectrogramForAudioClassification, SpectrogramConfig(**values, id2label={0: "fake"}, label2id={}))
    assert count_parameters(model)[1] == parameters


def test_company_order_and_padding_change_nothing(system: tuple, clips: list) -> None:
    alone = torch.cat([logits_of(system, [clip]) for clip in clips])
    assert torch.allclose(logits_of(system, clips), alone, atol=1e-4)
    assert torch.allclose(logits_of(system, clips[::-1]).flip(0), alone, atol=1e-4)
    assert len({round(float(value), 3) for value in alone[:, 1] - alone[:, 0]}) == len(clips)


def test_what_lies_in_the_padding_changes_nothing(system: tuple, clips: list) -> None:
    model, extractor = system
    inputs = extractor(clips, sampling_rate=16_000, return_tensors="pt")
    masked = inputs["attention_mask"] == 0
    if not model.backbone.uses_mask:  # only whole windows are outside then
        most = masked.shape[1] // extractor.window_frames
        masked = masked.unflatten(1, (most, -1)).all(2, keepdim=True).expand(-1, -1, extractor.window_frames).flatten(1)
    spoilt = inputs["input_features"].masked_fill(masked[:, None, None], 1e3)
    with torch.no_grad():
        found = model(spoilt, attention_mask=inputs["attention_mask"]).logits
        assert masked.any()
        assert torch.allclose(found, model(**inputs).logits, atol=1e-4)


def test_a_clip_is_the_mean_of_its_windows(system: tuple, speech: np.ndarray) -> None:
    window, hop = (round(s * 16_000) for s in (system[1].window_s, system[1].window_s / 2))
    clip = speech[: window + 2 * hop]
    windows = [clip[start : start + window] for start in (0, hop, 2 * hop)]
    assert torch.allclose(logits_of(system, [clip])[0], logits_of(system, windows).mean(0), atol=1e-4)


def test_saved_and_loaded_it_says_the_same(system: tuple, clips: list, tmp_path: Path) -> None:
    for part in system:
        part.save_pretrained(tmp_path)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path), AutoFeatureExtractor.from_pretrained(tmp_path)
    assert isinstance(again[0], SpectrogramForAudioClassification)
    before = system[0].state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in again[0].state_dict().items())
    # Exactly so but for where the weights lie in memory, which grouped convolutions notice in the last bit.
    assert torch.allclose(logits_of(again, clips), logits_of(system, clips), rtol=0, atol=1e-6)


def test_logits_pass_no_sigmoid(system: tuple, clips: list) -> None:
    """The head is linear in what the backbone says, its loss the cross-entropy of these very logits."""
    model, extractor = system
    inputs = extractor(clips, sampling_rate=16_000, return_tensors="pt")
    labels = torch.tensor([0, 1, 1, 0])
    with torch.no_grad():
        before = model(**inputs, labels=labels)
        model.classifier.weight.mul_(100.0)
        model.classifier.bias.mul_(100.0)
        after = model(**inputs).logits
        model.classifier.weight.div_(100.0)
        model.classifier.bias.div_(100.0)
    assert torch.allclose(after, 100 * before.logits, rtol=1e-3, atol=1e-2)
    assert torch.allclose(before.loss, functional.cross_entropy(before.logits, labels))


def test_every_part_learns(system: tuple, clips: list) -> None:
    model = SpectrogramForAudioClassification(system[0].config).train()
    inputs = system[1](clips, sampling_rate=16_000, return_tensors="pt")
    model(**inputs, labels=torch.tensor([0, 1, 1, 0])).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.slow
def test_a_stranger_loads_them_and_hears_the_same(tmp_path: Path, clips: list) -> None:
    np.save(tmp_path / "clip.npy", clips[1])
    systems = {}
    for backbone in ("gnn", "resnet18", "senet154"):
        options = [f"--set=architecture.{key}={value}" for key, value in SMALL.get(backbone, {}).items()]
        recipe = recipe_of(backbone, *options)
        config = planned_config(recipe)
        model = awake(AutoModelForAudioClassification.from_config(config))
        systems[str(tmp_path / backbone)] = model, load_feature_extractor(recipe, config)
        for part in systems[str(tmp_path / backbone)]:
            part.save_pretrained(tmp_path / backbone)
    modules = str(tmp_path / "modules")
    command = (sys.executable, "-I", "-c", REMOTE, tmp_path / "clip.npy", *systems)
    told = json.loads(run(*command, cwd=tmp_path, PYTHONPATH="", HF_MODULES_CACHE=modules).stdout.splitlines()[-1])
    for folder, system in systems.items():
        expected = logits_of(system, [clips[1]])[0]
        assert told[folder][:2] == pytest.approx(expected.tolist(), abs=1e-4)
        assert told[folder][2] == pytest.approx(float(expected.softmax(0)[1]), abs=1e-4)


def test_a_graph_joins_frames_of_one_clip_to_the_most_similar() -> None:
    nodes = torch.tensor([[[0.0], [10.0], [0.1], [10.1], [0.2], [0.0]], [[5.0], [0.0], [4.0], [5.1], [9.0], [9.0]]])
    mask = torch.tensor([[True] * 6, [True, True, True, False, False, False]])
    indices, weights = nearest(nodes, mask, 2)
    assert {*indices[0, 0].tolist()} == {0, 5, 2}
    assert indices[0, 1].tolist()[:2] == [1, 3]
    assert {*indices[1, 0].tolist()} == {0, 2, 1}  # not 3, which is nearer but outside
    assert torch.allclose(weights.sum(2), torch.ones(2, 6))
    few, weights = nearest(nodes[:, :2], None, 5)
    assert few.shape == (2, 2, 2)
    assert torch.allclose(weights, torch.tensor(0.5))


def test_the_order_of_frames_matters_to_the_recurrent_network_alone(speech: np.ndarray) -> None:
    """A recurrent network that took the batch for time would not notice it; a graph has no order."""
    features = torch.tensor(SpectrogramFeatureExtractor()(speech[:64_000], sampling_rate=16_000)["input_features"])
    for backbone, matters in (("lstm", True), ("gnn", False)):
        set_seed(0)
        model = awake(SpectrogramForAudioClassification(SpectrogramConfig(backbone=backbone)))
        with torch.no_grad():
            change = (model(features).logits - model(features.flip(3)).logits).abs().max()
        assert (change > 1e-3) == matters


def test_freezing_leaves_the_head_or_tells_what_cannot_be(system: tuple, clips: list) -> None:
    model = SpectrogramForAudioClassification(system[0].config)
    freeze(model, FreezePlan(feature_encoder=True))
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"classifier.weight", "classifier.bias"}
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()(**system[1](clips, sampling_rate=16_000, return_tensors="pt"))
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    with pytest.raises(UserError, match=r"has no stack of transformer layers; set freeze.encoder_layers: 0"):
        freeze(model, FreezePlan(encoder_layers=1))
    with pytest.raises(UserError, match=r"has no input stack that is known; set freeze.input_stack: false"):
        freeze(model, FreezePlan(input_stack=True))


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_plan_tells_size_and_cost(backbone: str) -> None:
    recipe = recipe_of(backbone)
    text = describe_plan(planned_config(recipe), recipe)
    assert "classifier" in text
    cost = re.search(r"([\d.]+) [MGT]FLOP forward, ([\d.]+) [MGT]FLOP backward", text)
    assert min(map(float, cost.groups())) > 0.09  # in a unit that shows more than zeros


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["architecture.widht=[4]"], "has widht, which SpectrogramConfig does not know; did you mean widths"),
        (["architecture.backbone=vgg"], "backbone is vgg; expected one of cnn_a"),
        (["architecture.window_frames=null"], "cnn_b hears windows of one length; set window_frames"),
        (["feature_extractor.window_s=2.0"], "makes window_frames 126, but architecture.window_frames is 251"),
        (["feature_extractor.num_bins=80"], "makes num_bins 80, but architecture.num_bins is 64"),
        (["feature_extractor.feature_extractor_type=Spectrogram"], "feature_extractor_type is Spectrogram; expected"),
        (["feature_extractor.kind=mel"], "kind is mel; expected one of log_mel"),
    ],
)
def test_mistakes_in_a_recipe_are_one_sentence(options: list[str], sentence: str) -> None:
    recipe = recipe_of("cnn_b", *(word for option in options for word in ("--set", option)))
    with pytest.raises(UserError, match=sentence):
        describe_plan(planned_config(recipe), recipe)


def test_a_prefix_cache_is_refused(dataset_dir: Path) -> None:
    recipe = recipe_of("cnn_b", "--cache_prefix", "true")
    model = SpectrogramForAudioClassification(planned_config(recipe))
    with pytest.raises(UserError, match="cache_prefix cannot go with model_type spectrogram"):
        require_cacheable(model, recipe, load_splits(str(dataset_dir)))


def test_features_of_another_shape_are_told() -> None:
    model = SpectrogramForAudioClassification(SpectrogramConfig())
    for shape in ((1, 1, 64, 250), (1, 1, 80, 251), (1, 3, 64, 251)):
        with pytest.raises(ValueError, match="expected .clips, 1, 64, whole windows of 251 frames"):
            model(torch.zeros(shape))


def test_our_scorer_gives_the_same_logits(system: tuple, clips: list, tmp_path: Path) -> None:
    for part in system:
        part.save_pretrained(tmp_path)
    logits = logits_of(system, clips)
    scores = Detector.from_pretrained(tmp_path).fake_logits(clips)
    assert np.allclose(scores, (logits[:, 1] - logits[:, 0]).numpy(), atol=1e-4)
