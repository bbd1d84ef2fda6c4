"""Work on Ray: the rows and the dataset of this machine alone, each file once, whoever dies."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from dying import deadly

from data_prep.build import BuildOptions, build
from deepfake.audio.decode import encode_flac
from deepfake.cluster import ClusterOptions, connected, run_on_ray
from deepfake.errors import UserError
from deepfake.scoring.arguments import parse_arguments
from deepfake.scoring.command import score

RATE = 16_000


@pytest.fixture(scope="module")
def two_processes() -> Iterator[ClusterOptions]:
    """Ray on this machine with room for two processes, however many cores there are."""
    pytest.importorskip("ray", reason="needs Ray: pip install '.[ray]'")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_worker_niceness", "0")
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        root = str(Path(__file__).parents[1])
        paths = {"env_vars": {"PYTHONPATH": os.pathsep.join((root, str(Path(__file__).parent)))}}
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=paths)
        yield ClusterOptions()
        ray.shutdown()


def failing() -> None:
    raise UserError("there is no model at nowhere")


@pytest.mark.slow
def test_work_on_a_cluster(two_processes: ClusterOptions, speech: np.ndarray, corpus: Path, tmp_path: Path) -> None:
    """One test, as starting processes takes longest."""
    batches = [[0, 1, 2], [3, 4], [5, 6], [7]]
    found = run_on_ray(partial(deadly, tmp_path), batches, lambda task: -task, two_processes)
    assert sorted(pair for tasks, results in found for pair in zip(tasks, results, strict=True)) == [
        (task, -5 if task == 5 else task * task) for task in range(8)
    ]
    assert len(list(tmp_path.glob("death-*"))) == 4  # 5 killed three of them
    with pytest.raises(UserError, match="there is no model at nowhere"):
        list(run_on_ray(failing, batches, lambda task: -task, two_processes))

    folder = tmp_path / "calls"
    folder.mkdir()
    for index in range(30):
        (folder / f"{index:02d}.flac").write_bytes(encode_flac(speech[900 * index :][: RATE + 90 * index]))
    (folder / "99.wav").write_bytes(b"junk")
    words = (str(folder), "--threshold", "0.5")
    cluster, alone = tmp_path / "cluster.csv", tmp_path / "alone.csv"
    score(parse_arguments([*words, "--output", str(alone)]))
    first = parse_arguments([*words, "--include", "0*", "--output", str(cluster), "--engine", "ray"])
    assert score(first).files == 10
    resumed = score(parse_arguments([*words, "--output", str(cluster), "--engine", "ray", "--resume"]))
    assert (resumed.files, resumed.kept, sum(resumed.errors.values())) == (21, 10, 1)
    rows = [list(csv.DictReader(path.open(newline=""))) for path in (alone, cluster)]
    for one, other in zip(*rows, strict=True):
        for name in ("fake_probability", "max_window"):
            assert float(one.pop(name) or -1) == pytest.approx(float(other.pop(name) or -1), abs=1e-6)
        assert one == other
    assert not list(tmp_path.glob("cluster.csv.part*"))

    for name, options in (("here", None), ("there", two_processes)):
        build(BuildOptions([corpus], tmp_path / name, cluster=options))
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_a_cluster_cannot_do_is_said_at_once(tmp_path: Path) -> None:
    for words, sentence in (
        (("--engine", "ray"), "name it with --output"),
        (("--engine", "ray", "--output", "out.csv", "--timeline", "out"), "writes no timelines"),
        (("--address", "auto"), "add --engine ray"),
        (("--engine", "ray", "--cores", "0", "--output", "out.csv"), "at least 1"),
    ):
        with pytest.raises(UserError, match=sentence):
            parse_arguments(["a.wav", *words])


def test_no_cluster_is_one_sentence() -> None:
    ray = pytest.importorskip("ray", reason="needs Ray: pip install '.[ray]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "is_initialized", lambda: False)  # the other tests may have started it
        with pytest.raises(UserError, match="ray start --head"), connected(ClusterOptions("127.0.0.1:1")):
            pass
