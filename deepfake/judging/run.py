"""results.json of a training run: what was trained on what, and how it was judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepfake.judging.codec import FORMAT, from_json, read_document, to_json
from deepfake.judging.format_1 import results_of_format_1
from deepfake.judging.record import Audit, ClipFacts, Judgement
from deepfake.text import write_json

RESULTS = "results.json"


@dataclass(frozen=True)
class Module:
    """A run of neighbouring parameters that are all trained or all frozen."""

    module: str
    parameters: int
    trained: bool


@dataclass(frozen=True)
class ModelFacts:
    """The architecture and where its weights came from. base_model: a Hub id; None for none, and for a local folder."""

    base_model: str | None
    from_scratch: bool
    class_name: str
    model_type: str
    parameters: int
    trained_parameters: int
    modules: tuple[Module, ...] = ()


@dataclass(frozen=True)
class DataFacts:
    """The dataset of a run.

    Attributes:
        recordings_in_several_splits: None when that cannot be told.
        preparation: options and versions of the build; None where nobody recorded them.
        split_unit: "clip" or "recording" where it is known otherwise than from the recordings' names.
    """

    name: str
    splits: dict[str, ClipFacts]
    recordings_in_several_splits: int | None
    preparation: dict[str, Any] | None = None
    split_unit: str | None = None

    @property
    def recordings_known(self) -> bool:
        """Whether every split says how many recordings it holds of each class."""
        return all(f.recordings is not None for split in self.splits.values() for _, f in split.of_classes)

    @property
    def audit(self) -> Audit:
        """What the splits share, as far as the run recorded it."""
        known = self.recordings_known
        train = self.splits.get("train")
        return Audit(
            shared_recordings=self.recordings_in_several_splits if known else None,
            splits={name: (f.real.clips or 0, f.fake.clips or 0) for name, f in self.splits.items()},
            training_generators=tuple(sorted(train.synthetic)) or None if train else None,
            split_unit=self.split_unit or ("recording" if known else None),
        )


@dataclass(frozen=True)
class Fitted:
    """What a fit of stacked models was made of.

    Attributes:
        real, fake, left_out: clips fitted on, and those of the same splits that were not used.
        pages, generators: that the clips fitted on come from.
        models: whose weights were averaged. folds: models beside them, each without some pages and generators; 0: none.
    """

    real: int
    fake: int
    left_out: int
    pages: int = 0
    generators: int = 0
    models: int = 1
    folds: int = 0


@dataclass(frozen=True)
class Narrowed:
    """How a fitted detector was made narrower.

    Attributes:
        parameters_before, widths_before: of the wide one; hidden units of the perceptron of each layer.
        steps, clips: of the fit of the narrow one to it, which no label entered.
        correlation: of the log-odds of both over clips through random channels; correlation_before: the same after
            least squares alone. log_odds_rms: of their difference.
        device: that it was fitted on.
    """

    parameters_before: int
    widths_before: tuple[int, ...]
    steps: int
    clips: int
    correlation_before: float
    correlation: float
    log_odds_rms: float
    device: str
    history: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class TrainingFacts:
    """How the weights were made; None for what does not apply or was not recorded.

    Attributes:
        method: "stacked" for a fit of several models at once, None for one by transformers' Trainer.
        best_step, best_metric, best_value: of the checkpoint that was kept.
        history: what was logged on the way.
        padding: measured share of padding in the batches.
        narrowed: what was done to the weights after that; None: nothing.
    """

    steps: int | None = None
    epochs: float | None = None
    best_step: int | None = None
    best_metric: str | None = None
    best_value: float | None = None
    seed: int | None = None
    precision: str | None = None
    processes: int | None = None
    history: tuple[dict[str, Any], ...] = ()
    method: str | None = None
    fitted: Fitted | None = None
    padding: dict[str, Any] | None = None
    narrowed: Narrowed | None = None

    @property
    def pages_held_out(self) -> bool:
        """Whether each clip of validation was judged by a model that had met neither its page nor its generator."""
        return self.fitted is not None and self.fitted.folds > 0


@dataclass(frozen=True)
class RunFacts:
    """Everything about a run but what it measured.

    Attributes:
        recipe: the YAML with every override, paths of this machine left out.
        surroundings: versions and device.
        thresholds_elsewhere: of a published system, thresholds that other places of it name.
        longest_s: of a published system, what it scores of a recording; None for all of it.
        code: of a published system, whether its "training" and "preparation" code can be had.
    """

    hub_model_id: str | None
    license: str
    max_duration_s: float
    recipe: dict[str, Any]
    model: ModelFacts
    data: DataFacts
    training: TrainingFacts
    surroundings: dict[str, str]
    card_notes: str | None = None
    search: dict[str, Any] | None = None
    thresholds_elsewhere: dict[str, float | str] = field(default_factory=dict)
    longest_s: float | None = None
    code: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """results.json: a run, and what it measured."""

    facts: RunFacts
    judgement: Judgement


def write_run(path: Path, record: RunRecord) -> None:
    """Write results.json: the facts and the judgement side by side. Raises ValueError on NaN or infinity."""
    write_json(path, {"format": FORMAT} | to_json(record.facts) | to_json(record.judgement))


def read_run(path: Path) -> RunRecord:
    """Read results.json of this or an earlier format.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    return read_document(path, "what a training run left in its folder", results_of_format_1, run_of)


def run_of(values: dict[str, Any]) -> RunRecord:
    """The record that JSON values of format 2 hold. Raises ValueError when they do not."""
    return RunRecord(from_json(RunFacts, values), from_json(Judgement, values))
