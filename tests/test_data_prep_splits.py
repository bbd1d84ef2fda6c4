"""Splits: no group in two of them, every class in each, proportions by seconds."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.layouts import Row
from data_prep.partition import SplitOptions, achieved, partition
from data_prep.splits import assign_splits, split_fractions
from deepfake.audio.files import AudioFile
from deepfake.errors import UserError
from deepfake.groups import connected_groups
from deepfake.labels import LABELS

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


def rows_of(*cells: tuple) -> list[Row]:
    """Rows from (label, speaker, generator, split); names are r0, r1 …"""
    return [
        Row(AudioFile(Path(f"r{i}.wav"), f"c/x/r{i}.wav"), label, "c", speaker, generator, None, split)
        for i, (label, speaker, generator, split) in enumerate(cells)
    ]


def grouped(rows, **options):
    groups = connected_groups([[("speaker", r.speaker) if r.speaker else None] for r in rows])
    return partition(rows, groups, [10.0] * len(rows), SplitOptions(FRACTIONS, **options))


MANY = [("real", f"s{i}", None, None) for i in range(30)] + [
    ("fake", f"s{i % 30}" if i % 3 else None, f"g{i % 5}", None) for i in range(60)
]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_groups_are_the_connected_components(pairs):
    keys = [[("a", a), ("b", b)] for a, b in pairs]
    groups = connected_groups(keys)
    for i, held in enumerate(keys):
        for j, other in enumerate(keys):
            if set(held) & set(other):
                assert groups[i] == groups[j]
    links = {frozenset((i, j)) for i, a in enumerate(keys) for j, b in enumerate(keys) if set(a) & set(b)}
    for group in set(groups):  # nothing is joined without a chain of shared keys
        members, reached = {i for i, g in enumerate(groups) if g == group}, {group}
        while grown := {j for i in reached for j in members if frozenset((i, j)) in links} - reached:
            reached |= grown
        assert reached == members


@pytest.mark.parametrize("seed", range(5))
def test_a_held_out_generator_and_all_that_is_connected_to_it_is_only_in_test(seed):
    rows = rows_of(*MANY[:30], *[(label, None if g == "g1" else s, g, p) for label, s, g, p in MANY[30:]])
    parted = grouped(rows, hold_out_generators=("g1",), seed=seed)
    assert {split for row, split in zip(rows, parted.splits, strict=True) if row.generator == "g1"} == {"test"}
    assert {"g0", "g2"} <= {r.generator for r, split in zip(rows, parted.splits, strict=True) if split == "train"}
    assert len(set(zip(parted.groups, parted.splits, strict=True))) == len(set(parted.groups))


def test_a_held_out_speaker_takes_real_and_fake_to_test():
    rows = rows_of(*MANY)
    parted = grouped(rows, hold_out_speakers=("s4",))
    held = [split for row, split in zip(rows, parted.splits, strict=True) if row.speaker == "s4"]
    assert set(held) == {"test"}
    assert len(held) > 1
    assert parted.forced == len(held)


def test_holding_out_what_is_connected_to_everything_says_so():
    rows = rows_of(*[("real", "one", None, None)] * 5, *[("fake", "one", f"g{i}", None) for i in range(5)])
    with pytest.raises(UserError, match="--group-by source"):
        grouped(rows, hold_out_generators=("g1",))
    with pytest.raises(UserError, match=r"--hold-out-generator g9 is no generator .* known are g0, g1"):
        grouped(rows, hold_out_generators=("g9",))


def test_a_name_that_nothing_has_is_answered_with_every_name_there_is():
    rows = rows_of(
        *[("real", f"s{i:03d}", None, None) for i in range(300)], *[("fake", None, f"g{i}", None) for i in range(9)]
    )
    with pytest.raises(UserError, match=f"known are {', '.join(f'g{i}' for i in range(9))}$"):
        grouped(rows, hold_out_generators=("nosuch",))
    with pytest.raises(UserError, match="known are s000, .*, s199 and 100 more$"):
        grouped(rows, hold_out_speakers=("nosuch",))


def test_the_corpus_own_splits_are_kept_and_their_leaks_told():
    cells = [(label, f"{label}{i}", None, ("train", "validation", "test")[i % 3]) for i in range(9) for label in LABELS]
    rows = rows_of(*cells, ("real", "real0", None, "test"))
    parted = grouped(rows)
    assert parted.splits == [row.split for row in rows]
    assert parted.crossing == [["c/x/r0.wav", "c/x/r18.wav"]]
    anew = grouped(rows, keep_corpus_splits=False)
    assert anew.crossing == []
    assert anew.kept == 0


def test_dropping_leaks_keeps_test_whole_then_validation_and_leaves_no_group_in_two_splits():
    cells = [(label, f"{label}{i}", None, ("train", "validation", "test")[i % 3]) for i in range(9) for label in LABELS]
    rows = rows_of(*cells, ("real", "real0", None, "test"), ("fake", "real0", "g", "validation"))
    rows += rows_of(("real", "real1", None, "train"), ("real", "new", None, None))
    parted = grouped(rows, leaks="drop")
    dropped = [index for index, split in enumerate(parted.splits) if split is None]
    assert dropped == [0, 19, 20]  # real0 of train, the fake that names its voice, real1 of train
    assert parted.left_out == {"train": 2, "validation": 1}
    assert [split for split, row in zip(parted.splits, rows, strict=True) if row.split == "test"] == ["test"] * 7
    places = {(group, split) for group, split in zip(parted.groups, parted.splits, strict=True) if split}
    assert len(places) == len({group for group, _ in places})
    assert sum(sum(held.values()) for held in achieved(rows, parted.splits, [1.0] * len(rows)).values()) == (
        pytest.approx(2, abs=1e-3)
    )
    assert grouped(rows).left_out == {}


def test_dropping_leaks_that_would_leave_nothing_to_train_on_is_refused():
    rows = rows_of(*[(label, label, None, split) for split in ("train", "test") for label in LABELS])
    with pytest.raises(UserError, match=r"--leaks drop leaves no real recording to train on, .* --splits"):
        grouped(rows, leaks="drop")


def test_recordings_without_a_split_join_their_group_or_are_dealt():
    rows = rows_of(
        *[(label, f"{label}{i}", None, "train") for i in range(8) for label in LABELS], ("real", "real1", None, None)
    )
    rows += rows_of(*[(label, f"new{label}{i}", None, None) for i in range(4) for label in LABELS])
    parted = grouped(rows)
    assert parted.splits[16] == "train"
    assert set(parted.splits[17:]) >= {"validation", "test"}


def test_a_test_manifest_is_the_test_split(tmp_path):
    rows = rows_of(*[(label, None, None, None) for _ in range(20) for label in LABELS])
    (tmp_path / "test.txt").write_text("# chosen by hand\nr3.wav\nc/x/r8.wav\nx/r20.wav\n")
    for seed in range(3):
        parted = grouped(rows, test_manifest=tmp_path / "test.txt", seed=seed)
        assert [i for i, split in enumerate(parted.splits) if split == "test"] == [3, 8, 20]
        assert set(parted.splits) == set(FRACTIONS)
    (tmp_path / "test.txt").write_text("r3.wav\nr99.wav\n")
    with pytest.raises(UserError, match=r"1 names that no usable recording has, e\.g\. r99\.wav"):
        grouped(rows, test_manifest=tmp_path / "test.txt")


def test_achieved_shares_are_of_seconds_per_label():
    rows = rows_of(*[("real", None, None, None)] * 4)
    assert achieved(rows, ["train", "train", "test", "train"], [1, 2, 1, 4]) == {
        "train": {"real": 0.875},
        "test": {"real": 0.125},
    }
