"""The notebook runs from first to last cell, and is kept without what it printed."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from conftest import RECORDINGS, ROOT
from nbclient import NotebookClient

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
