"""What was recorded about a detector → README.md of its checkpoint."""

from __future__ import annotations

from pathlib import Path

import yaml
from huggingface_hub import ModelCard
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from deepfake.judging.limits import gaps
from deepfake.judging.run import DataFacts, Fitted, ModelFacts, Narrowed, TrainingFacts
from deepfake.text import number, write_text
from model_card import tables
from model_card.metadata import card_metadata
from model_card.record import Record
from model_card.worst import false_alarms_table, worst_case

_TRUST = ", trust_remote_code=True"
# Architectures whose code, or feature extractor's code as well, is saved beside the weights.
_OWN_MODELS, _OWN_EXTRACTORS = frozenset(["compact-encoder-detector"]), frozenset(["spectrogram"])


def write_card(folder: Path) -> Path:
    """Write `folder/README.md` from results.json and config.json there, and from report.json where there is one.

    Raises:
        UserError: the folder holds no results of a run.
    """
    record = Record.load(folder)
    path = folder / "README.md"
    write_text(path, render_card(record, record.run.facts.hub_model_id or folder.resolve().name))
    return path


def render_card(record: Record, name: str) -> str:
    """The card's text. `name` is the Hub id or folder name under which the model is loaded.

    Numbers that a gap disqualifies stay in the card, under a warning, but not in the metadata that the Hub ranks by.
    """
    facts, judgement, detector = record.run.facts, record.run.judgement, record.detector
    model, threshold = facts.model, judgement.threshold
    found = gaps(record.evidence())
    text = template("template.md").render(
        card_data=card_metadata(record, name, found).to_yaml(),
        title=f"{name}: speech deepfake detector",
        model_id=name,
        worst_case=worst_case(record),
        false_alarms=false_alarms_table(record),
        origin=_origin(model, facts.training),
        trust=_TRUST if model.model_type in _OWN_MODELS | _OWN_EXTRACTORS else "",
        extractor_trust=_TRUST if model.model_type in _OWN_EXTRACTORS else "",
        card_notes=facts.card_notes or "",
        max_duration_s=facts.max_duration_s,
        window_s=detector.get("window_s"),
        hop_s=detector.get("hop_s"),
        threshold=number(threshold.fake_probability, 4),
        threshold_rule=(threshold.rule or "an unnamed rule").replace("_", " "),
        threshold_split=threshold.split or "clips that nobody recorded",
        kept=_kept(facts.training, _narrowing(facts.training.narrowed, model, bool(judgement.base))),
        resampled="pages" if facts.training.pages_held_out else "recordings",
        parts_table=tables.parts_table(record),
        results_table=tables.results_table(record),
        confusion=tables.confusion_table(record),
        control_table=tables.control_table(record),
        limits_note=tables.limits_note(record),
        statements_table=tables.statements_table(record),
        everyday_note=tables.everyday_note(record),
        everyday_table=tables.everyday_table(record),
        points_table=tables.points_table(record),
        warnings=judgement.warnings,
        generator_table=tables.generator_table(record),
        gaps=found,
        disqualified=any(gap.disqualifies for gap in found),
        data_table=tables.data_table(facts.data),
        data_note=_data_note(facts.data),
        frozen=_frozen(model),
        modules_table=tables.modules_table(model),
        recipe_note=_recipe_note(facts.training),
        recipe=yaml.safe_dump(facts.recipe, sort_keys=True, allow_unicode=True).strip(),
        surroundings=", ".join(f"{k} {v}" for k, v in facts.surroundings.items()),
    )
    return ModelCard(text).content.rstrip() + "\n"  # a card whose metadata cannot be read back is refused here


def template(name: str) -> Template:
    """One of the card templates beside this file; a fact it needs and does not get is an error."""
    folder = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=folder, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).get_template(
        name
    )


def _origin(model: ModelFacts, training: TrainingFacts) -> str:
    sized = f"A `{model.class_name}` of {model.parameters:,} parameters"
    if model.from_scratch:
        return f"{sized}, trained from scratch."
    source = model.base_model or "a local checkpoint"
    if training.method == "stacked":
        return f"{sized}: low layers of the encoder of {source}, fine-tuned, pooled with attention, and a linear head."
    return f"{sized}, fine-tuned from {source}."


def _kept(training: TrainingFacts, narrowing: str) -> str:
    """Which weights were measured, and what "validation" means."""
    if training.method == "stacked" and training.fitted is not None:
        return _kept_of_stacked(training.fitted, training.steps, narrowing)
    if training.best_step is None:
        return "Which checkpoint was kept is not recorded."
    best = training.best_metric
    if training.best_value is not None:
        best += f" {number(training.best_value)}"
    return f"Of the restored best checkpoint (step {training.best_step} of {training.steps}, validation {best})."


def _kept_of_stacked(fitted: Fitted, steps: int | None, narrowing: str) -> str:
    clips = f"{fitted.real:,} human and {fitted.fake:,} fake clips of {fitted.pages} pages"
    clips += f" and {fitted.generators} generators"
    models = f"the mean of {fitted.models} models" if fitted.models > 1 else "one model"
    kept = f"after {steps} steps; no step of it was picked by its score"
    if not fitted.folds:
        return f"This is {models} fitted on {clips}, {kept}.{narrowing}"
    return (
        "Validation: the clips of all splits, each scored by a model that was fitted without its page and without "
        f"every generator on that page ({fitted.folds} folds of pages). The detector in this folder is {models} fitted "
        f"on all of them, {clips} ({fitted.left_out:,} more were left out), {kept}. It keeps the threshold and "
        f"calibration found with the folds, whose models met fewer pages than it.{narrowing}"
    )


def _narrowing(narrowed: Narrowed | None, model: ModelFacts, differences: bool) -> str:
    """What was done to the weights after the fit; empty where nothing was."""
    if narrowed is None:
        return ""
    text = (
        f" It was then made narrower, from {narrowed.parameters_before:,} to {model.parameters:,} parameters, and "
        f"fitted for {narrowed.steps} steps on {narrowed.clips:,} clips, without their labels, to compute what it "
        f"computed before ({narrowed.device}): over clips through random channels the log-odds of both correlate by "
        f"{narrowed.correlation:.4f} (root mean square of their difference {number(narrowed.log_odds_rms)}). The "
        "validation scores are from before."
    )
    return f"{text} What narrowing changed is measured on the sets from elsewhere." if differences else text


def _data_note(data: DataFacts) -> str:
    generators = sorted(frozenset().union(*(facts.synthetic for facts in data.splits.values())))
    return f"Dataset `{data.name}`. Generators of the fake speech: {', '.join(generators) or 'not recorded'}."


def _frozen(model: ModelFacts) -> str:
    trained, total = model.trained_parameters, model.parameters
    return f"{trained:,} of {total:,} parameters were trained; the rest stayed as it was."


def _recipe_note(training: TrainingFacts) -> str:
    known = (
        ("Seed {}", training.seed),
        ("precision {}", training.precision),
        ("{} process(es)", training.processes),
        ("{:g} epochs", training.epochs),
    )
    parts = [text.format(value) for text, value in known if value is not None]
    return f"{', '.join(parts) or 'Nothing else is recorded'}. The recipe:"
