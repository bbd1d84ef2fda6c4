"""The convex fit: finds what is planted, ignores what is projected out, holds out whole generators and voices."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from datasets import Dataset

from compact.modeling_compact import LinearHead
from data_prep.audio import encode_flac
from data_prep.errors import UserError
from infer import Detector
from scoring.reading import Reading
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
from training.leave_out import Scorer, fit_scorer, out_of_fold
from training.statistics import CHANNELS, measure_clips

SHIPPED = ROOT / "checkpoints" / "compact"
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
    return table, Measured(statistics, np.arange(len(x)), empty, empty)


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
    assert np.allclose(alone.score(measured, np.flatnonzero(held), "clean"), scores[held])


def test_a_head_counts_as_much_as_it_is_told() -> None:
    x, clips = planted()
    table, measured = table_of(x, clips)
    rows = np.arange(len(x))
    twice = [
        {"conv": part["conv"], "spectrum": part["conv"]} for part in (measured.clips, measured.real, measured.fake)
    ]
    two = Measured(twice[0], measured.row, *twice[1:])

    def scores(**weights: float) -> np.ndarray:
        options = dataclasses.replace(OPTIONS, head_weights=weights)
        return fit_scorer(table, two, rows, options).score(two, rows, "clean")

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


def test_a_clip_is_scored_by_the_fit_as_by_the_detector(speech: np.ndarray, tmp_path: Path) -> None:
    """Over several windows, silent ones left out; without speech not at all; the second time from the cache."""
    second = 16_000
    pause = np.concatenate((speech[: 4 * second], np.zeros(30 * second, np.float32), speech[6 * second : 8 * second]))
    clips = [pause, speech[: 3 * second], np.zeros(second, np.float32), speech[: 14 * second]]
    encoded = [(f"{i}.flac", f"{i}.flac", encode_flac(samples)) for i, samples in enumerate(clips)]
    detector = Detector.from_pretrained(SHIPPED)
    results = list(detector.analyse_readings(Reading(data) for _, _, data in encoded))
    windows = [result.windows for result in results]
    assert windows == [2, 1, 0, 2]  # the first is cut into five
    scorer = Scorer({name: as_fitted(head) for name, head in detector.checkpoint.model.heads.items()})
    for _ in range(2):
        cut = (detector.plan.window, detector.plan.hop)
        statistics, row = measure_clips(detector.checkpoint.model, encoded, tmp_path, 0, cut, 1)
        assert row.tolist() == np.repeat(np.arange(4), windows).tolist()
        scores = scorer.score(Measured(statistics, row, {}, {}), np.arange(4), "clean")
        assert scores[[0, 1, 3]] == pytest.approx([result.logit for result in results if result.windows], abs=1e-4)
        assert np.isnan(scores[2])
    some = scorer.score(Measured(statistics, row, {}, {}), np.array([1, 3]), "clean")
    assert some == pytest.approx(scores[[1, 3]])
    assert len(list(tmp_path.glob("*.npz"))) == 1


def as_fitted(head: LinearHead) -> Head:
    arrays = (getattr(head, name).detach().double().numpy() for name in ("mean", "std", "weight"))
    return Head(*arrays, head.bias.item(), head.clip)


def test_what_is_fitted_on_are_windows_and_a_silent_clip_is_none() -> None:
    x, clips = planted()
    table, measured = table_of(x, clips)
    rows, without = np.arange(len(x)), np.delete(np.arange(len(x)), 7)
    spoiled = x.copy()
    spoiled[7] = 1e3
    found = table_of(spoiled, clips)[1].clips
    dropped = {head: {c: values[without] for c, values in channels.items()} for head, channels in found.items()}
    silent = Measured(dropped, without, measured.real, measured.fake)
    one, other = fit_scorer(table, silent, rows, OPTIONS), fit_scorer(table, measured, without, OPTIONS)
    assert np.array_equal(one.heads["conv"].weight, other.heads["conv"].weight)
    scores = one.score(silent, rows, "clean")
    assert np.flatnonzero(np.isnan(scores)).tolist() == [7]
    assert silent.heard(len(x)).tolist() == (rows != 7).tolist()
