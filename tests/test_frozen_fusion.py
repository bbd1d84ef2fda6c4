"""Benchmarks on frozen features of other encoders and of several together, with small stand-ins for the encoders."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic
from test_frozen_head import corpus as corpus  # a fixture
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperConfig, WhisperModel, set_seed

from benchmarks import frozen_fusion
from benchmarks.frozen_encoders import Ecapa, Ge2e, other_encoder, parameters_of
from benchmarks.frozen_features import CLEAN, TELEPHONE, Corpus, statistics
from benchmarks.frozen_fusion import View, chosen_weights, equal_weights, fused, parsed_others, views_by_layers
from benchmarks.frozen_head import Products, folds_of
from deepfake.architectures.compact import CompactConfig, CompactForAudioClassification
from deepfake.architectures.compact.features_compact import levelled
from deepfake.audio.decode import SAMPLING_RATE
from deepfake.errors import UserError

WIDTH, INNER, LAYERS = 128, 96, 5  # of the stand-in for a Whisper encoder


class WhisperStandIn(nn.Module):
    """The layers of a compact detector as an encoder, so that its parameters are exported under Whisper's names."""

    def __init__(self, model: CompactForAudioClassification) -> None:
        super().__init__()
        model = copy.deepcopy(model)
        for module in model.modules():  # as published: without conversions to float32, which take the names away
            for plain in (nn.Linear, nn.LayerNorm):
                if isinstance(module, plain):
                    module.__class__ = plain
        self.conv1, self.conv2, self.layers = model.conv1, model.conv2, model.layers

    def forward(self, mel: Tensor) -> Tensor:
        frames = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        for layer in self.layers:
            frames = layer(frames)
        return frames


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompactForAudioClassification, Path]:
    """A stand-in for a Whisper encoder, and the ONNX file of it."""
    set_seed(0)
    config = CompactConfig(channels=WIDTH, attention_heads=WIDTH // 64, inner_width=INNER, layers=LAYERS, edge=0)
    model = CompactForAudioClassification(config).eval()
    with torch.no_grad():
        for values in model.parameters():  # those that are alike would be stored once, under one name
            values += 0.02 * torch.randn_like(values)
    path = tmp_path_factory.mktemp("whisper") / "encoder.onnx"
    torch.onnx.export(
        WhisperStandIn(model), (torch.zeros(1, 80, 40),), str(path), dynamo=False, input_names=["input_features"],
        output_names=["last_hidden_state"], dynamic_axes={"input_features": {2: "frames"}},
    )  # fmt: skip
    return model, path


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=SAMPLING_RATE) * np.hanning(SAMPLING_RATE)).astype(np.float32)


def stages(model: object, samples: np.ndarray) -> list[Tensor]:
    with torch.inference_mode():
        return list(model.stages(torch.from_numpy(samples)))


def test_of_an_exported_whisper_the_lowest_third_is_taken_as_it_is(
    whisper: tuple[CompactForAudioClassification, Path], samples: np.ndarray
) -> None:
    model, path = whisper
    found, expected = stages(other_encoder(str(path)), samples), stages(model, samples)
    assert len(found) == 1 + 2 < len(expected)
    for one, other in zip(found, expected, strict=False):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_quantised_whisper_is_what_its_integers_stand_for(
    whisper: tuple[CompactForAudioClassification, Path], samples: np.ndarray
) -> None:
    model, path = whisper
    small = path.with_name("quantised.onnx")
    quantize_dynamic(path, small)
    assert any(node.op_type == "MatMulInteger" for node in onnx.load(str(small)).graph.node)
    for one, other in zip(stages(other_encoder(str(small)), samples), stages(model, samples), strict=False):
        assert functional.cosine_similarity(one, other, dim=1).min() > 0.999
        assert not torch.equal(one, other)


def test_parameters_are_those_of_the_layers_taken(whisper: tuple[CompactForAudioClassification, Path]) -> None:
    model = other_encoder(str(whisper[1]))
    plain = CompactForAudioClassification(model.config)  # before its layers took their fastest form
    own = [one for name, one in plain.named_parameters() if name.startswith(("conv", "layers."))]
    assert parameters_of(model) == sum(one.numel() for one in own)


def ecapa_weights(width: int = 32) -> dict[str, Tensor]:
    """Of SpeechBrain's names, random."""
    generator = torch.Generator().manual_seed(0)
    found = {}

    def convolution(name: str, given: int, made: int, kernel: int = 1) -> None:
        found[f"{name}.conv.weight"] = torch.randn(made, given, kernel, generator=generator) / (given * kernel) ** 0.5
        found[f"{name}.conv.bias"] = torch.randn(made, generator=generator) / 10

    def tdnn(name: str, given: int, made: int, kernel: int = 1) -> None:
        convolution(f"{name}.conv", given, made, kernel)
        for part in ("running_mean", "bias"):
            found[f"{name}.norm.norm.{part}"] = torch.randn(made, generator=generator) / 10
        for part in ("running_var", "weight"):
            found[f"{name}.norm.norm.{part}"] = torch.rand(made, generator=generator) + 0.5

    tdnn("blocks.0", 80, width, 5)
    for number in (1, 2, 3):
        for part in ("tdnn1", "tdnn2"):
            tdnn(f"blocks.{number}.{part}", width, width)
        for inner in range(7):
            tdnn(f"blocks.{number}.res2net_block.blocks.{inner}", width // 8, width // 8, 3)
        convolution(f"blocks.{number}.se_block.conv1", width, 8)
        convolution(f"blocks.{number}.se_block.conv2", 8, width)
    return found


def test_ecapa_is_read_from_its_file_and_hears_no_level(samples: np.ndarray, tmp_path: Path) -> None:
    torch.save(ecapa_weights() | {"fc.conv.bias": torch.zeros(192)}, tmp_path / "embedding_model.ckpt")
    model = other_encoder(str(tmp_path / "embedding_model.ckpt"))
    found = stages(model, samples)
    assert [tuple(one.shape) for one in found] == [(101, 32)] * 4
    for one, other in zip(found, stages(model, samples / 8), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    assert parameters_of(model) < sum(one.numel() for one in ecapa_weights().values())  # no running statistics


def test_a_block_of_ecapa_reaches_as_far_as_its_dilations(samples: np.ndarray) -> None:
    """Of Res2Net parts, each convolved once more than the one before: the last one sees 7 dilations to each side."""
    weights = ecapa_weights(128)
    weights |= {name: torch.zeros_like(one) for name, one in weights.items() if "se_block.conv2.conv.weight" in name}
    model = Ecapa(weights)
    frames = torch.randn(1, 128, 201, generator=torch.Generator().manual_seed(1))
    touched = frames.clone()
    touched[:, :, 100] += 1
    for number, dilation in ((1, 2), (2, 3), (3, 4)):
        change = model._block(f"blocks.{number}", touched, dilation) - model._block(
            f"blocks.{number}", frames, dilation
        )
        moved = change.abs().amax((0, 1)).nonzero()[:, 0]
        assert (moved.min().item(), moved.max().item()) == (100 - 7 * dilation, 100 + 7 * dilation)


def test_ge2e_is_a_stack_of_recurrent_layers(samples: np.ndarray, tmp_path: Path) -> None:
    set_seed(0)
    whole = nn.LSTM(40, 24, 3, batch_first=True)
    weights = {f"lstm.{name}": one for name, one in whole.state_dict().items()}
    torch.save({"step": 1, "model_state": weights}, tmp_path / "pretrained.pt")
    model = other_encoder(str(tmp_path / "pretrained.pt"))
    assert isinstance(model, Ge2e)
    found = stages(model, samples)
    assert len(found) == 3
    given = torch.randn(1, 50, 40)
    expected, _ = whole(given)
    for layer in model.layers:
        given, _ = layer(given)
    torch.testing.assert_close(given, expected)


def quality_net(path: Path, bands: int) -> dict[str, np.ndarray]:
    """Two convolutions with poolings, and a head; the input has a fixed length, as DNSMOS's has."""
    rng = np.random.default_rng(0)
    weights = {
        "first": rng.normal(size=(4, 1, 3, 3)), "second": rng.normal(size=(6, 4, 3, 3)), "head": rng.normal(size=(6, 1))
    }  # fmt: skip
    weights = {name: values.astype(np.float32) for name, values in weights.items()}
    pads, pool = {"pads": [1, 1, 1, 1]}, {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Unsqueeze", ["given", "axes"], ["one"]),
        helper.make_node("Conv", ["one", "first"], ["a"], **pads),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], **pool),
        helper.make_node("Conv", ["c", "second"], ["d"], **pads),
        helper.make_node("MaxPool", ["d"], ["e"], **pool),
        helper.make_node("ReduceMax", ["e", "places"], ["f"], keepdims=0),
        helper.make_node("MatMul", ["f", "head"], ["mos"]),
    ]
    held = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    held += [numpy_helper.from_array(np.array(at), name) for name, at in (("axes", [1]), ("places", [2, 3]))]
    given = helper.make_tensor_value_info("given", TensorProto.FLOAT, ["N", 900, bands])
    told = helper.make_tensor_value_info("mos", TensorProto.FLOAT, ["N", 1])
    graph = helper.make_graph(nodes, "net", [given], [told], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return weights


def test_a_quality_net_is_cut_after_its_poolings_and_takes_any_length(samples: np.ndarray, tmp_path: Path) -> None:
    weights = quality_net(tmp_path / "net.onnx", 120)
    model = other_encoder(str(tmp_path / "net.onnx"))
    assert parameters_of(model) == weights["first"].size + weights["second"].size  # the head is not computed
    first, second = stages(model, samples)
    assert first.shape == (50, 4 * 60)
    given = model._mel(levelled(torch.from_numpy(samples), CompactConfig(edge=0))).T[None, None]
    pooled = functional.max_pool2d(functional.conv2d(given, torch.tensor(weights["first"]), padding=1).relu(), 2)
    expected = functional.max_pool2d(functional.conv2d(pooled, torch.tensor(weights["second"]), padding=1), 2)
    torch.testing.assert_close(second, expected[0].transpose(0, 1).flatten(1), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", ["nowhere", "note.txt", "other.pt", "net.onnx"])
def test_what_is_no_known_encoder_is_one_sentence(name: str, tmp_path: Path) -> None:
    if name == "note.txt":
        (tmp_path / name).write_text("nothing")
    elif name == "other.pt":
        torch.save({"weight": torch.zeros(1)}, tmp_path / name)
    elif name == "net.onnx":
        quality_net(tmp_path / name, 33)
    with pytest.raises(UserError, match="expected a Whisper encoder"):
        other_encoder(str(tmp_path / name))


@pytest.mark.parametrize("given", [["small"], ["=path"], ["small="], ["small=a", "small=b"]])
def test_a_wrong_name_of_an_encoder_is_one_sentence(given: list[str]) -> None:
    with pytest.raises(UserError, match="expected NAME=PATH"):
        parsed_others(given)


@pytest.fixture(scope="module")
def views(corpus: Corpus) -> dict[str, View]:
    return views_by_layers(corpus, folds_of(corpus.facts), 10)


def test_heads_up_to_a_layer_are_those_on_the_columns_up_to_it(corpus: Corpus, views: dict[str, View]) -> None:
    assert list(views)[0] == "convolutions and 3 layers"
    expected = View.of(corpus, Products.of(corpus.features, slice(0, 30)), folds_of(corpus.facts))
    found = views["convolutions and 2 layers"]
    assert found.ridges == expected.ridges
    assert found.scores[TELEPHONE] == pytest.approx(expected.scores[TELEPHONE], abs=1e-3)


def test_a_fusion_of_one_with_itself_says_the_same(corpus: Corpus, views: dict[str, View]) -> None:
    folds, one = folds_of(corpus.facts), views["convolutions and 2 layers"]
    twice = fused([one, one], equal_weights([one, one], folds), folds)
    assert twice.scores[CLEAN] == pytest.approx(one.scores[CLEAN])


def test_the_weight_of_noise_is_chosen_small_and_without_a_look_at_what_is_held_out(
    corpus: Corpus, views: dict[str, View]
) -> None:  # fmt: skip
    folds, first = folds_of(corpus.facts), views["convolutions and 3 layers"]
    rng = np.random.default_rng(0)
    noise = replace(first, inner=[rng.normal(size=len(one)) for one in first.inner])
    found = chosen_weights(corpus, [first, noise], folds)
    assert found.sum(1) == pytest.approx(1)
    assert found[:, 1].max() <= 0.4
    label = np.where(folds[0].held, 1 - corpus.facts.label, corpus.facts.label)
    changed = replace(corpus, facts=replace(corpus.facts, label=label))
    assert chosen_weights(changed, [first, noise], folds)[0] == pytest.approx(found[0])


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 20 pages two human clips and two of an own generator: noise, whose spectrum tells them apart."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    rows = ["file_name,label,generator,page,kind,year,source,licence"]
    for page in range(20):
        for number in range(4):
            fake = number % 2
            noise = rng.normal(size=round(0.6 * SAMPLING_RATE))
            name = f"{page}_{number}.wav"
            soundfile.write(folder / name, 0.1 * np.cumsum(noise) / 30 if fake else 0.1 * noise, SAMPLING_RATE)
            generator, kind = (f"g{page}", "tts") if fake else ("human", "human")
            rows.append(f"{name},{'fake' if fake else 'real'},{generator},page {page},{kind},2024,{name},MIT")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder of Whisper base's width."""
    set_seed(0)
    config = WhisperConfig(
        d_model=512, encoder_layers=4, encoder_attention_heads=8, encoder_ffn_dim=2048, decoder_layers=1,
        decoder_attention_heads=8, decoder_ffn_dim=64, vocab_size=100, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("base")
    WhisperModel(config).save_pretrained(folder)
    return folder


def test_the_benchmark_compares_and_keeps_what_else_was_measured(
    clips: Path,
    base: Path,
    whisper: tuple[CompactForAudioClassification, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    quality_net(tmp_path / "net.onnx", 120)
    output = tmp_path / "results.json"
    output.write_text(json.dumps({"tries": {"reference": 1}}))
    given = ["--corpus", clips, "--encoder", base, "--work", tmp_path / "work", "--output", output]
    others = ["--other", f"small={whisper[1]}", "--other", f"quality={tmp_path / 'net.onnx'}"]
    monkeypatch.setattr(sys, "argv", ["frozen_fusion", *map(str, given), *others])
    assert frozen_fusion.main() == 0
    lines = capsys.readouterr().out.splitlines()
    told = json.loads(output.read_text())
    assert told["tries"] == {"reference": 1}
    rows, costs = told["encoders"]["tries"], told["encoders"]["costs"]
    reference = "convolutions and 4 layers"
    assert "difference" not in rows[reference]["clean"]
    assert rows[reference]["clean"]["roc_auc"] > 0.9
    assert set(costs) == {reference, "convolutions and 3 layers", "convolutions and 2 layers", "small", "quality"}
    assert rows["base and small, equal weights"]["relative_cost"] == 1 + costs["small"]["relative"]
    assert len({line.count("|") for line in lines[-len(rows) - 2 :]}) == 1  # a table
    assert costs[reference]["relative"] == 1 > costs["convolutions and 2 layers"]["relative"]
    for name in (*costs, "base and small, equal weights", "base and all others, weight chosen"):
        low, high = rows[name]["all years, telephone"]["interval"]
        assert low <= rows[name]["all years, telephone"]["roc_auc"] <= high
    assert np.array(rows["base and all others, weight chosen"]["weights"]).shape == (5, 3)


def test_features_of_another_encoder_are_its_own_statistics(
    whisper: tuple[CompactForAudioClassification, Path], samples: np.ndarray
) -> None:
    model = other_encoder(str(whisper[1]))
    assert statistics(model, samples).shape == (3 * 3 * WIDTH,)
