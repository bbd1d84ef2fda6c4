"""The convex fit: finds what is planted, ignores what is projected out, holds out whole generators and voices."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT
from datasets import Dataset, DatasetDict, load_from_disk

from data_prep.errors import UserError
from judging.limits import gaps
from judging.run import read_run
from model_card.record import Record
from train_wav2vec2 import main
from training.clip_table import ClipTable, Measured
from training.convex import (
    Clips,
    FitOptions,
    Head,
    balanced_weights,
    damped_directions,
    fit_head,
    nuisance_basis,
    platt,
)
from training.convex_options import convex_options
from training.convex_run import calibrated
from training.leave_out import fit_scorer, out_of_fold
from training.statistics import CHANNELS

OPTIONS = FitOptions(min_campaign_clips=5)
MAPPING = {
    "convolutions": "x",
    "families": {"a": "^a", "b": "^b"},
    "campaigns": {"c": "^c", "d": "^$"},
    "folds": [["a", "c"], ["b", "d"]],
}


def planted(seed: int = 0, n: int = 400, width: int = 20) -> tuple[np.ndarray, Clips]:
    """Column 0 says fake; column 1 says campaign, and campaign goes with the label; column 2 says speaker."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    kind = np.where(label == 1, np.where(rng.random(n) < 0.8, "a", "b"), np.where(rng.random(n) < 0.5, "c", "d"))
    speaker = np.array([f"s{i % 23}" for i in range(n)])
    x = rng.standard_normal((n, width))
    x[:, 0] += 1.5 * label
    x[:, 1] += 8.0 * (kind == "c")
    x[:, 2] += np.array([hash_of(s) for s in speaker])
    return x, Clips(label, kind, speaker)


def hash_of(name: str) -> float:
    return (int(name[1:]) * 7 % 23 - 11) / 3


def test_a_planted_direction_is_found_and_projected_ones_are_ignored() -> None:
    x, clips = planted()
    head = fit_head([x], clips, [], OPTIONS)
    standard = head.weight
    assert abs(standard[0]) > 0.8 * np.linalg.norm(standard)
    basis = nuisance_basis(np.clip((x - head.mean) / head.std, -6, 6), clips, OPTIONS)
    assert np.abs(basis.T @ standard).max() < 1e-9
    blind = fit_head([x], clips, [], dataclasses.replace(OPTIONS, campaign_directions=0, speaker_directions=0))
    assert np.abs(standard[1]) < 0.3 * np.abs(blind.weight[1])  # what it would have listened to


def test_a_channel_penalty_is_the_quadratic_penalty_it_is_said_to_be() -> None:
    x, clips = planted()
    x[:, 3] += clips.label  # as good as column 0 in clean recordings, and moved by the channel
    rng = np.random.default_rng(1)
    through = x.copy()
    through[:, 3] += 3.0 * rng.standard_normal(len(x))
    through[:, 4] -= rng.random(len(x))
    free, held = (
        fit_head([x, through], clips, [], dataclasses.replace(OPTIONS, channel_penalty=penalty)) for penalty in (0, 30)
    )

    def moved(head: Head) -> float:
        return float(np.square(head.score(through) - head.score(x))[clips.label == 0].mean() / head.score(x).var())

    assert moved(held) < 0.5 * moved(free)
    # The gradient of loss + l2 / 2 (|w|^2 + penalty * mean square movement) is zero, up to the head's scale.
    standard = [np.clip((c - held.mean) / held.std, -6, 6) for c in (x, through)]
    basis = nuisance_basis(standard[0], clips, OPTIONS)
    a, b = (c - (c @ basis) @ basis.T for c in standard)
    covariance = (b - a)[clips.label == 0].T @ (b - a)[clips.label == 0] / (clips.label == 0).sum()
    weights = np.tile(balanced_weights(clips), 2) / 2
    stacked, labels = np.concatenate([a, b]), np.tile(clips.label, 2)
    found = [
        np.linalg.norm(
            stacked.T @ (weights * (1 / (1 + np.exp(-(stacked @ held.weight + held.bias) * k)) - labels))
            + OPTIONS.l2 * k * (held.weight + 30 * covariance @ held.weight)
        )
        for k in np.geomspace(0.02, 5, 400)
    ]
    assert min(found) < 2e-3 < found[0]


@pytest.mark.parametrize("clips", [8, 50])
def test_damped_directions_are_orthonormal_and_carry_the_movement(clips: int) -> None:
    moved = np.random.default_rng(0).standard_normal((clips, 20)) * np.linspace(3, 0.1, 20)
    directions, share = damped_directions(moved, 2.0)
    assert directions.shape == (20, min(clips, 20))
    assert np.allclose(directions.T @ directions, np.eye(len(share)), atol=1e-8)
    assert np.allclose((1 - share) ** -2, 1 + 2 * np.square(moved @ directions).mean(0))
    assert damped_directions(moved, 0.0)[0].shape == (20, 0)


def test_scores_have_unit_spread_and_do_not_depend_on_the_order_of_clips() -> None:
    x, clips = planted()
    head = fit_head([x], clips, [], OPTIONS)
    assert np.isclose(head.score(x).std(), 1.0, atol=0.05)
    order = np.random.default_rng(1).permutation(len(x))
    again = fit_head([x[order]], clips[order], [], OPTIONS)
    assert np.allclose(again.score(x), head.score(x), atol=1e-3)


def test_pairs_teach_what_the_clips_do_not() -> None:
    x, clips = planted()
    rng = np.random.default_rng(3)
    real = rng.standard_normal((60, x.shape[1]))
    fake = real.copy()
    fake[:, 5] += 1.0
    without = fit_head([x], clips, [], OPTIONS).weight[5]
    assert fit_head([x], clips, [(real, fake)], OPTIONS).weight[5] > without + 0.1


def test_classes_weigh_the_same_families_alike_and_large_campaigns_by_their_root() -> None:
    label = np.array([0] * 20 + [1] * 11)
    kind = np.array(["c"] * 16 + ["d"] * 4 + ["a"] * 10 + ["b"])
    weights = balanced_weights(Clips(label, kind, kind))
    assert weights[label == 0].sum() == pytest.approx(0.5)
    assert weights[kind == "a"].sum() == pytest.approx(weights[kind == "b"].sum())
    assert weights[kind == "c"].sum() == pytest.approx(2 * weights[kind == "d"].sum())


def test_platt_gives_log_odds_at_equal_priors() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(60_000) % 6 == 0).astype(int)  # a skewed prior must not show
    scores = rng.standard_normal(60_000) + 2 * labels  # log-likelihood ratio: 2 s - 2
    slope, offset = platt(scores, labels)
    assert (slope, offset) == (pytest.approx(2.0, abs=0.1), pytest.approx(-2.0, abs=0.1))


def test_the_threshold_leaves_the_asked_share_of_real_clips_below_it() -> None:
    rng = np.random.default_rng(0)
    labels, rows = np.arange(1000) % 2, np.ones(1000, dtype=bool)
    scores = {channel: rng.standard_normal(1000) + labels for channel in ("clean", "telephone")}
    slope, offset, threshold = calibrated(scores, labels, rows, 0.9)
    pooled = np.concatenate([slope * s[labels == 0] + offset for s in scores.values()])
    assert (pooled < threshold).mean() == pytest.approx(0.9, abs=2e-3)


def table_of(x: np.ndarray, clips: Clips) -> tuple[ClipTable, Measured]:
    options = convex_options(MAPPING)
    fold = np.array([options.fold(kind) for kind in clips.kind])
    rows = Dataset.from_dict({"source": [str(i) for i in range(len(x))]})
    true = np.ones(len(x), dtype=bool)
    table = ClipTable(rows, clips, np.full(len(x), "train"), fold, true, [], np.zeros(0, dtype=int))
    statistics = {"conv": {channel: x for channel in CHANNELS}}
    empty = {"conv": {channel: x[:0] for channel in CHANNELS}}
    return table, Measured(statistics, empty, empty)


def test_out_of_fold_scores_know_nothing_of_their_fold_or_its_voices() -> None:
    x, clips = planted()
    # Real clips of the first fold share their voices with some fakes of the second fold.
    second = np.isin(clips.kind, ("b", "d"))
    clips = Clips(clips.label, clips.kind, np.where(second & (np.arange(len(x)) % 8 != 1), "elsewhere", "here"))
    speaker = np.array([f"{name} {i % 9}" for i, name in enumerate(clips.speaker)])
    clips = Clips(clips.label, clips.kind, speaker)
    table, measured = table_of(x, clips)
    first = table.fold == 0
    before = out_of_fold(table, measured, table.usable, 2, OPTIONS)["clean"]
    voices = np.unique(clips.speaker[first & (clips.label == 0)])
    shared = np.isin(clips.speaker, voices) & ~first
    assert shared.any()
    spoiled = x.copy()
    spoiled[shared] += 100.0
    table, measured = table_of(spoiled, clips)
    assert np.array_equal(out_of_fold(table, measured, table.usable, 2, OPTIONS)["clean"][first], before[first])


def test_rows_out_of_scope_get_no_score() -> None:
    x, clips = planted()
    clips = Clips(clips.label, clips.kind, np.array([f"own {i}" for i in range(len(x))]))
    table, measured = table_of(x, clips)
    scope = np.arange(len(x)) < 300
    scores = out_of_fold(table, measured, scope, 2, OPTIONS)["clean"]
    assert np.isnan(scores[~scope]).all()
    spoiled = x.copy()
    spoiled[~scope] = 1e3
    table2, measured2 = table_of(spoiled, clips)
    assert np.array_equal(out_of_fold(table2, measured2, scope, 2, OPTIONS)["clean"][scope], scores[scope])
    held = scope & (table.fold == 0)
    alone = fit_scorer(table, measured, np.flatnonzero(scope & ~held), OPTIONS)
    assert np.allclose(alone.score(measured.clips, np.flatnonzero(held), "clean"), scores[held])


def test_a_head_counts_as_much_as_it_is_told() -> None:
    x, clips = planted()
    table, measured = table_of(x, clips)
    rows = np.arange(len(x))
    two = Measured(
        *({"conv": part["conv"], "spectrum": part["conv"]} for part in (measured.clips, measured.real, measured.fake))
    )

    def scores(**weights: float) -> np.ndarray:
        options = dataclasses.replace(OPTIONS, head_weights=weights)
        return fit_scorer(table, two, rows, options).score(two.clips, rows, "clean")

    assert np.allclose(scores(spectrum=3.0), 2 * scores())
    with pytest.raises(UserError, match="names spektrum; expected one of conv, spectrum"):
        scores(spektrum=2.0)


def test_unheard_families_are_scored_and_never_fitted_on() -> None:
    x, clips = planted()
    clips = Clips(clips.label, clips.kind, np.array([f"own {i}" for i in range(len(x))]))
    unheard = (clips.kind == "a") & (np.arange(len(x)) % 4 == 1)
    assert unheard.any()
    renamed = Clips(clips.label, np.where(unheard, "z", clips.kind), clips.speaker)

    def scores(values: np.ndarray) -> np.ndarray:
        table, measured = table_of(values, clips)
        table = dataclasses.replace(table, clips=renamed)
        return out_of_fold(table, measured, table.usable, 2, OPTIONS, ["z"])["clean"]

    before, after = scores(x), scores(np.where(unheard[:, None], x + 100.0, x))
    assert not np.isnan(before).any()
    assert np.array_equal(after[~unheard], before[~unheard])
    assert not np.array_equal(after[unheard], before[unheard])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"foldz": 1}, "unknown key convex.foldz; did you mean folds"),
        ({"families": {}}, "lacks families"),
        ({"families": {"a": "("}, "folds": [["a"], ["c"]]}, "pattern of a .* is broken"),
        ({"folds": [["a"], ["nobody"]]}, "names nobody"),
        ({"folds": [["a"]]}, "at least 2"),
        ({"published": ["nobody"]}, "convex.published names nobody"),
        ({"real_quantile": 92}, "expected a share between 0 and 1"),
    ],
)
def test_mistakes_in_the_mapping_are_one_sentence(change: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        convex_options(MAPPING | change)


@pytest.fixture(scope="module")
def named(dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded recordings with the generators "a" and "b" and the speakers "c" and "d", in turn."""
    folder = tmp_path_factory.mktemp("named") / "dataset"
    loaded = load_from_disk(str(dataset_dir))
    sources = [sorted({s for rows in loaded.values() for s, y in zip(rows["source"], rows["label"], strict=True)
                       if y == label}) for label in (0, 1)]  # fmt: skip
    kinds = {source: names[i % 2] for held, names in zip(sources, ("cd", "ab"), strict=True)
             for i, source in enumerate(held)}  # fmt: skip
    splits = {}
    for split, rows in loaded.items():
        found = [(kinds[source], label) for source, label in zip(rows["source"], rows["label"], strict=True)]
        rows = rows.remove_columns(["generator", "speaker"])
        rows = rows.add_column("generator", [kind if label else "human" for kind, label in found])
        splits[split] = rows.add_column("speaker", [None if label else kind for kind, label in found])
    DatasetDict(splits).save_to_disk(str(folder))
    shutil.copy(dataset_dir / "report.json", folder)
    return folder


@pytest.mark.slow
def test_a_whole_run_is_judged_and_documented(named: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What held-out generators say is in the record and in the card, digit for digit."""
    recipe = yaml.safe_load((ROOT / "configs" / "compact.yaml").read_text())
    recipe["convex"] = {
        "convolutions": "checkpoints/compact", "families": {"a": "^a", "b": "^b"}, "campaigns": {"c": "^c", "d": "^d"},
        "folds": [["a", "c"], ["b", "d"]], "leave_out": "*alice*", "iterations": 5,
    }  # fmt: skip
    recipe.pop("card_notes", None)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    output = tmp_path / "out"
    words = ["--config", tmp_path / "recipe.yaml", "--dataset", named, "--output_dir", output]
    monkeypatch.setattr(sys, "argv", ["train_wav2vec2.py", *map(str, words)])
    assert main() == 0
    record = read_run(output / "results.json")
    found, judgement = record.generalisation, record.judgement
    assert [row.name for row in found.families.rows] == ["a", "b"]
    assert found.held_out.fake == sum(row.fake for row in found.families.rows)
    aucs = [row.channels["codec"]["roc_auc"].value for row in found.families.rows]
    assert found.families.mean["codec"] == pytest.approx(np.mean(aucs))
    assert found.test.channels["clean"]["roc_auc"].value == judgement.sets["test"].value("roc_auc")
    assert {row.name for row in found.test_generators} == set(judgement.sets["test"].facts.generators) - {"human"}
    assert record.facts.training.best_value == judgement.sets["validation"].value("roc_auc")
    card = (output / "README.md").read_text()
    held = found.held_out.channels["telephone"]["recall_real"]
    assert f"{held}" in card
    headings = {gap.heading for gap in gaps(Record.load(output).evidence())}
    assert "No out-of-domain set" not in headings  # held-out generators are one
    assert (output / "scores_test.csv").is_file()
