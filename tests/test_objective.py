"""Loss, sampling and the guards around a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, SMALL, run
from datasets import ClassLabel, Dataset, Features, Value
from transformers import EarlyStoppingCallback, TrainerControl
from transformers.modeling_outputs import SequenceClassifierOutput

from deepfake.errors import UserError
from deepfake.training.arguments import parse_recipe
from deepfake.training.callbacks import out_of_memory, require_finite
from deepfake.training.data import load_splits
from deepfake.training.model import load_feature_extractor, load_model
from deepfake.training.objective import REPORTED, Objective, balanced_weights
from deepfake.training.sampling import BalancedSampler, balanced_sampler
from deepfake.training.trainer import build_trainer

LOGITS = torch.tensor([[1.0, -0.5], [0.2, 0.9], [-1.0, 2.0], [0.3, 0.1], [2.0, -2.0], [0.0, 0.4]])
LABELS = torch.tensor([0, 1, 1, 0, 1, 1])


def test_plain_objective_is_the_mean_cross_entropy() -> None:
    loss = Objective()(SequenceClassifierOutput(logits=LOGITS), LABELS)
    assert loss.item() == pytest.approx(torch.nn.functional.cross_entropy(LOGITS, LABELS).item(), abs=1e-7)


@pytest.mark.parametrize(
    "objective", [Objective(), Objective((1.5, 0.75)), Objective(label_smoothing=0.1), Objective(None, 0.1, 2.0)]
)
def test_micro_batches_add_up_to_the_whole(objective: Objective) -> None:
    whole = objective(SequenceClassifierOutput(logits=LOGITS), LABELS)
    parts = [(slice(0, 1), 6), (slice(1, 4), 6), (slice(4, 6), 6)]
    summed = sum(objective(SequenceClassifierOutput(logits=LOGITS[s]), LABELS[s], n) for s, n in parts)
    assert summed.item() == pytest.approx(whole.item(), abs=1e-6)


def test_balanced_weights_make_the_classes_weigh_the_same() -> None:
    weights = balanced_weights(LABELS.tolist())
    totals = [weights[c] * int((c == LABELS).sum()) for c in (0, 1)]
    assert totals[0] == pytest.approx(totals[1])
    assert sum(totals) == pytest.approx(len(LABELS))
    losses = Objective().per_clip(LOGITS, LABELS)
    weighted = Objective(weights).per_clip(LOGITS, LABELS)
    assert torch.allclose(weighted, losses * torch.tensor(weights)[LABELS])


def test_focal_loss_spares_what_is_already_right() -> None:
    plain, focal = (Objective(focal_gamma=g).per_clip(LOGITS, LABELS) for g in (0.0, 2.0))
    right = LOGITS.softmax(-1).gather(1, LABELS[:, None])[:, 0]
    assert torch.allclose(focal, plain * (1 - right) ** 2)


def test_balanced_sampler_hears_groups_alike_repeats_by_epoch_and_differs_between_epochs() -> None:
    labels = ["real"] * 900 + ["fake"] * 100
    groups = ["human"] * 900 + ["a"] * 90 + ["b"] * 10
    sampler = BalancedSampler(labels, groups, seed=3)
    drawn = Counter()
    for epoch in range(30):
        sampler.set_epoch(epoch)
        drawn.update(groups[i] for i in sampler)
    total = sum(drawn.values())
    assert total == 30 * len(sampler)
    for group, share in (("human", 0.5), ("a", 0.25), ("b", 0.25)):
        assert drawn[group] / total == pytest.approx(share, abs=0.01)
    sampler.set_epoch(4)
    first = list(sampler)
    sampler.set_epoch(5)
    assert first != list(sampler)
    sampler.set_epoch(4)
    assert first == list(sampler)


def test_balance_by_generator_needs_generators() -> None:
    features = Features({"label": ClassLabel(names=["real", "fake"]), "generator": Value("string")})
    rows = Dataset.from_dict({"label": [0, 1, 1], "generator": ["human", "x", None]}, features=features)
    with pytest.raises(UserError, match="1 fake clips do not say"):
        balanced_sampler(rows, "generator", 0)
    assert balanced_sampler(rows, "none", 0) is None
    assert np.allclose(balanced_sampler(rows, "class", 0).probabilities, [0.5, 0.25, 0.25])


def test_direction_of_the_best_metric_follows_the_metric() -> None:
    base = ["--config", str(ROOT / "configs/tiny.yaml"), "--dataset", "D", "--output_dir", "O"]
    assert parse_recipe(base).training.greater_is_better is True
    assert parse_recipe([*base, "--metric_for_best_model", "eer"]).training.greater_is_better is False
    for name in REPORTED:
        for given in (name, f"eval_{name}"):
            parsed = parse_recipe([*base, "--metric_for_best_model", given]).training
            assert parsed.greater_is_better is (name != "eer")
    assert parse_recipe([*base, "--metric_for_best_model", "loss"]).training.greater_is_better is False
    with pytest.raises(UserError, match="metric_for_best_model is auc; expected one of loss, roc_auc, eer"):
        parse_recipe([*base, "--metric_for_best_model", "auc"])


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("eer", [0.4, 0.2, 0.3], 2),
        ("loss", [0.3, 0.2, 0.4], 2),
        ("roc_auc", [0.3, 0.2, 0.4], 3),
        ("f1_fake", [None, 0.2, None], 2),  # undefined where nothing is called fake
    ],
)
def test_the_best_and_the_stop_follow_the_direction_of_the_metric(
    metric: str, values: list[float | None], best: int, dataset_dir: Path, tmp_path: Path
) -> None:
    recipe = parse_recipe(
        ["--config", str(ROOT / "configs/tiny.yaml"), *SMALL, "--dataset", "D", "--output_dir", str(tmp_path),
         "--metric_for_best_model", metric, "--early_stopping_patience", "1"]
    )  # fmt: skip
    model = load_model(recipe)
    trainer = build_trainer(recipe, model, load_feature_extractor(recipe, model.config), load_splits(str(dataset_dir)))
    stopping = next(c for c in trainer.callback_handler.callbacks if isinstance(c, EarlyStoppingCallback))
    chosen, stopped = 0, []
    for step, value in enumerate(values, start=1):
        metrics = {} if value is None else {f"eval_{metric}": value}
        control = TrainerControl()
        stopping.on_evaluate(trainer.args, trainer.state, control, metrics)
        stopped.append(control.should_training_stop)
        if trainer._determine_best_metric(metrics, None):
            chosen = step
    assert chosen == best
    assert stopped == {2: [False, False, metric != "f1_fake"], 3: [False, True, False]}[best]


def test_a_broken_loss_names_its_clip() -> None:
    logits = LOGITS.clone()
    logits[2, 0] = float("nan")
    names = [f"clip{i}.flac" for i in range(6)]
    with pytest.raises(UserError, match=r"step 7 \(clips clip2.flac\)"):
        require_finite(torch.tensor(float("nan")), logits, names, 7)
    require_finite(torch.tensor(1.0), LOGITS, names, 7)


def test_out_of_memory_gives_advice_and_other_errors_stay() -> None:
    advice = out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 4, 4)
    assert "--per_device_train_batch_size 2 --gradient_accumulation_steps 8" in str(advice)
    assert "--gradient_checkpointing true" in str(advice)
    with pytest.raises(RuntimeError) as of_cpu:
        torch.empty(2**56, dtype=torch.uint8)
    assert "--per_device_train_batch_size 4" in str(out_of_memory(of_cpu.value, 8, 1))
    assert out_of_memory(RuntimeError("shapes do not match"), 4, 4) is None


@pytest.mark.slow
def test_interrupt_saves_a_checkpoint_that_the_same_command_goes_on_from(dataset_dir: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "train_wav2vec2.py", "--config", "configs/tiny.yaml", *SMALL, "--dataset", str(dataset_dir),
        "--output_dir", str(tmp_path / "run"), "--max_steps", "40", "--eval_steps", "20", "--save_steps", "20",
        "--balance", "class", "--class_weights", "balanced",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    heard = ""
    while "step 3 of" not in heard:
        heard += process.stderr.read(1)
        assert process.poll() is None, heard
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 130, heard + rest
    saved = sorted((tmp_path / "run").glob("checkpoint-*/trainer_state.json"))
    assert len(saved) == 1
    assert json.loads(saved[0].read_text())["global_step"] < 20
    done = run(*command)
    assert "going on from" in done.stderr
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"training_history.json", "training_history.png"}
