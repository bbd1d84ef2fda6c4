"""Real parts, small: the embedded recordings, a dataset built from them, a checkpoint trained on it.

PyTorch and what needs it are imported where they are used: the process that hands out the tests reads this file before
the others start, and runs none.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from preloaded import Preloaded

ROOT = Path(__file__).parents[1]
RECORDINGS = ROOT / "examples" / "recordings"
# Reduces configs/tiny.yaml to something that trains in seconds.
SMALL = (
    "--set", "architecture.hidden_size=32", "--set", "architecture.intermediate_size=48",
    "--set", "architecture.num_hidden_layers=2", "--set", "architecture.conv_dim=[16,16,16,16,32]",
    "--set", "architecture.num_conv_pos_embeddings=8",
    "--max_duration_s", "2.5", "--per_device_train_batch_size", "4", "--eval_strategy", "steps",
    "--save_strategy", "steps", "--eval_steps", "2", "--save_steps", "2", "--logging_steps", "1",
)  # fmt: skip

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the many processes that tests start would compile everything anew
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first, or the last of them would leave one of two processes idle."""
    import torch

    torch.set_num_threads(1)  # two test processes share two cores
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
PRELOADED = Preloaded(ENVIRONMENT)


def run(
    *command: object, check: int | None = 0, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of the project as a user would; `check` is the expected exit status, None any.

    A Python script or module starts from `PRELOADED`; any other command, options of Python itself and an `environment`
    of its own get a process that has imported nothing.
    """
    words = [str(word) for word in command]
    if not environment and words[0] == sys.executable and (words[1] == "-m" or words[1].endswith(".py")):
        done = PRELOADED.run(words[1:], cwd)
    else:
        environment = {**ENVIRONMENT, **environment}
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=400)
    if check is not None:
        assert done.returncode == check, f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def launch_training(output: Path, *options: object) -> subprocess.CompletedProcess[str]:
    """Train into `output`. `accelerate launch` before it is left to the tests of the README and of two processes."""
    return run(sys.executable, "train_wav2vec2.py", "--output_dir", output, *options)


def tiny_config(**changes: object) -> object:
    """A wav2vec2 config with XLS-R's layout and hardly any width."""
    from transformers import AutoConfig

    values = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
        "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True,
        "conv_dim": [16] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4,
        "classifier_proj_size": 8, "id2label": {0: "real", 1: "fake"}, "label2id": {"real": 0, "fake": 1},
    }  # fmt: skip
    return AutoConfig.for_model("wav2vec2", **(values | changes))


def save_tiny(folder: Path, seed: int = 0, **changes: object) -> Path:
    """An untrained tiny detector with a spread-out head, so that its scores differ from clip to clip."""
    import torch
    from transformers import AutoModelForAudioClassification, Wav2Vec2FeatureExtractor, set_seed

    set_seed(seed)
    config = tiny_config(**changes)
    model = AutoModelForAudioClassification.from_config(config)
    with torch.no_grad():
        for head in (model.projector, model.classifier):
            head.weight.mul_(30.0)
    model.save_pretrained(folder)
    layer_norm = config.feat_extract_norm == "layer"
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=layer_norm).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from building import small_corpus

    return small_corpus(tmp_path_factory.mktemp("data") / "corpus")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(
        tmp_path_factory.mktemp("tiny") / "model", detector={"threshold": 0.4, "window_s": 13.0, "hop_s": 6.5}
    )


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder NAME that `make` fills, for all test processes: the first that asks makes it, another waits for it.

    No test may write into it.
    """
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)
    folder, done = shared / name, shared / f"{name}.done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded recordings, built by the real command."""

    def build(folder: Path) -> None:
        splits = ("--splits", "0.5", "0.25", "0.25")
        run(sys.executable, "-m", "data_prep", "build", RECORDINGS, "--output", folder, *splits)

    return made_once(tmp_path_factory, "dataset", build)


@pytest.fixture(scope="session")
def few_clips(dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three shortest clips of each recording in `dataset_dir`, for whole runs of which the data are not the point.

    Every recording is still there, so that splits, classes and the groups of intervals are those of `dataset_dir`.
    """

    def choose(folder: Path) -> None:
        from datasets import DatasetDict, load_from_disk

        few = {}
        for name, rows in load_from_disk(str(dataset_dir)).items():
            by_length = np.argsort(rows["duration_s"], kind="stable")
            sources = np.array(rows["source"])[by_length]
            chosen = [by_length[sources == source][:3] for source in np.unique(sources)]
            few[name] = rows.select(np.sort(np.concatenate(chosen)))
        DatasetDict(few).save_to_disk(str(folder))

    return made_once(tmp_path_factory, "few_clips", choose)


@pytest.fixture(scope="session")
def trained(dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector trained for six steps by the documented command, with its card, results and scores."""

    def train(folder: Path) -> None:
        launch_training(folder, "--config", "configs/tiny.yaml", "--dataset", dataset_dir, "--max_steps", "6", *SMALL)

    return made_once(tmp_path_factory, "detector", train)


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """22 s of real speech at 16 kHz."""
    from deepfake.audio.decode import load_audio

    return load_audio(RECORDINGS / "real" / "vctk_p226.wav")
