"""What was recorded about a detector → README.md of its checkpoint."""

from __future__ import annotations

from pathlib import Path

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from data_prep.text import number, write_text
from judging.limits import gaps
from judging.record import Gap
from judging.run import DataFacts, ModelFacts, TrainingFacts
from model_card import tables
from model_card.generalisation import generalisation_section
from model_card.record import Record

_TRUST = ", trust_remote_code=True"
# Architectures whose code, or feature extractor's code as well, is saved beside the weights.
_OWN_MODELS, _OWN_EXTRACTORS = frozenset(["compact-speech-detector"]), frozenset(["spectrogram"])
_HUB_METRICS = {"roc_auc": "roc_auc", "eer": "eer", "accuracy": "accuracy", "f1_fake": "f1"}


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
        card_data=_metadata(record, name, found).to_yaml(),
        title=f"{name}: speech deepfake detector",
        model_id=name,
        origin=_origin(model, facts.training),
        trust=_TRUST if model.model_type in _OWN_MODELS | _OWN_EXTRACTORS else "",
        extractor_trust=_TRUST if model.model_type in _OWN_EXTRACTORS else "",
        generalisation=generalisation_section(record.run.generalisation),
        card_notes=facts.card_notes or "",
        max_duration_s=facts.max_duration_s,
        window_s=detector.get("window_s"),
        hop_s=detector.get("hop_s"),
        threshold=number(threshold.fake_probability, 4),
        threshold_rule=(threshold.rule or "an unnamed rule").replace("_", " "),
        threshold_split=threshold.split or "clips that nobody recorded",
        kept=_kept(facts.training),
        results_table=tables.results_table(record),
        confusion=tables.confusion_table(record),
        control_table=tables.control_table(record),
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


def _metadata(record: Record, name: str, found: list[Gap]) -> ModelCardData:
    facts, sets = record.run.facts, tables.in_domain(record)
    quotable = not any(gap.disqualifies for gap in found)
    evaluated = [
        EvalResult(
            task_type="audio-classification",
            task_name="Audio deepfake detection",
            dataset_type=facts.data.name,
            dataset_name=facts.data.name,
            dataset_split=split,
            metric_type=hub_name,
            metric_name=tables.METRICS[key],
            metric_value=round(value, 4),
        )
        for split, judged in reversed(sets.items())
        for key, hub_name in _HUB_METRICS.items()
        if quotable and (value := judged.value(key)) is not None
    ]
    return ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag="audio-classification",
        license=facts.license,
        base_model=facts.model.base_model,
        tags=["audio", "speech", "deepfake-detection", "anti-spoofing", facts.model.model_type],
        metrics=list(_HUB_METRICS.values()),
        eval_results=evaluated or None,
    )


def _origin(model: ModelFacts, training: TrainingFacts) -> str:
    sized = f"A `{model.class_name}` of {model.parameters:,} parameters"
    if training.method == "convex":
        return (
            f"{sized}: fixed front ends (the linear spectrum; "
            "the first stages of Whisper's encoder), summed up over the clip, with a linear head each."
        )
    if model.from_scratch:
        return f"{sized}, trained from scratch."
    return f"{sized}, fine-tuned from {model.base_model or 'a local checkpoint'}."


def _kept(training: TrainingFacts) -> str:
    """Which weights were measured, and what "validation" means."""
    if training.method == "convex":
        fitted = training.fitted
        return (
            "The fit is convex: it has one solution, and nothing was picked by its score. Validation: all clips of "
            "train and validation, each scored by heads that never met its generator family, its recording campaign or "
            "its speaker. Test: by heads fitted on train and validation. The heads in this folder were then fitted on "
            f"the usable clips of all splits, {fitted.real} real and {fitted.fake} fake and {fitted.pairs} "
            f"same-clip pairs ({fitted.left_out} clips left out), and keep that threshold and calibration; they "
            "would flatter themselves on test."
        )
    if training.best_step is None:
        return "Which checkpoint was kept is not recorded."
    best = training.best_metric
    if training.best_value is not None:
        best += f" {number(training.best_value)}"
    return f"Of the restored best checkpoint (step {training.best_step} of {training.steps}, validation {best})."


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
