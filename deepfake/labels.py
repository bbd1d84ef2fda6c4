"""The two classes, the names people give them, and how a folder says which one a recording is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from deepfake.errors import UserError

LABELS = ("real", "fake")  # the index in this tuple is the ClassLabel integer: 0 = real, 1 = fake
REAL_NAMES = frozenset({"real", "bonafide", "genuine", "human"})
FAKE_NAMES = frozenset({"fake", "spoof", "spoofed", "deepfake", "synthetic", "ai", "tts"})


def label_of_tokens(text: str) -> set[str]:
    """The classes named by the words of `text`: "LibriTTS_fake-v2" gives {"fake"}, "notes" gives set()."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())
    pairs = {a + b for a, b in zip(words, words[1:], strict=False)}  # bona_fide, deep-fake
    found = pairs | set(words)
    return {name for name, family in zip(LABELS, (REAL_NAMES, FAKE_NAMES), strict=True) if found & family}


def label_of_folders(relative: PurePath) -> set[str]:
    """The classes that the folders of a relative path name.

    A folder that names both ("fake_or_real") is a collection's title and says nothing about its files.

    Returns:
        set() when no folder names a class, one name when they agree, both when they conflict.
    """
    named = [label_of_tokens(part) for part in relative.parent.parts]
    return set().union(*(classes for classes in named if len(classes) == 1))


def fake_index(id2label: Mapping[int, str], fake_label: str | None = None) -> int:
    """Which logit of a two-class checkpoint means fake, by the names in its `id2label`.

    Args:
        id2label: class names by logit index, as in a transformers config.
        fake_label: the name to take as fake when the checkpoint's own names are not known ones.

    Raises:
        UserError: not two classes, or names that do not say which is which.
    """
    names = {int(index): str(name) for index, name in id2label.items()}
    shown = ", ".join(f"{i}={n}" for i, n in sorted(names.items()))
    if len(names) != 2:
        raise UserError(f"the checkpoint has the {len(names)} classes {shown}; a detector has two, real and fake")
    if fake_label is not None:
        matches = [index for index, name in names.items() if name == fake_label]
        if len(matches) != 1:
            raise UserError(f"--fake-label {fake_label} is not one of the checkpoint's classes {shown}")
        return matches[0]
    classes: Sequence[set[str]] = [label_of_tokens(names[index]) for index in sorted(names)]
    if classes == [{"real"}, {"fake"}]:
        return sorted(names)[1]
    if classes == [{"fake"}, {"real"}]:
        return sorted(names)[0]
    raise UserError(
        f"the checkpoint names its classes {shown}, which does not say which one is fake; "
        f"name it with --fake-label {names[max(names)]} (Detector.from_pretrained(…, fake_label=…) in Python)"
    )
