"""Labels are told by name, and only when the names agree."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from deepfake.errors import UserError
from deepfake.labels import fake_index, label_of_folders, label_of_tokens


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("real", {"real"}), ("Bona_Fide", {"real"}), ("bonafide", {"real"}), ("human-speech", {"real"}),
        ("FakeVoices", {"fake"}), ("deep-fake", {"fake"}), ("TTS_v2", {"fake"}), ("AI", {"fake"}),
        ("fake_or_real", {"real", "fake"}), ("surreal", set()), ("training", set()), ("maids", set()), ("", set()),
    ],
)  # fmt: skip
def test_words_name_classes(text: str, classes: set[str]) -> None:
    assert label_of_tokens(text) == classes


@pytest.mark.parametrize(
    ("path", "classes"),
    [
        ("data/real/fake_name.wav", {"real"}),
        ("fake_or_real/training/real/a.wav", {"real"}),
        ("real/tts/a.wav", {"real", "fake"}),
        ("data/a.wav", set()),
    ],
)
def test_folders_decide_and_conflicts_stay_visible(path: str, classes: set[str]) -> None:
    assert label_of_folders(PurePosixPath(path)) == classes


@pytest.mark.parametrize(
    ("names", "index"),
    [
        ({0: "real", 1: "fake"}, 1),
        ({0: "fake", 1: "real"}, 0),
        ({0: "bonafide", 1: "spoof"}, 1),
        ({0: "AI", 1: "Human"}, 0),
        ({"1": "real", "0": "fake"}, 0),
    ],
)
def test_polarity_by_name(names: dict, index: int) -> None:
    assert fake_index(names) == index


def test_names_that_do_not_say_are_refused_and_can_be_told() -> None:
    names = {0: "LABEL_0", 1: "LABEL_1"}
    with pytest.raises(UserError, match="--fake-label LABEL_1"):
        fake_index(names)
    assert fake_index(names, fake_label="LABEL_0") == 0
    with pytest.raises(UserError, match="not one of"):
        fake_index(names, fake_label="fake")
    with pytest.raises(UserError, match="3 classes"):
        fake_index({0: "real", 1: "fake", 2: "noise"})
