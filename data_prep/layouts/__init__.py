"""Every corpus people have, read into one schema: one small reader a layout, and which one fits a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from data_prep.layouts import asvspoof, fake_or_real, folders, in_the_wild, metadata, mlaad, wavefake
from data_prep.layouts.base import Reading, Row, Tree
from deepfake.errors import UserError

AUTO, FOLDERS = "auto", "folders"
__all__ = ["AUTO", "FOLDERS", "LAYOUT_NAMES", "Reading", "Row", "Tree", "read_tree"]


@dataclass(frozen=True)
class _Layout:
    read: Callable[[Tree], Reading]
    matches: Callable[[Tree], bool]


# Corpora with a form of their own; two of them in one folder are a question for the user.
_CORPORA = {
    "asvspoof2019_la": _Layout(asvspoof.read_2019_la, asvspoof.is_2019_la),
    "asvspoof5": _Layout(asvspoof.read_5, asvspoof.is_5),
    "for": _Layout(fake_or_real.read, fake_or_real.matches),
    "in_the_wild": _Layout(in_the_wild.read, in_the_wild.matches),
    "mlaad": _Layout(mlaad.read, mlaad.matches),
    "wavefake": _Layout(wavefake.read, wavefake.matches),
}
_READERS: dict[str, Callable[[Tree], Reading]] = {
    **{name: layout.read for name, layout in _CORPORA.items()},
    "audiofolder": partial(metadata.read, audiofolder=True),
    "metadata": metadata.read,
    FOLDERS: folders.read,
}
LAYOUT_NAMES = (AUTO, FOLDERS, "metadata", *_CORPORA, "audiofolder", "hub")


def read_tree(tree: Tree, layout: str = AUTO) -> Reading:
    """Read a tree with the named layout, or with the one that its names and tables show.

    Evidence for a label is looked for in this order: a corpus' own protocol, a table of labels, the names of folders,
    the name of the file.

    Raises:
        UserError: no or several corpora recognised in one tree, or what the reader raises.
    """
    if layout != AUTO:
        return _READERS[layout](tree)
    recognised = [name for name, corpus in _CORPORA.items() if corpus.matches(tree)]
    if len(recognised) > 1:
        raise UserError(
            f"{tree.name} looks like {' and '.join(recognised)}; name the folder of each corpus as its own INPUT, or "
            "say which one is meant with --layout"
        )
    if recognised:
        return _CORPORA[recognised[0]].read(tree)
    if metadata.label_tables(tree, audiofolder=True):
        return metadata.read(tree, audiofolder=True, trust=False)
    if metadata.label_tables(tree, audiofolder=False):
        return metadata.read(tree, trust=False)
    return folders.read(tree)
