"""What `python -m evaluation` was asked to do, one dataclass a command; its parser makes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deepfake.scoring.options import ScoringOptions


@dataclass(frozen=True)
class ReportOptions:
    """A report on a model.

    Attributes:
        scoring: the model and how it scores.
        dataset: folder or Hub id; `split` of it is judged first.
        output: folder for the results.
        ood: datasets from elsewhere, folders or Hub ids, of which all splits are judged.
        base_model: the checkpoint that the model was fine-tuned from, as the control.
        leave_one_generator_out: train again without each generator in turn.
        gate: conditions on the first set, such as "accuracy>=0.80".
        resamples: of the bootstrap.
        frozen: what `python -m evaluation freeze` wrote before; None where nothing was frozen.
        stress: stress.json of the same model, to be told in the report; None for none.
    """

    scoring: ScoringOptions
    dataset: str
    output: Path
    split: str = "test"
    ood: tuple[str, ...] = ()
    base_model: str | None = None
    leave_one_generator_out: bool = False
    gate: tuple[str, ...] = ()
    resamples: int = 2000
    frozen: Path | None = None
    stress: Path | None = None

    @property
    def model(self) -> str:
        """Folder or Hub id of the model that is judged."""
        return self.scoring.model


@dataclass(frozen=True)
class ScoresOptions:
    """A report on anybody's scores.

    Attributes:
        scores, labels: CSV files, one row a clip.
        output: folder for the results.
        column: of the score; None: one of the usual names.
        lower_is_fake: the scores rise with genuineness.
        threshold: fake from this score on, chosen elsewhere; None: chosen on rows of validation.
        name: of the detector; None: that of the scores file.
        gate, resamples, frozen: as in `ReportOptions`.
    """

    scores: Path
    labels: Path
    output: Path
    column: str | None = None
    lower_is_fake: bool = False
    threshold: float | None = None
    name: str | None = None
    gate: tuple[str, ...] = ()
    resamples: int = 2000
    frozen: Path | None = None


@dataclass(frozen=True)
class CompareOptions:
    """Several detectors on the same clips.

    Attributes:
        scores: score files, one a detector, of any kind that `evaluation.score_tables` reads.
        labels: CSV file, one row a clip.
        output: folder for the results.
        thresholds: "NAME=NUMBER", of detectors whose scores bring no threshold.
        resamples: of the bootstrap.
    """

    scores: tuple[Path, ...]
    labels: Path
    output: Path
    thresholds: tuple[str, ...] = ()
    resamples: int = 2000


@dataclass(frozen=True)
class ArenaOptions:
    """Scores for an open leaderboard.

    Attributes:
        scores, labels: as in `ScoresOptions`; every clip is called by its file's name without folder and extension.
        output: folder for scores.txt and meta.yaml.
        name, slug, description, code, checkpoint: of the detector; the last two are URLs.
        parameters: of the model; None for unknown.
        notes: for whoever reads the submission.
        split: of the labels that is the benchmark.
        column, lower_is_fake: as in `ScoresOptions`.
    """

    scores: Path
    labels: Path
    output: Path
    name: str
    slug: str
    description: str
    code: str
    checkpoint: str
    parameters: int | None = None
    notes: str = ""
    split: str = "test"
    column: str | None = None
    lower_is_fake: bool = False


@dataclass(frozen=True)
class FreezeOptions:
    """What is fixed before a test is touched.

    Attributes:
        test: a labels file, or a dataset's folder or Hub id, of which `split` is meant.
        output: the file to write.
        checkpoint: folder or file of the detector; None where there are only scores.
        threshold: in the unit of the scores; None for the checkpoint's own.
    """

    test: str
    output: Path
    split: str = "test"
    checkpoint: Path | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class StressOptions:
    """A model under bad conditions.

    Attributes:
        scoring, dataset, output, split, resamples: as in `ReportOptions`.
        conditions: names of conditions or families; None: all.
        max_clips: at most this many clips, drawn with `seed`; None: all.
        seed: of everything drawn.
    """

    scoring: ScoringOptions
    dataset: str
    output: Path
    split: str = "test"
    conditions: tuple[str, ...] | None = None
    max_clips: int | None = None
    seed: int = 0
    resamples: int = 2000

    @property
    def model(self) -> str:
        """Folder or Hub id of the model that is tried."""
        return self.scoring.model
