"""Packed clips and oneDNN linear layers compute what the ordinary model computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForAudioClassification, PreTrainedModel, set_seed

from deepfake.errors import UserError
from deepfake.models.one_dnn import use_one_dnn
from deepfake.training.packing import pack_clips, packs_clips

SMALL = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48, "layerdrop": 0.0,
    "conv_dim": [16] * 7, "num_conv_pos_embeddings": 9, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
LAYER_NORM = {"feat_extract_norm": "layer", "conv_bias": True}


def build(kind: str, **changes: object) -> PreTrainedModel:
    set_seed(0)
    return AutoModelForAudioClassification.from_config(AutoConfig.for_model(kind, **(SMALL | changes))).eval()


def logits_and_gradients(model: nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Of three clips of 24,000, 9,000 and 15,000 samples in one batch."""
    samples = torch.randn(3, 24_000, generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(24_000)[None] < torch.tensor([24_000, 9_000, 15_000])[:, None]).long()
    model.zero_grad()
    output = model(samples * mask, attention_mask=mask, labels=torch.tensor([0, 1, 1]))
    output.loss.backward()
    return output.logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(model: nn.Module, change: object) -> None:
    logits, gradients = logits_and_gradients(model)
    change(model)
    again, again_gradients = logits_and_gradients(model)
    assert torch.allclose(again, logits, atol=1e-6)
    assert again_gradients.keys() == gradients.keys()
    largest = max(float(g.abs().max()) for g in gradients.values())
    for name, gradient in gradients.items():
        assert torch.allclose(again_gradients[name], gradient, atol=1e-5 * largest), name


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("wav2vec2", LAYER_NORM | {"do_stable_layer_norm": True}),
        ("wav2vec2", LAYER_NORM),
        ("hubert", LAYER_NORM | {"do_stable_layer_norm": True}),
        ("data2vec-audio", {}),
        ("unispeech", LAYER_NORM),
        ("unispeech-sat", LAYER_NORM | {"do_stable_layer_norm": True}),
    ],
)
def test_packed_clips_give_the_padded_batches_logits_and_gradients(kind: str, changes: dict) -> None:
    assert_same(build(kind, **changes), pack_clips)


def test_layers_compute_the_frames_of_clips_only() -> None:
    model = build("wav2vec2", **LAYER_NORM)
    rows: list[int] = []
    first = model.wav2vec2.encoder.layers[0].feed_forward.intermediate_dense
    first.register_forward_hook(lambda _m, inputs, _o: rows.append(inputs[0].shape[:-1].numel()))
    logits_and_gradients(model)
    pack_clips(model)
    assert packs_clips(model)
    logits_and_gradients(model)
    frames = [int(model._get_feat_extract_output_lengths(torch.tensor(n))) for n in (24_000, 9_000, 15_000)]
    assert rows == [3 * frames[0], sum(frames)]


def test_a_saved_model_says_nothing_of_it(tmp_path) -> None:
    model = build("wav2vec2", **LAYER_NORM)
    pack_clips(model)
    expected = logits_and_gradients(model)[0]
    model.save_pretrained(tmp_path)
    assert "clip_by_clip" not in (tmp_path / "config.json").read_text()
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    assert torch.allclose(logits_and_gradients(loaded)[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("wavlm", LAYER_NORM, "model_type wavlm; it works for"),
        ("wav2vec2", {}, "group norm"),
        ("wav2vec2", LAYER_NORM | {"layerdrop": 0.1}, "layerdrop 0.1"),
    ],
)
def test_what_cannot_be_packed_is_told(kind: str, changes: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        pack_clips(build(kind, **changes))


def test_one_dnn_gives_the_same_logits_and_gradients() -> None:
    assert_same(build("wav2vec2", **LAYER_NORM), use_one_dnn)


def test_one_dnn_leaves_autocast_and_frozen_weights_alone() -> None:
    linear = nn.Linear(8, 4)
    linear.weight.requires_grad_(False)
    use_one_dnn(linear)
    samples = torch.randn(2, 3, 8, requires_grad=True)
    linear(samples).sum().backward()
    assert linear.weight.grad is None
    assert torch.allclose(samples.grad, linear.weight.sum(0).expand(2, 3, 8), atol=1e-6)
    assert linear.bias.grad.tolist() == [6.0] * 4
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(samples).dtype == torch.bfloat16
