"""LoRA: small updates of the trained layers that end as an ordinary checkpoint."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, run, save_tiny, tiny_config
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForAudioClassification, set_seed

from deepfake.architectures.compact import CompactConfig
from deepfake.errors import UserError
from deepfake.models.freeze import FreezePlan, count_parameters, freeze
from deepfake.training.arguments import parse_recipe
from deepfake.training.lora import LoraOptions, add_lora, merge_lora
from deepfake.training.model import build_model
from deepfake.training.plan import module_rows
from train_wav2vec2 import main

RECIPE = ROOT / "configs" / "wav2vec2_xlsr_lora.yaml"
FEW = ("--freeze_encoder_layers", "1", "--set", "lora.r=4", "--max_duration_s", "13", "--save_total_limit", "9",
       "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1", "--eval_steps", "2",
       "--save_steps", "2", "--logging_steps", "1", "--learning_rate", "1e-2")  # fmt: skip


def adapted(layers: int = 3, frozen: int = 1, options: LoraOptions | None = None) -> torch.nn.Module:
    set_seed(0)
    model = AutoModelForAudioClassification.from_config(tiny_config(num_hidden_layers=layers)).eval()
    freeze(model, FreezePlan(feature_encoder=True, encoder_layers=frozen))
    add_lora(model, options or LoraOptions(r=4))
    return model


def test_adapters_and_head_train_and_nothing_else() -> None:
    model = adapted()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n in trained if ".lora_" not in n} == {
        f"{head}.{part}" for head in ("projector", "classifier") for part in ("weight", "bias")
    }
    adapters = {n.partition(".attention.")[0] for n in trained if ".lora_" in n}
    assert adapters == {"wav2vec2.encoder.layers.1", "wav2vec2.encoder.layers.2"}  # none in the frozen one
    rows = [row for row in module_rows(model) if row.module.endswith("(LoRA)")]
    assert [(row.module, row.parameters) for row in rows] == [
        ("wav2vec2.encoder.layers.1-2 (LoRA)", 2 * 2 * 2 * 4 * 32)
    ]
    assert sum(row.parameters for row in module_rows(model)) == count_parameters(model)[1]


def test_the_merged_model_gives_the_adapted_models_logits_and_has_the_ordinary_weights() -> None:
    model = adapted()
    plain = set(AutoModelForAudioClassification.from_config(model.config).state_dict())
    samples = torch.randn(2, 16_000)
    before_training = model(samples).logits.detach()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B" in name:
                parameter.normal_(std=0.2)
    expected = model(samples).logits.detach()
    assert not torch.allclose(expected, before_training, atol=1e-3)
    merge_lora(model)
    assert set(model.state_dict()) == plain
    assert torch.allclose(model(samples).logits, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["hubert", "wavlm", "data2vec-audio", "whisper", "audio-spectrogram-transformer"])
def test_layers_of_other_families_are_found_too(kind: str) -> None:
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 2}
    if kind == "whisper":
        small = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
    elif kind != "audio-spectrogram-transformer":
        small |= {"num_conv_pos_embedding_groups": 4}
    model = AutoModelForAudioClassification.from_config(AutoConfig.for_model(kind, **small))
    add_lora(model, LoraOptions(r=2, target_modules=("q_proj", "query")))
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert sum(".lora_A" in n for n in trained) == 2
    assert any(n.startswith("classifier") for n in trained)


def test_adapters_leave_the_compact_detectors_pooling_and_head_to_train() -> None:
    model = build_model(CompactConfig(channels=32, layers=2, attention_heads=2, inner_width=32))
    freeze(model, FreezePlan(encoder_layers=1))
    add_lora(model, LoraOptions(r=2))
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert {n.split(".")[0] for n in trained if ".lora_" not in n} == {"pooling", "head"}
    assert {n.partition(".self_attn.")[0] for n in trained if ".lora_" in n} == {"layers.1"}


@pytest.mark.slow
def test_a_run_ends_as_a_checkpoint_that_needs_no_peft_and_resumes_to_the_same(
    few_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = save_tiny(tmp_path / "start", num_hidden_layers=3)

    def train(output: Path, *more: str) -> None:
        fixed = ["--config", str(RECIPE), "--model_name_or_path", str(start), "--dataset", str(few_clips)]
        monkeypatch.setattr(sys, "argv", ["train_wav2vec2.py", *fixed, "--output_dir", str(output), *FEW, *more])
        assert main() == 0

    train(tmp_path / "whole", "--max_steps", "4")
    results = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert any(m["module"].endswith("(LoRA)") and m["trained"] for m in results["model"]["modules"])
    whole, base = load_file(tmp_path / "whole" / "model.safetensors"), load_file(start / "model.safetensors")
    assert whole.keys() == base.keys()
    changed = {n for n in base if "encoder" in n and not torch.equal(whole[n], base[n])}
    assert changed == {f"wav2vec2.encoder.layers.{i}.attention.{p}_proj.weight" for i in (1, 2) for p in "qv"}
    code = "import sys; sys.modules['peft'] = None; from transformers import AutoModelForAudioClassification as A; " \
        "m, i = A.from_pretrained(sys.argv[1], output_loading_info=True); assert not any(i.values()), i"  # fmt: skip
    run(sys.executable, "-c", code, tmp_path / "whole", cwd=tmp_path, PYTHONPATH="")
    # The same run, stopped after two steps.
    killed = tmp_path / "killed"
    train(killed, "--max_steps", "4")
    for path in (killed / "results.json", killed / "model.safetensors", killed / "checkpoint-4" / "trainer_state.json"):
        path.unlink()
    train(killed, "--max_steps", "4")
    resumed = load_file(killed / "model.safetensors")
    assert all(torch.equal(whole[n], resumed[n]) for n in whole)


@pytest.mark.slow
def test_it_goes_with_a_cached_prefix(few_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = save_tiny(tmp_path / "start", num_hidden_layers=3)
    curves = []
    for name, cached in (("plain", "false"), ("cached", "true")):
        fixed = ["--config", str(RECIPE), "--model_name_or_path", str(start), "--dataset", str(few_clips)]
        more = ["--max_steps", "3", "--set", "model_overrides.apply_spec_augment=false", "--cache_prefix", cached]
        argv = ["train_wav2vec2.py", *fixed, "--output_dir", str(tmp_path / name), *FEW, *more]
        monkeypatch.setattr(sys, "argv", argv)
        assert main() == 0
        history = json.loads((tmp_path / name / "results.json").read_text())["training"]["history"]
        curves.append([e["loss"] for e in history if "loss" in e])
    assert len(curves[0]) == 3
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["lora.rank=4"], "unknown key lora.rank; known are r, alpha"),
        (["lora.r=0"], "expected r >= 1"),
        (["lora.r=many"], "expected numbers"),
        (["lora.target_modules=[wq]"], "but the layers of .* have .*k_proj"),
    ],
)
def test_wrong_options_are_one_sentence(settings: list[str], sentence: str) -> None:
    recipe = parse_recipe(["--config", str(RECIPE), "--plan", *(w for s in settings for w in ("--set", s))])
    with pytest.raises(UserError, match=sentence):
        adapted(options=LoraOptions.of(recipe.lora))


def test_no_trained_layer_and_no_peft_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="are all frozen"):
        adapted(layers=2, frozen=2)
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.split(".")[0] == "peft":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="needs peft; run: pip install peft"):
        adapted()
