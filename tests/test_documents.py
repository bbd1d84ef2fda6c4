"""What is written for contributors and citers names things that exist, and one version."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, run

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = (
    ("infer.py",), ("train_wav2vec2.py",), ("-m", "data_prep"), ("-m", "evaluation"), ("-m", "model_card"),
    ("-m", "app"), ("-m", "deepfake.training.summary"), ("-m", "deepfake.channels.show"),
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[-1])
def test_every_command_says_its_version_in_one_line(command: tuple[str, ...]) -> None:
    done = run(sys.executable, *command, "--version")
    assert re.fullmatch(
        rf"speech-deepfake-detection {re.escape(VERSION)} \(Python [\d.]+, torch \S+, transformers \S+, numpy \S+\)\n",
        done.stdout,
    )
    assert "--version" in run(sys.executable, *command, "--help").stdout


def test_outside_a_clone_the_version_is_that_of_the_installed_package(tmp_path: Path) -> None:
    package = tmp_path / "deepfake"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "version.py").write_bytes((ROOT / "deepfake/version.py").read_bytes())
    installed = tmp_path / "speech_deepfake_detection-9.9.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: speech-deepfake-detection\nVersion: 9.9\n")
    code = "from deepfake.version import project_version; print(project_version())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)}
    )
    assert done.stdout == "9.9\n"


def test_changelog_and_citation_are_of_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changelog, re.M)[1] == VERSION
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == VERSION
    assert {"cff-version", "message", "title", "authors", "license", "type"} <= set(citation)


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_file_named_for_contributors_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    paths = re.findall(r"`([\w.-]+/[\w./-]*\w)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [name for name in linked if not (ROOT / name).exists()] == []


def test_every_registry_named_for_contributors_is_in_the_file_named_with_it() -> None:
    named = re.findall(r"`([A-Z_]{4,})` (?:in|of) `([\w/]+\.py)`", CONTRIBUTING)
    assert len(named) >= 7
    for name, path in named:
        assert re.search(rf"^{name}\b", (ROOT / path).read_text(encoding="utf-8"), re.M), (name, path)
