"""The card says what the run recorded, and nothing else."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from conftest import RECORDINGS, run
from huggingface_hub import ModelCard

from data_prep.errors import UserError
from model_card.build import render_card, write_card
from model_card.gaps import gaps


@pytest.fixture(scope="module")
def results(trained: Path) -> dict:
    return json.loads((trained / "results.json").read_text())


def numbers_in(value: object) -> set[str]:
    """Every number recorded anywhere in `value`, in each way the card writes numbers."""
    if isinstance(value, dict):
        return set().union(*(numbers_in(v) for v in value.values()), set())
    if isinstance(value, list):
        return set().union(*(numbers_in(v) for v in value), set())
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, (int, float)):
        return {str(value), f"{value:,}", f"{value:.3f}", f"{value:.4f}", f"{value:g}", str(round(value, 4))}
    return set(re.findall(r"\d[\d,.]*\d|\d", str(value)))


def test_every_number_was_recorded(trained: Path, results: dict) -> None:
    content = ModelCard((trained / "README.md").read_text()).content
    recorded = numbers_in(results)
    trained_share = results["model"]["trained_parameters"] / results["model"]["parameters"]
    recorded |= {f"{100 * trained_share:.1f}"}
    body = content.split("## Results")[1].split("## Limits")[0]
    body = body.replace("95 % interval", "")
    assert {n for n in re.findall(r"\d[\d,.]*\d|\d", body)} - recorded == set()


def test_metadata_is_what_the_hub_reads(trained: Path, results: dict) -> None:
    data = ModelCard((trained / "README.md").read_text()).data
    assert (data.library_name, data.pipeline_tag, data.license) == (
        "transformers",
        "audio-classification",
        "apache-2.0",
    )
    assert "deepfake-detection" in data.tags
    measured = {(r.dataset_split, r.metric_type): r.metric_value for r in data.eval_results}
    for split in ("validation", "test"):
        for key, hub in (("roc_auc", "roc_auc"), ("eer", "eer"), ("accuracy", "accuracy")):
            assert measured[split, hub] == round(results[split]["metrics"][key], 4)


def test_base_model_is_named_by_hub_id_only(results: dict, trained: Path) -> None:
    detector = json.loads((trained / "config.json").read_text())["detector"]
    fine_tuned = results | {"model": results["model"] | {"base_model": "org/base", "from_scratch": False}}
    card = ModelCard(render_card(fine_tuned, detector, "org/new"))
    assert card.data.base_model == "org/base"
    assert "fine-tuned from org/base" in card.content
    assert ModelCard((trained / "README.md").read_text()).data.base_model is None


def test_building_again_gives_the_same_text(trained: Path) -> None:
    before = (trained / "README.md").read_bytes()
    run(sys.executable, "-m", "model_card", trained)
    assert (trained / "README.md").read_bytes() == before


def test_no_path_of_this_machine(trained: Path, dataset_dir: Path) -> None:
    text = (trained / "README.md").read_text()
    assert str(dataset_dir) not in text
    assert str(trained.parent) not in text


def test_gaps_are_named(results: dict) -> None:
    said = " ".join(gaps(results))
    assert "too few to say" in said
    assert "No out-of-domain set" in said
    leaked = results | {"data": results["data"] | {"recordings_in_several_splits": 3}}
    assert any("3 recordings occur in more than one split" in g for g in gaps(leaked))
    base = results | {"model": results["model"] | {"from_scratch": False}}
    assert any("start checkpoint" in g for g in gaps(base))
    assert any("There is no test split" in g for g in gaps({k: v for k, v in results.items() if k != "test"}))


def test_usage_snippet_runs(trained: Path, tmp_path: Path) -> None:
    text = (trained / "README.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", text, re.S)[1]
    (tmp_path / trained.name).symlink_to(trained)
    (tmp_path / "speech.wav").write_bytes((RECORDINGS / "real" / "vctk_p226.wav").read_bytes())
    done = run(sys.executable, "-c", snippet, cwd=tmp_path, PYTHONPATH="")
    assert re.fullmatch(r"(real|fake) [\d.e-]+", done.stdout.strip())


def test_folder_without_a_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no results.json"):
        write_card(tmp_path)
