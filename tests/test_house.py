"""The plan of the house: doors import the library, the library imports no door, its rooms import downward only."""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

DOORS = ("data_prep", "evaluation", "model_card", "app", "infer", "train_wav2vec2")
ALLOWED = {("train_wav2vec2", "model_card")}  # a run ends by writing its card
# From the ground up. A room may import those of the lines above its own, and itself.
FLOORS = (
    ("errors", "groups", "shipped", "text", "version"),
    ("labels", "hub", "launch", "cluster"),
    ("audio", "metrics", "architectures", "pages"),
    ("schema", "dataset", "provenance", "pairs"),
    ("channels", "models"),
    ("judging",),
    ("scoring",),
    ("training",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, at its top, late, or for checking types; no relative ones."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(door: str) -> list[Path]:
    return sorted((ROOT / door).rglob("*.py")) if (ROOT / door).is_dir() else [ROOT / f"{door}.py"]


def test_the_library_imports_no_door() -> None:
    found = [(path, name) for path in files("deepfake") for name in imports(path) if name.split(".")[0] in DOORS]
    assert found == []


def test_every_room_imports_only_rooms_below_it() -> None:
    climbs = []
    for path in files("deepfake"):
        room = path.relative_to(ROOT / "deepfake").parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for name in imports(path):
            package, _, rest = name.partition(".")
            other = rest.split(".")[0]
            if package == "deepfake" and other != room and FLOOR_OF[other] >= FLOOR_OF[room]:
                climbs.append(f"{path.relative_to(ROOT)} imports {name}")
    assert climbs == []


def test_doors_do_not_import_each_other() -> None:
    found = [
        (door, name)
        for door in DOORS
        for path in files(door)
        if path.exists()
        for name in imports(path)
        if name.split(".")[0] in set(DOORS) - {door} and (door, name.split(".")[0]) not in ALLOWED
    ]
    assert found == []


def test_no_file_imports_itself_through_others() -> None:
    graph: dict[str, set[str]] = {}
    for path in (path for place in (*DOORS, "deepfake") for path in files(place)):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        graph[module] = {
            full for name in imports(path) for full in (name, name.rpartition(".")[0]) if is_module(full)
        } - {module}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the files


def is_module(name: str) -> bool:
    return name.partition(".")[0] in (*DOORS, "deepfake") and (ROOT / (name.replace(".", "/") + ".py")).is_file()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install .` lays into site-packages."""
    folder = tmp_path_factory.mktemp("installed")
    build = ("egg_info", "--egg-base", folder, "build", "--build-base", folder / "build", "--build-lib", folder / "lib")
    subprocess.run([sys.executable, "setup.py", "--quiet", *map(str, build)], cwd=ROOT, check=True, capture_output=True)
    return folder / "lib"


def test_an_installation_brings_the_doors_and_one_library(installed: Path) -> None:
    assert {path.name.removesuffix(".py") for path in installed.iterdir()} <= {*DOORS, "deepfake"}


def test_an_installation_holds_the_detector_and_finds_it(installed: Path, tmp_path: Path) -> None:
    code = (
        "import json; from deepfake.channels.augment import known_presets;"
        "from deepfake.models.checkpoint import default_model; print(json.dumps([default_model(), known_presets()]))"
    )
    environment = {"PYTHONPATH": str(installed), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    model, presets = json.loads(done.stdout)
    assert Path(model) == installed / "deepfake/checkpoints/compact"
    assert {path.name for path in Path(model).iterdir()} >= {
        path.name for path in (ROOT / "checkpoints/compact").iterdir() if path.is_file()
    }
    assert "channel" in presets
