"""The notebook runs from first to last cell, and is kept without what it printed."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import nbformat
import pytest
from conftest import RECORDINGS, ROOT
from nbclient import NotebookClient

from deepfake.models.choices import TIMELINE_HOP_S, TIMELINE_WINDOW_S

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


# Half of the embedded recordings, the shorter ones: enough for every split to have both classes.
FEW = ("real/vctk_p225.mp3", "real/vctk_p226.wav", "real/vctk_p227.flac",
       "fake/kokoro_af_bella.flac", "fake/kokoro_am_michael.wav", "fake/kokoro_bf_emma.mp3")  # fmt: skip


@pytest.mark.slow
def test_every_cell_runs_and_shows_what_it_is_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FEW:
        (tmp_path / "few" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RECORDINGS / name, tmp_path / "few" / name)
    output = tmp_path / "out"
    chosen = {"RECORDINGS": tmp_path / "few", "OUTPUT": output, "EPOCHS": 2, "OMP_NUM_THREADS": 1}
    for name, value in chosen.items():
        monkeypatch.setenv(name, str(value))
    for name in ("KAGGLE_DATASET", "CONFIG", "PROJECT_ROOT"):
        monkeypatch.delenv(name, raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # Started in examples/, as a notebook server does; the root is found from there.
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()

    for name in ("dataset/report.json", "detector/model.safetensors", "report/report.json", "scores.csv"):
        assert (output / name).is_file(), name
    results = [result for cell in notebook.cells for result in cell.get("outputs", [])]
    pictures = [result for result in results if "image/png" in result.get("data", {})]
    assert len(pictures) == 4  # the training, the ROC curve, the scores, the timeline
    printed = "".join(result.get("text", "") for result in results)
    assert "ROC-AUC" in printed
    assert "Traceback" not in printed
    scores = (output / "scores.csv").read_text(encoding="utf-8")
    assert scores.count("\n") == len(FEW) + 1
    assert list((output / "timeline").rglob("*.png"))


def test_nothing_that_a_run_left_is_kept_in_it() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_its_text_names_the_windows_that_the_timeline_uses() -> None:
    text = "\n".join(cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells)
    windows = re.search(r"windows of ([\d.]+) seconds, a new one every (half second|[\d.]+ s)", text)
    assert float(windows[1]) == TIMELINE_WINDOW_S
    assert {"half second": 0.5}.get(windows[2], windows[2]) == TIMELINE_HOP_S


def test_the_extra_that_it_tells_to_install_opens_it() -> None:
    text = nbformat.read(NOTEBOOK, as_version=4).cells[0].source
    assert '".[notebook]"`, then `jupyter lab examples/notebook.ipynb`' in text
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = {re.match(r"[\w-]+", requirement)[0] for requirement in project["optional-dependencies"]["notebook"]}
    assert {"jupyterlab", "ipykernel"} <= extra
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert all(re.search(rf"^{name}==", constraints, re.M) for name in extra)
