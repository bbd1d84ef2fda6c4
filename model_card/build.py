"""What was recorded about a detector → README.md of its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from evaluation.gaps import Gap, gaps
from model_card import tables
from model_card.generalisation import generalisation_section
from model_card.record import Record

_TRUST = ", trust_remote_code=True"
# Architectures whose code, or feature extractor's code as well, is saved beside the weights.
_OWN_MODELS, _OWN_EXTRACTORS = frozenset(["compact-encoder-detector"]), frozenset(["spectrogram"])
_HUB_METRICS = {"roc_auc": "roc_auc", "eer": "eer", "accuracy": "accuracy", "f1_fake": "f1"}


def write_card(folder: Path) -> Path:
    """Write `folder/README.md` from results.json and config.json there, and from report.json where there is one.

    Raises:
        UserError: the folder holds no results of a run.
    """
    record = Record.load(folder)
    path = folder / "README.md"
    name = record.results["hub_model_id"] or folder.resolve().name
    path.write_text(render_card(record, name), encoding="utf-8")
    return path


def render_card(record: Record, name: str) -> str:
    """The card's text. `name` is the Hub id or folder name under which the model is loaded.

    Numbers that a gap disqualifies stay in the card, under a warning, but not in the metadata that the Hub ranks by.
    """
    results, detector = record.results, record.detector
    training, model = results["training"], results["model"]
    found = gaps(record.evidence())
    text = template("template.md").render(
        card_data=_metadata(record, name, found).to_yaml(),
        title=f"{name}: speech deepfake detector",
        model_id=name,
        origin=_origin(model, training),
        trust=_TRUST if model["model_type"] in _OWN_MODELS | _OWN_EXTRACTORS else "",
        extractor_trust=_TRUST if model["model_type"] in _OWN_EXTRACTORS else "",
        generalisation=generalisation_section(results),
        card_notes=results.get("card_notes") or "",
        max_duration_s=results["max_duration_s"],
        window_s=detector.get("window_s"),
        hop_s=detector.get("hop_s"),
        threshold=f"{results['threshold']['fake_probability']:.4f}",
        threshold_rule=results["threshold"]["rule"].replace("_", " "),
        threshold_split=results["threshold"]["split"] or "clips that nobody recorded",
        kept=_kept(training),
        results_table=tables.results_table(record),
        confusion=tables.confusion_table(record),
        control_table=tables.control_table(record),
        points_table=tables.points_table(record),
        warnings=results.get("warnings", []),
        generator_table=tables.generator_table(record),
        gaps=found,
        disqualified=any(gap.disqualifies for gap in found),
        data_table=tables.data_table(results["data"]),
        data_note=_data_note(results["data"]),
        frozen=_frozen(model),
        modules_table=tables.modules_table(model),
        recipe_note=_recipe_note(training),
        recipe=yaml.safe_dump(results["recipe"], sort_keys=True, allow_unicode=True).strip(),
        surroundings=", ".join(f"{k} {v}" for k, v in results["surroundings"].items()),
    )
    return ModelCard(text).content.rstrip() + "\n"  # a card whose metadata cannot be read back is refused here


def template(name: str) -> Template:
    """One of the card templates beside this file; a fact it needs and does not get is an error."""
    folder = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=folder, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).get_template(
        name
    )


def _metadata(record: Record, name: str, found: list[Gap]) -> ModelCardData:
    results = record.results
    data = results["data"]["name"]
    quotable = not any(gap.disqualifies for gap in found)
    evaluated = [
        EvalResult(
            task_type="audio-classification",
            task_name="Audio deepfake detection",
            dataset_type=data,
            dataset_name=data,
            dataset_split=split,
            metric_type=hub_name,
            metric_name=tables.METRICS[key],
            metric_value=round(results[split]["metrics"][key], 4),
        )
        for split in ("test", "validation")
        if quotable and split in results
        for key, hub_name in _HUB_METRICS.items()
        if results[split]["metrics"].get(key) is not None
    ]
    return ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag="audio-classification",
        license=results["license"],
        base_model=results["model"]["base_model"],
        tags=["audio", "speech", "deepfake-detection", "anti-spoofing", results["model"]["model_type"]],
        metrics=list(_HUB_METRICS.values()),
        eval_results=evaluated or None,
    )


def _origin(model: dict[str, Any], training: dict[str, Any]) -> str:
    if training.get("method") == "convex":
        return (
            f"A `{model['class']}` of {model['parameters']:,} parameters: fixed front ends (the linear spectrum; "
            "the first stages of Whisper's encoder), summed up over the clip, with a linear head each."
        )
    if model["from_scratch"]:
        return f"A `{model['class']}` of {model['parameters']:,} parameters, trained from scratch."
    base = model["base_model"] or "a local checkpoint"
    return f"A `{model['class']}` of {model['parameters']:,} parameters, fine-tuned from {base}."


def _kept(training: dict[str, Any]) -> str:
    """Which weights were measured, and what "validation" means."""
    if training.get("method") == "convex":
        fitted = training["fitted"]
        return (
            "The fit is convex: it has one solution, and nothing was picked by its score. Validation: all clips of "
            "train and validation, each scored by heads that never met its generator family, its recording campaign or "
            "its speaker. Test: by heads fitted on train and validation. The heads in this folder were then fitted on "
            f"the usable clips of all splits, {fitted['real']} real and {fitted['fake']} fake and {fitted['pairs']} "
            f"same-clip pairs ({fitted['left_out']} clips left out), and keep that threshold and calibration; they "
            "would flatter themselves on test."
        )
    if training.get("best_step") is None:
        return "Which checkpoint was kept is not recorded."
    best = training["best_metric"]
    if training["best_value"] is not None:
        best += f" {training['best_value']:.3f}"
    return f"Of the restored best checkpoint (step {training['best_step']} of {training['steps']}, validation {best})."


def _data_note(data: dict[str, Any]) -> str:
    generators = sorted({g for facts in data["splits"].values() for g in facts.get("generators", {})} - {"human"})
    named = ", ".join(g for g in generators if g != "unknown")
    return f"Dataset `{data['name']}`. Generators of the fake speech: {named or 'not recorded'}."


def _frozen(model: dict[str, Any]) -> str:
    trained, total = model["trained_parameters"], model["parameters"]
    return f"{trained:,} of {total:,} parameters were trained; the rest stayed as it was."


def _recipe_note(training: dict[str, Any]) -> str:
    known = (
        ("seed", "Seed {}"), ("precision", "precision {}"), ("processes", "{} process(es)"), ("epochs", "{:g} epochs"),
    )  # fmt: skip
    parts = [text.format(training[key]) for key, text in known if training.get(key) is not None]
    return f"{', '.join(parts) or 'Nothing else is recorded'}. The recipe:"
