"""The README's commands are run as they stand, in order, in a copy of the project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, run

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.S)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def test_the_two_commands_come_first_and_ci_runs_the_test_command() -> None:
    first = [line.split("  ")[0] for line in commands()[:2]]
    assert first == ["make demo", "make test"]
    ci = [
        line
        for line in (ROOT / ".ci/run").read_text().splitlines()
        if line and not line.startswith(("#", "set", "cd")) and not line.endswith("|| true")  # may fail: a browser
    ]
    assert ci == ["make test"]


@pytest.mark.slow
def test_every_command_works_in_order(tmp_path: Path) -> None:
    project = tmp_path / "project"
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT).decode().split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, project / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in commands():
        if command.startswith("make "):
            continue
        if "--config configs/demo.yaml" in command:  # the same run, in seconds
            command += " " + "--max_steps 2 --eval_strategy steps --eval_steps 1 --save_strategy steps --save_steps 1"
        run("bash", "-c", command, cwd=project, PATH=path, PYTHONPATH="")
    assert (project / "out/scores.csv").read_text().count("\n") == 15
    assert (project / "out/detector_scores.csv").read_text().count("\n") == 15
    assert json.loads((project / "out/detector/results.json").read_text())["sets"]["test"]["n"] > 0
    for snippet in re.findall(r"```python\n(.*?)```", README, re.S):
        done = run(sys.executable, "-c", snippet, cwd=project, PYTHONPATH="")
        assert re.match(r"0\.\d+ (real|fake) \d", done.stdout)


def test_every_path_named_in_the_readme_exists() -> None:
    named = re.findall(
        r"`((?:configs|examples|data_prep|training|scoring|evaluation|model_card|tests)/[\w./]*)`", README
    )
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [name for name in linked if not (ROOT / name).exists()] == []
