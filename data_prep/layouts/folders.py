"""Recordings without a list of labels: folder names tell the class, or else file names.

Who speaks and what made a fake, the folders below those may tell: see `subfolders`, which looks at all inputs at once.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from data_prep.layouts.base import Reading, Row, Tree, examples
from deepfake.audio.files import AudioFile
from deepfake.errors import UserError
from deepfake.labels import label_of_folders, label_of_tokens


def read(tree: Tree) -> Reading:
    """Label every recording by its folders, or by its own name where they say nothing.

    Raises:
        UserError: a recording that neither labels, or folders that name both classes; with a count and examples.
    """
    evidence = [evidence_of(file) for file in tree.files]
    for count, problem in ((0, "lie in no folder that names a class"), (2, "lie in folders that name both classes")):
        names = [file.name for file, found in zip(tree.files, evidence, strict=True) if len(found) == count]
        if names:
            raise UserError(
                f"{len(names)} of {len(tree.files)} recordings {problem}, e.g. {examples(names)}; expected a "
                "folder such as real/ (bonafide, genuine, human) or fake/ (spoof, synthetic, tts) above each: move "
                "them, name only the folders meant, or list them in a metadata.csv with file_name and label"
            )
    found = zip(tree.files, evidence, strict=True)
    return Reading("folders", [Row(file, next(iter(classes)), corpus_of(file)) for file, classes in found])


def evidence_of(file: AudioFile) -> set[str]:
    """The classes that the folders of a recording name, or, where they name none, its file name."""
    path = PurePosixPath(file.name)
    return label_of_folders(path) or label_of_tokens(path.stem)


def corpus_of(file: AudioFile) -> str:
    """A corpus without a name of its own is called like its folder."""
    return file.name.split("/")[0]
