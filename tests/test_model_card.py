"""The card says what was recorded, and nothing else; and says what the record cannot carry."""

from __future__ import annotations

import json
import re
import shutil
import sys
from ast import literal_eval
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from conftest import RECORDINGS, ROOT, run
from huggingface_hub import DatasetCard, ModelCard, ModelCardData, metadata_load
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

import evaluation.__main__
from deepfake.errors import UserError
from deepfake.judging.codec import to_json
from deepfake.judging.limits import MIN_RECORDINGS, gaps
from deepfake.judging.report import read_report
from model_card.__main__ import write
from model_card.build import render_card, write_card
from model_card.record import Record
from model_card.tables import METRICS

SYSTEM_E = Path(__file__).parent / "data" / "system_e"
TEMPLATES = ROOT / "model_card"


@pytest.fixture(scope="module")
def documented(
    trained: Path, dataset_dir: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A trained detector with its report, a set from elsewhere and a base model in it, and a card of all that."""
    folder = tmp_path_factory.mktemp("documented") / "detector"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    sets = ["--dataset", str(dataset_dir), "--ood", str(dataset_dir)]
    models = ["--model", str(trained), "--base-model", str(tiny_checkpoint)]
    output = ["--output", str(folder / "report"), "--resamples", "50"]
    assert evaluation.__main__.main(["report", *models, *sets, *output]) == 0
    run(sys.executable, "-m", "model_card", folder)
    return folder


def changed(record: Record, **facts: object) -> Record:
    """The record with other facts of its run; in dictionaries, those of their parts."""
    run = record.run
    parts = {k: replace(getattr(run.facts, k), **v) if isinstance(v, dict) else v for k, v in facts.items()}
    return replace(record, run=replace(run, facts=replace(run.facts, **parts)))


def rejudged(record: Record, **changes: object) -> Record:
    """The record with another judgement of its run."""
    return replace(record, run=replace(record.run, judgement=replace(record.run.judgement, **changes)))


def recorded_in(record: Record) -> set[str]:
    """Every number that the card may state: the points of the report's curves are none of them."""
    values = [to_json(record.run), to_json(record.report), record.detector]
    return set().union(*(numbers_in(value) for value in values))


def headings(record: Record) -> list[str]:
    return [gap.heading for gap in gaps(record.evidence())]


def numbers_in(value: object) -> set[str]:
    """Every number recorded anywhere in `value`, in each way the card writes numbers."""
    if isinstance(value, dict):
        return set().union(*(numbers_in(v) | numbers_in(k) for k, v in value.items() if k != "series"), set())
    if isinstance(value, list):
        return set().union(*(numbers_in(v) for v in value), set())
    if isinstance(value, bool) or value is None:
        return set()
    if isinstance(value, (int, float)):
        ways = {str(value), f"{value:,}", f"{value:.3f}", f"{value:.4f}", f"{value:g}", str(round(value, 4))}
        return {way.removeprefix("-") for way in ways} | words_with_digits(yaml.safe_dump(value))
    return words_with_digits(str(value))


def words_with_digits(text: str) -> set[str]:
    return set(re.findall(r"\d[\d,.]*\d|\d", text))


@pytest.mark.parametrize("which", ["trained", "documented", "system_e"])
def test_every_number_was_recorded(which: str, request: pytest.FixtureRequest) -> None:
    folder = SYSTEM_E if which == "system_e" else request.getfixturevalue(which)
    record = Record.load(folder)
    recorded = recorded_in(record)
    fixed = words_with_digits((TEMPLATES / "template.md").read_text()) | {str(MIN_RECORDINGS), "0.5"}
    body = ModelCard(render_card(record, folder.name)).content.split("---\n", 2)[-1]
    assert words_with_digits(body) - recorded - fixed - words_with_digits(folder.name) == set()
    assert len(words_with_digits(body) - fixed) > 20  # it does hold numbers


def test_an_invented_number_would_be_noticed(trained: Path) -> None:
    """Four of five numbers of three digits stand nowhere in the record."""
    possible = {f"{thousandths / 1000:.3f}" for thousandths in range(1001)}
    assert len(possible - recorded_in(Record.load(trained))) > 800


def test_metadata_is_what_the_hub_reads(trained: Path) -> None:
    data = ModelCard((trained / "README.md").read_text()).data
    sets = Record.load(trained).sets
    assert (data.library_name, data.pipeline_tag) == ("transformers", "audio-classification")
    assert data.license == "apache-2.0"
    assert "deepfake-detection" in data.tags
    measured = {(r.dataset_split, r.metric_type): r.metric_value for r in data.eval_results}
    for split in ("validation", "test"):
        for key, hub in (("roc_auc", "roc_auc"), ("eer", "eer"), ("accuracy", "accuracy")):
            assert measured[split, hub] == round(sets[split].value(key), 4)


def test_the_hub_reads_every_entry_that_it_filters_by(trained: Path) -> None:
    """By the Hub's own reader: names of the base model, the dataset and the languages, and the results as an index."""
    record = Record.load(trained)
    train = replace(record.run.facts.data.splits["train"], languages={"en-GB": 15, "en/zh": 12, "zh": 8, "und": 90})
    told = changed(
        record,
        model={"base_model": "org/base", "from_scratch": False},
        data={"name": "org/clips", "splits": {"train": train}},
    )
    data = ModelCard(render_card(told, "org/new")).data
    assert (data.base_model, data.base_model_relation, data.datasets) == ("org/base", "finetune", ["org/clips"])
    assert data.language == ["en", "zh"]
    of_folder = ModelCard((trained / "README.md").read_text()).data
    assert (of_folder.datasets, of_folder.language) == (None, None)  # a folder is no dataset of the Hub
    assert "base_model_relation" not in of_folder


@pytest.mark.parametrize("which", ["trained", "compact"])
def test_the_metadata_keeps_to_what_the_hub_knows(which: str, request: pytest.FixtureRequest) -> None:
    from transformers.pipelines import SUPPORTED_TASKS

    folder = ROOT / "checkpoints/compact" if which == "compact" else request.getfixturevalue(which)
    written = metadata_load(folder / "README.md")
    data = ModelCardData(**{key: value for key, value in written.items() if key != "model-index"})
    name, results = model_index_to_eval_results(written["model-index"])
    assert eval_results_to_model_index(name, results) == written["model-index"]
    assert data.pipeline_tag in SUPPORTED_TASKS
    assert {result.task_type for result in results} == {data.pipeline_tag}
    assert {result.metric_type for result in results} <= set(data.metrics)
    assert all(0 <= result.metric_value <= 1 and result.dataset_split for result in results)
    assert name == folder.name
    for names in (data.tags, data.metrics, written.get("language", ["en"])):
        assert len(set(names)) == len(names)
        assert all(re.fullmatch("[a-z0-9_-]+", one) for one in names)
    # Fields whose names the Hub's documentation of model cards gives; another would be passed over in silence.
    assert set(written) <= {
        "language", "library_name", "license", "base_model", "base_model_relation", "datasets", "metrics",
        "pipeline_tag", "tags", "model-index",
    }  # fmt: skip
    if which == "compact":
        assert {"language", "base_model", "base_model_relation"} <= set(written)
        assert {"en", "zh"} <= set(data.language)


def test_the_card_opens_with_the_worst_cells_of_the_record(documented: Path) -> None:
    """The cells and the gap are the report's; a record without cells says so, and shows its worst parts."""
    text = (documented / "README.md").read_text()
    opening = text[text.index("## The worst case") : text.index("## How to use")]
    test = read_report(documented / "report" / "report.json").judgement.sets["test"]
    worst = test.matrix.cells[0]
    for said in (str(worst.hter), f"{test.matrix.mean:.3f}", str(test.matrix.pooled), f"{test.matrix.gap:.3f}"):
        assert said in opening
    assert f"| {worst.family} | {worst.human} | {worst.channel} | {worst.real} | {worst.fake} |" in opening
    shipped = (ROOT / "checkpoints/compact/README.md").read_text()
    opening = shipped[shipped.index("## The worst case") : shipped.index("## How to use")]
    assert "The record has no cells" in opening
    missed = [
        float(row.split(" | ")[3].split()[0])
        for row in opening.splitlines()
        if row.startswith(("| kind", "| sy", "| year"))
    ]
    assert len(missed) == 5
    assert missed == sorted(missed, reverse=True)
    assert "where it is weakest is not known" in render_card(Record.load(SYSTEM_E), "x")


def test_base_model_is_named_by_hub_id_only(trained: Path) -> None:
    record = Record.load(trained)
    fine_tuned = changed(record, model={"base_model": "org/base", "from_scratch": False})
    card = ModelCard(render_card(fine_tuned, "org/new"))
    assert card.data.base_model == "org/base"
    assert "fine-tuned from org/base" in card.content
    assert ModelCard((trained / "README.md").read_text()).data.base_model is None


@pytest.mark.parametrize("which", ["trained", "documented"])
def test_building_again_gives_the_same_text(which: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(which)
    before = (folder / "README.md").read_bytes()
    assert write_card(folder).read_bytes() == before


def test_no_path_of_this_machine(documented: Path, dataset_dir: Path) -> None:
    text = (documented / "README.md").read_text()
    assert str(dataset_dir) not in text
    assert str(documented.parent) not in text


def test_shape_of_the_whole_card(documented: Path) -> None:
    """Every heading in order, every section filled, every table with rows as wide as its head."""
    text = (documented / "README.md").read_text()
    body = text.split("---\n", 2)[2]
    found = re.findall(r"^(#+) (.*)$", re.sub(r"```.*?```", "", body, flags=re.S), re.M)
    sections = [title for level, title in found if level == "##"]
    assert sections == [
        "The worst case", "How to use", "Results", "What these numbers do not show", "Training data", "Training",
        "Limits and intended use",
    ]  # fmt: skip
    parts = [title for level, title in found if level == "###"]
    # The chunks of this dataset do not say which generator made them, so nothing can be said per generator.
    assert parts[:4] == [
        "Human speech called fake", "Elsewhere, and beside its base model", "How strong a statement may be",
        "Operating points",
    ]  # fmt: skip
    assert parts[4:] == headings(Record.load(documented))
    assert not re.search(r"\n{3,}", body)
    assert not re.search(r"\{\{|\{%|None|nan\b|undefined\(", body.replace("None of the gaps", ""))
    for block in re.findall(r"(?:^\|.*\|\n)+", body, re.M):
        widths = {line.count("|") for line in block.splitlines()}
        assert len(widths) == 1
        assert len(block.splitlines()) > 2


def test_report_brings_control_and_out_of_domain_into_the_card(documented: Path, trained: Path) -> None:
    with_report, without = (Record.load(folder) for folder in (documented, trained))
    assert "No out-of-domain set" in headings(without)
    assert "No out-of-domain set" not in headings(with_report)
    text = (documented / "README.md").read_text()
    base = with_report.report.judgement.base.sets["test"].metrics["roc_auc"]
    assert f"| base model model | {base}" in text


def test_card_and_report_say_the_same_of_a_set(documented: Path) -> None:
    """Both read one record: each cell of the card's table of results is the estimate in report.json."""
    record = Record.load(documented)
    reported = read_report(documented / "report" / "report.json").judgement.sets["test"]
    table = re.search(r"^\|  \| validation.*?\n\n", (documented / "README.md").read_text(), re.M | re.S)[0]
    rows = [line.strip("| ").split(" | ") for line in table.strip().splitlines()[2:]]
    assert {title: test for title, _, test in rows} == {
        title: str(reported.metrics[key]) for key, title in METRICS.items()
    }
    assert record.sets["test"] == reported
    assert record.sets["validation"] == record.run.judgement.sets["validation"]


def test_each_gap_has_its_heading(trained: Path) -> None:
    record = Record.load(trained)
    assert {"Too few recordings in test", "No out-of-domain set", "Unseen generators unknown"} <= set(headings(record))
    threshold, sets = record.run.judgement.threshold, record.run.judgement.sets
    leaked = changed(record, data={"recordings_in_several_splits": 3})
    assert headings(leaked)[0] == "Leaked split"
    assert "must not be quoted" in render_card(leaked, "x")
    assert ModelCard(render_card(leaked, "x")).data.eval_results is None
    on_test = rejudged(record, threshold=replace(threshold, split="test"))
    assert "Threshold chosen on the reported clips" in headings(on_test)
    assert ModelCard(render_card(on_test, "x")).data.eval_results is None
    moved = rejudged(record, threshold=replace(threshold, value=threshold.value + 0.5))
    assert "More than one threshold" in headings(moved)
    base = changed(record, model={"from_scratch": False})
    assert "No base control on test" in headings(base)
    no_test = rejudged(record, sets={"validation": sets["validation"]})
    assert "No untouched test set" in headings(no_test)
    assert "Not repeatable" not in headings(record)
    assert "Not repeatable" in headings(changed(record, data={"preparation": None}))


def test_system_e_is_found_out_in_every_fault() -> None:
    """Published numbers of the wav2vec2 detector: each fault known of it stands under a heading of its own."""
    found = {gap.heading: gap.text for gap in gaps(Record.load(SYSTEM_E).evidence())}
    assert "clip by clip" in found["Leaked split"]
    assert "94 real and 93 fake clips" in found["Counts do not match the split"]
    assert "counts of test" in found["Counts do not match the split"]
    assert "picked on validation" in found["Threshold chosen on the reported clips"]
    for value in ("0.9 (results)", "0.4 (notebooks)", "0.5 (card)", "argmax (handler)"):
        assert value in found["More than one threshold"]
    assert "first 30 s" in found["Long recordings are cut off"]
    assert "training code" in found["Not repeatable"]
    assert "how the dataset was prepared" in found["Not repeatable"]
    worse = found["Worse than its base model on Podonos benchmark"]
    assert "0.5555" in worse
    assert "0.6289" in worse
    assert "14 real" in found["Too few recordings in validation"]
    assert {"No base control on validation", "No interval in validation", "No untouched test set"} <= set(found)


def test_card_of_system_e_is_this_text() -> None:
    text = render_card(Record.load(SYSTEM_E), "wav2vec2-deepfake-voice-detector")
    assert text == (SYSTEM_E / "README.md").read_text()
    assert ModelCard(text).data.eval_results is None  # numbers from leaked splits are not offered for ranking


def test_usage_snippet_runs(trained: Path, tmp_path: Path) -> None:
    text = (trained / "README.md").read_text()
    snippet, by_pipeline = re.findall(r"```python\n(.*?)```", text, re.S)
    (tmp_path / trained.name).symlink_to(trained)
    (tmp_path / "speech.wav").write_bytes((RECORDINGS / "real" / "vctk_p226.wav").read_bytes())
    done = run(sys.executable, "-c", snippet + by_pipeline, cwd=tmp_path, PYTHONPATH="", PATH="")
    told, answers = done.stdout.strip().splitlines()
    assert re.fullmatch(r"(real|fake) [\d.e-]+", told)
    by_name = {answer["label"]: answer["score"] for answer in literal_eval(answers)}
    assert by_name["fake"] == pytest.approx(float(told.split()[1]), abs=1e-5)


def test_the_pipeline_takes_any_file_through_our_decoder_without_ffmpeg(trained: Path) -> None:
    """The way for those who have the project: an m4a, no system package, and the probability that infer.py gives."""
    code = f"""
import sys
from transformers import pipeline
from deepfake.audio.decode import load_audio
from infer import Detector

clip = load_audio({str(RECORDINGS / "real" / "asterisk_allison_en.m4a")!r})[:64_000]
answers = pipeline("audio-classification", model=sys.argv[1])({{"raw": clip, "sampling_rate": 16000}})
fake = next(answer["score"] for answer in answers if answer["label"] == "fake")
assert abs(fake - Detector.from_pretrained(sys.argv[1]).score(clip, 16000).fake_probability) < 1e-5
"""
    run(sys.executable, "-c", code, trained, PATH="")


def test_folders_without_a_record_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no results.json"):
        write_card(tmp_path)
    (tmp_path / "results.json").write_text("{cut")
    with pytest.raises(UserError, match="not readable as JSON"):
        write_card(tmp_path)


def test_dataset_card_says_what_the_build_reported(dataset_dir: Path, tmp_path: Path) -> None:
    for name in ("report.json", "dataset_dict.json"):
        shutil.copy(dataset_dir / name, tmp_path / name)
    texts = []
    for _ in range(2):
        assert write(tmp_path) == tmp_path / "README.md"
        texts.append((tmp_path / "README.md").read_text())
    assert texts[0] == texts[1]
    report = json.loads((tmp_path / "report.json").read_text())
    card = DatasetCard(texts[0])
    assert "deepfake-detection" in card.data.tags
    for split, row in report["totals"].items():
        for label, cell in row.items():
            line = f"| {split} | {label} | {cell['recordings']} | {cell['chunks']} | {cell['minutes']:.2f} |"
            assert line in card.content
    assert "### Too few recordings in test" in card.content
    assert "### No speaker" in card.content
    assert texts[0] == (dataset_dir / "README.md").read_text()  # the one that the build wrote: there is one author
    fixed = {str(MIN_RECORDINGS), "16"}  # kHz
    written = {f"{c['minutes']:.2f}" for row in report["totals"].values() for c in row.values()}
    written |= {f"{sum(c['chunks'] for row in report['totals'].values() for c in row.values()):,}"}
    used = [entry for entry in report["recordings"] if entry["status"] == "used"]
    counted = [Counter(entry[key] for entry in used).values() for key in ("corpus", "generator")]
    written |= {str(len(used)), *(str(n) for counts in counted for n in counts)}
    body = card.content.split("---\n", 2)[-1]
    assert words_with_digits(body) - numbers_in(report) - written - fixed == set()
