"""Splits: no group in two of them, every class in each, proportions by seconds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import UserError
from data_prep.splits import assign_splits, split_fractions

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["real", "fake"]), st.floats(2.5, 5000)), min_size=6, max_size=80),
    st.integers(1, 3),
    st.integers(0, 5),
    st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.9, 0.1, 0), (1, 0, 0)]),
)
def test_groups_stay_whole_and_every_split_has_both_classes(items, per_group, seed, values):
    fractions = split_fractions(values)
    labels = [label for label, _ in items]
    groups = [f"{label}{index // per_group}" for index, label in enumerate(labels)]  # groups of one label
    counts = [len({g for g in groups if g.startswith(label)}) for label in set(labels)]
    arguments = (groups, labels, [seconds for _, seconds in items], fractions, seed)
    if min(counts) < len(fractions):
        with pytest.raises(UserError, match="found"):
            assign_splits(*arguments)
        return
    splits = assign_splits(*arguments)
    assert splits == assign_splits(*arguments)
    assert len(set(zip(groups, splits, strict=True))) == len(set(groups))
    assert {(split, label) for split, label in zip(splits, labels, strict=True)} == {
        (split, label) for split in fractions for label in set(labels)
    }


def test_proportions_follow_seconds_for_each_label():
    seconds = [float(30 + 37 * index % 300) for index in range(400)]
    labels = ["real" if index % 4 else "fake" for index in range(400)]
    splits = assign_splits([str(i) for i in range(400)], labels, seconds, FRACTIONS, 1)
    for label in ("real", "fake"):
        total = sum(s for s, found in zip(seconds, labels, strict=True) if found == label)
        for split, fraction in FRACTIONS.items():
            held = sum(s for s, *key in zip(seconds, labels, splits, strict=True) if key == [label, split])
            assert held / total == pytest.approx(fraction, abs=0.01)


def test_the_seed_decides_who_is_tested():
    groups, labels = [str(i) for i in range(40)], ["real", "fake"] * 20
    tested = {
        tuple(
            g
            for g, s in zip(groups, assign_splits(groups, labels, [9.0] * 40, FRACTIONS, seed), strict=True)
            if s == "test"
        )
        for seed in range(8)
    }
    assert len(tested) > 5


def test_groups_that_hold_both_classes_stay_whole():
    groups = [f"speaker{index // 2}" for index in range(40)]
    labels = ["real", "fake"] * 20
    splits = assign_splits(groups, labels, [10.0] * 40, FRACTIONS, 0)
    assert splits[::2] == splits[1::2]
    assert set(splits) == set(FRACTIONS)


def test_too_few_recordings_say_how_many_and_what_to_do():
    with pytest.raises(UserError, match=r"found 2 real recordings .*at least 3.*--splits 0.8 0.2 0"):
        assign_splits(list("abcdef"), ["real", "real", "fake", "fake", "fake", "fake"], [1.0] * 6, FRACTIONS, 0)


@pytest.mark.parametrize(
    "values", [(0.8, 0.1, 0.2), (0.8, 0.2), (1.2, -0.1, -0.1), (0, 0.5, 0.5), (float("nan"), 0.5, 0.5)]
)
def test_wrong_fractions_are_refused(values):
    with pytest.raises(UserError, match="--splits"):
        split_fractions(values)


def test_a_fraction_of_zero_leaves_the_split_out():
    assert split_fractions((0.8, 0.2, 0.0)) == {"train": 0.8, "validation": 0.2}
