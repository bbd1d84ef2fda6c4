"""Training invariants, with the real Trainer on the embedded recordings."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, SMALL, run, save_tiny
from datasets import ClassLabel, DatasetDict, load_from_disk
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, set_seed

from deepfake.errors import UserError
from deepfake.judging.run import read_run
from deepfake.launch import processes_asked_for
from deepfake.metrics.definitions import detection_metrics
from deepfake.training.arguments import parse_recipe
from deepfake.training.data import load_splits, shared_sources
from deepfake.training.model import load_feature_extractor, load_model
from deepfake.training.trainer import build_trainer
from infer import Detector

DEMO = ["--config", str(ROOT / "configs/tiny.yaml")]
NO_NOISE = [f"--set=architecture.{name}=0.0" for name in (
    "hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout",
)]  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def train_in_process(dataset: Path, output: Path, *options: str) -> torch.nn.Module:
    """A few steps without evaluation; returns the trained model."""
    recipe = parse_recipe(
        [*DEMO, *SMALL, *NO_NOISE, "--dataset", str(dataset), "--output_dir", str(output), "--max_steps", "2",
         "--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false",
         "--early_stopping_patience", "0", "--warmup_steps", "0", "--max_grad_norm", "0", "--optim", "sgd",
         "--learning_rate", "0.1", *options]
    )  # fmt: skip
    set_seed(0)
    model = load_model(recipe)
    trainer = build_trainer(recipe, model, load_feature_extractor(recipe, model.config), load_splits(str(dataset)))
    trainer.train()
    return model


def test_accumulation_changes_nothing(dataset_dir: Path, tmp_path: Path) -> None:
    """8 clips at once and 4 times 2 clips give the same weights after two SGD steps: the gradients are equal."""
    whole = train_in_process(dataset_dir, tmp_path / "a", "--per_device_train_batch_size", "8")
    parts = train_in_process(
        dataset_dir, tmp_path / "b", "--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "4"
    )
    start = train_in_process(dataset_dir, tmp_path / "c", "--per_device_train_batch_size", "8", "--learning_rate", "0")
    moved = distance(whole.state_dict(), start.state_dict())
    assert distance(whole.state_dict(), parts.state_dict()) < 1e-3 * moved


def test_run_leaves_a_documented_detector(trained: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert config["id2label"] == {"0": "real", "1": "fake"}
    assert config["label2id"] == {"real": 0, "fake": 1}
    results = json.loads((trained / "results.json").read_text())
    assert results["format"] == 2
    assert config["detector"]["threshold"] == results["threshold"]["fake_probability"]
    assert results["threshold"]["split"] == "validation"
    assert {p.name for p in trained.iterdir()} >= {
        "README.md", "recipe.yaml", "results.json", "scores_validation.csv", "scores_test.csv",
        "model.safetensors", "preprocessor_config.json",
    }  # fmt: skip


def test_saved_weights_are_the_best_checkpoint(trained: Path) -> None:
    training = json.loads((trained / "results.json").read_text())["training"]
    evaluations = {e["step"]: e["eval_roc_auc"] for e in training["history"] if "eval_roc_auc" in e}
    assert training["best_value"] == max(evaluations.values()) == evaluations[training["best_step"]]
    assert distance(weights(trained), weights(trained / f"checkpoint-{training['best_step']}")) == 0


def test_every_evaluation_reports_every_metric(trained: Path) -> None:
    history = json.loads((trained / "results.json").read_text())["training"]["history"]
    evaluations = [e for e in history if "eval_loss" in e and e["step"] > 0]
    wanted = {"roc_auc", "eer", "accuracy", "balanced_accuracy"}
    wanted |= {f"{metric}_{label}" for metric in ("precision", "recall", "f1") for label in ("real", "fake")}
    for evaluation in evaluations:
        missing = {w for w in wanted if f"eval_{w}" not in evaluation}
        assert missing <= {
            "precision_real",
            "f1_real",
            "precision_fake",
            "f1_fake",
        }  # undefined when nothing is called so
    assert [e["step"] for e in evaluations][:3] == [2, 4, 6]


def test_recorded_numbers_follow_from_the_scores(trained: Path) -> None:
    judgement = read_run(trained / "results.json").judgement
    for split in ("validation", "test"):
        rows = np.genfromtxt(trained / f"scores_{split}.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
        labels = (rows["label"] == "fake").astype(int)
        probabilities = rows["fake_probability"]
        again = detection_metrics(probabilities, labels, judgement.threshold.fake_probability)
        recorded = judgement.sets[split]
        for name in ("roc_auc", "accuracy", "balanced_accuracy"):
            assert again[name] == pytest.approx(recorded.value(name), abs=1e-12), name
        assert [again[name] for name in ("n", "tp", "fp")] == [recorded.n, recorded.confusion.tp, recorded.confusion.fp]


def test_fresh_process_loads_it_with_transformers_alone(trained: Path, tmp_path: Path) -> None:
    code = """
import sys, numpy as np
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline
folder = sys.argv[1]
model, extractor = AutoModelForAudioClassification.from_pretrained(folder), AutoFeatureExtractor.from_pretrained(folder)
noise = np.random.default_rng(0).normal(0, 0.1, 48000).astype(np.float32)
logits = model.eval()(**extractor(noise, sampling_rate=16000, return_tensors="pt", padding=True)).logits
expected = logits.softmax(-1)[0].tolist()
answers = pipeline("audio-classification", model=folder)({"raw": noise, "sampling_rate": 16000})
by_name = {a["label"]: a["score"] for a in answers}
assert abs(by_name["real"] - expected[0]) < 1e-5 and abs(by_name["fake"] - expected[1]) < 1e-5, (by_name, expected)
assert 0 < model.config.detector["threshold"] < 1
"""
    run(sys.executable, "-c", code, trained, cwd=tmp_path, PYTHONPATH="")


@pytest.mark.slow
def test_killed_run_goes_on_to_the_same_result(few_clips: Path, tmp_path: Path) -> None:
    def command(output: Path) -> list[str]:
        return [sys.executable, "train_wav2vec2.py", *DEMO, *SMALL, "--dataset", str(few_clips), "--output_dir",
                str(output), "--max_steps", "12", "--dataloader_num_workers", "1"]  # fmt: skip

    run(*command(tmp_path / "whole"))
    process = subprocess.Popen(
        command(tmp_path / "killed"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**__import__("os").environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "results.json").exists()
    done = run(*command(tmp_path / "killed"))
    assert "going on from" in done.stderr
    assert distance(weights(tmp_path / "whole"), weights(tmp_path / "killed")) == 0
    whole, resumed = (json.loads((tmp_path / n / "results.json").read_text()) for n in ("whole", "killed"))
    assert whole["sets"] == resumed["sets"]
    assert whole["threshold"] == resumed["threshold"]


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(dataset_dir: Path, tmp_path: Path) -> None:
    accelerate = Path(sys.executable).with_name("accelerate")
    common = ["train_wav2vec2.py", *DEMO, *SMALL, *NO_NOISE, "--dataset", dataset_dir, "--max_steps", "2"]
    common += ["--optim", "sgd", "--learning_rate", "0.1", "--max_grad_norm", "0", "--warmup_steps", "0"]
    run(
        accelerate,
        "launch",
        "--num_processes",
        "2",
        *common,
        "--per_device_train_batch_size",
        "4",
        "--output_dir",
        tmp_path / "two",
    )
    run(sys.executable, *common, "--per_device_train_batch_size", "8", "--output_dir", tmp_path / "one")
    results = [json.loads((tmp_path / n / "results.json").read_text()) for n in ("one", "two")]
    assert [r["training"]["processes"] for r in results] == [1, 2]
    assert distance(weights(tmp_path / "one"), weights(tmp_path / "two")) < 1e-4
    one, two = (r["sets"]["test"] for r in results)
    assert one["n"] == two["n"]
    assert one["metrics"]["roc_auc"]["value"] == pytest.approx(two["metrics"]["roc_auc"]["value"], abs=1e-3)
    # The rows that the two processes shared are in the dataset's order, each with the score that its detector gives.
    detector = Detector.from_pretrained(tmp_path / "two")
    clips = load_from_disk(str(dataset_dir))["test"]["audio"]
    scores = np.genfromtxt(tmp_path / "two" / "scores_test.csv", delimiter=",", names=True, encoding="utf-8")
    expected = [detector.score(clip["bytes"]).fake_probability for clip in clips]
    np.testing.assert_allclose(scores["fake_probability"], expected, atol=1e-6)


def test_a_log_file_holds_lines_and_neither_bars_nor_escape_sequences(dataset_dir: Path, tmp_path: Path) -> None:
    done = run(sys.executable, "train_wav2vec2.py", *DEMO, *SMALL, "--dataset", dataset_dir, "--output_dir",
               tmp_path / "out", "--max_steps", "2")  # fmt: skip
    logged = [line for line in done.stderr.splitlines() if line.startswith("step ")]
    assert [line.partition(":")[0] for line in logged] == ["step 1 of 2", "step 2 of 2", "step 2 of 2"]
    assert "loss" in logged[0]
    assert "eval_roc_auc" in logged[2]
    for text in (done.stdout, done.stderr):
        assert "\r" not in text
        assert "\x1b" not in text


def test_a_terminal_gets_a_bar(
    dataset_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    train_in_process(dataset_dir, tmp_path)
    shown = capsys.readouterr().err
    assert "\r" in shown
    assert "step 1: loss" in shown


@pytest.mark.slow
@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_the_launcher_turns_exit_2_into_1_and_the_reason_still_stands_in_one_line(
    quiet: tuple[str, ...], tmp_path: Path
) -> None:
    """As --help says; should accelerate ever pass the status on, the help can say so."""
    options = ("train_wav2vec2.py", *DEMO, "--dataset", tmp_path / "none", "--output_dir", tmp_path / "out")
    done = run(Path(sys.executable).with_name("accelerate"), "launch", *quiet, *options, check=1)
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert "there is no dataset at" in told[0]


def test_number_of_processes_is_read_from_the_launch_command(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("num_processes: 3\n")
    launch = ["accelerate", "launch"]
    assert processes_asked_for([*launch, "--num_processes", "2", "t.py", "--num_processes", "9"]) == 2
    assert processes_asked_for([*launch, "--num-processes=4", "t.py"]) == 4
    assert processes_asked_for([*launch, "--config_file", str(tmp_path / "a.yaml"), "t.py"]) == 3
    assert processes_asked_for([*launch, "t.py"]) is None


def test_detector_with_fake_first_keeps_its_knowledge(tmp_path: Path, speech: np.ndarray) -> None:
    folder = save_tiny(tmp_path / "m", id2label={0: "fake", 1: "real"}, label2id={"fake": 0, "real": 1})
    recipe = parse_recipe(["--model_name_or_path", str(folder), "--dataset", "D", "--output_dir", "O"])
    model = load_model(recipe).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor(speech[:48_000], sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        before = AutoModelForAudioClassification.from_pretrained(folder)(**inputs).logits
        after = model(**inputs).logits
    assert model.config.id2label == {0: "real", 1: "fake"}
    assert torch.allclose(before.flip(-1), after, atol=1e-6)


def test_labels_are_remapped_by_name_not_position(dataset_dir: Path, tmp_path: Path) -> None:
    """AudioFolder sorts its labels: fake=0, real=1."""
    original = load_from_disk(str(dataset_dir))
    turned = DatasetDict({
        name: split.remove_columns("label").add_column(
            "label", [1 - v for v in split["label"]], feature=ClassLabel(names=["fake", "real"])
        )
        for name, split in original.items()
    })  # fmt: skip
    turned.save_to_disk(str(tmp_path / "turned"))
    loaded = load_splits(str(tmp_path / "turned"))
    for name in original:
        assert loaded[name]["label"] == original[name]["label"]
        assert loaded[name].features["label"].names == ["real", "fake"]


def test_shared_recordings_are_noticed(dataset_dir: Path) -> None:
    dataset = load_splits(str(dataset_dir))
    assert shared_sources(dataset) == 0
    assert shared_sources(DatasetDict(train=dataset["train"], test=dataset["train"])) == len(
        set(dataset["train"]["source"])
    )


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda d: DatasetDict(train=d["train"]), "no validation"),
        (
            lambda d: DatasetDict({k: s.filter(lambda r: r["label"] == 0) for k, s in d.items()}),
            "holds real clips only",
        ),
        (lambda d: DatasetDict({k: s.remove_columns("label") for k, s in d.items()}), "has no column label"),
        (lambda d: d.cast_column("label", ClassLabel(names=["cat", "dog"])), "has the labels cat, dog"),
    ],
)
def test_unusable_datasets_are_one_sentence(spoil, sentence: str, dataset_dir: Path, tmp_path: Path) -> None:
    spoil(load_from_disk(str(dataset_dir))).save_to_disk(str(tmp_path / "bad"))
    with pytest.raises(UserError, match=sentence):
        load_splits(str(tmp_path / "bad"))


def test_missing_dataset_and_reused_output_are_one_sentence(
    trained: Path,
    dataset_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from train_wav2vec2 import main

    def error_of(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["train_wav2vec2.py", *DEMO, *map(str, arguments)])
        assert main() == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        return lines[0]

    missing = tmp_path / "a" / "b" / "nowhere"
    assert "there is no dataset at" in error_of("--dataset", missing, "--output_dir", tmp_path / "o")
    assert "not a prepared dataset" in error_of("--dataset", tmp_path, "--output_dir", tmp_path / "o")
    assert "holds a finished run" in error_of("--dataset", dataset_dir, "--output_dir", trained)
    unfinished = tmp_path / "unfinished"
    (unfinished / "checkpoint-2").mkdir(parents=True)
    (unfinished / "checkpoint-2" / "trainer_state.json").write_text("{}")
    (unfinished / "recipe.yaml").write_text(yaml.safe_dump({"learning_rate": 1}))
    assert "of another recipe" in error_of("--dataset", dataset_dir, "--output_dir", unfinished)
    no_weights = tmp_path / "no_weights"
    no_weights.mkdir()
    (no_weights / "config.json").write_text((trained / "config.json").read_text())
    start = ("--model_name_or_path", no_weights, "--output_dir", tmp_path / "o")
    assert "cannot load the checkpoint" in error_of("--dataset", dataset_dir, *start)
