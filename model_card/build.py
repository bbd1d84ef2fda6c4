"""results.json of a run → README.md of its checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from data_prep.errors import UserError
from model_card.gaps import gaps
from model_card.generalisation import generalisation_section, table

_TEMPLATE = Path(__file__).with_name("template.md")
_METRICS = {
    "roc_auc": "ROC-AUC",
    "eer": "equal error rate",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision_real": "precision, real",
    "recall_real": "recall, real",
    "f1_real": "F1, real",
    "precision_fake": "precision, fake",
    "recall_fake": "recall, fake",
    "f1_fake": "F1, fake",
}
_HUB_METRICS = {"roc_auc": "roc_auc", "eer": "eer", "accuracy": "accuracy", "f1_fake": "f1"}


def write_card(folder: Path) -> Path:
    """Write `folder/README.md` from `folder/results.json` and `folder/config.json`.

    Raises:
        UserError: the folder holds no results of a run.
    """
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} has no {Path(error.filename).name}; a card is built from what a training run left in its folder"
        ) from error
    path = folder / "README.md"
    name = results["hub_model_id"] or folder.resolve().name
    path.write_text(render_card(results, config["detector"], name), encoding="utf-8")
    return path


def render_card(results: dict[str, Any], detector: dict[str, Any], name: str) -> str:
    """The card's text. `name` is the Hub id or folder name under which the model is loaded."""
    training, model = results["training"], results["model"]
    card = ModelCard.from_template(
        card_data=_metadata(results, name),
        template_path=str(_TEMPLATE),
        title=f"{name}: speech deepfake detector",
        model_id=name,
        origin=_origin(model, training),
        max_duration_s=results["max_duration_s"],
        window_s=detector["window_s"],
        hop_s=detector["hop_s"],
        threshold=f"{detector['threshold']:.4f}",
        threshold_rule=detector["threshold_rule"].replace("_", " "),
        trust="" if model["model_type"] != "compact-speech-detector" else ", trust_remote_code=True",
        chosen=_chosen(results),
        generalisation=generalisation_section(results),
        base=_base_table(results),
        card_notes=results.get("card_notes") or "",
        results_table=_results_table(results),
        confusion=_confusion(results),
        notes=gaps(results),
        data_table=_data_table(results["data"]),
        data_note=_data_note(results["data"]),
        frozen=_frozen(model),
        modules_table=table(
            ["module", "parameters", "state"],
            [
                [f"`{m['module']}`", f"{m['parameters']:,}", "trained" if m["trained"] else "frozen"]
                for m in model["modules"]
            ],
        ),
        recipe_note=(
            f"Seed {training['seed']}, {training['precision']}, {training['processes']} process(es)"
            + (f", {training['epochs']:g} epochs" if training["epochs"] is not None else "")
            + ". The whole recipe:"
        ),
        recipe=yaml.safe_dump(results["recipe"], sort_keys=True, allow_unicode=True).strip(),
        surroundings="Made with " + ", ".join(f"{k} {v}" for k, v in results["surroundings"].items()) + ".",
    )
    return card.content.rstrip() + "\n"


def _metadata(results: dict[str, Any], name: str) -> ModelCardData:
    data = results["data"]["name"]
    evaluated = [
        EvalResult(
            task_type="audio-classification",
            task_name="Audio deepfake detection",
            dataset_type=data,
            dataset_name=data,
            dataset_split=split,
            metric_type=hub_name,
            metric_name=_METRICS[key],
            metric_value=round(results[split]["metrics"][key], 4),
        )
        for split in ("test", "validation")
        if split in results
        for key, hub_name in _HUB_METRICS.items()
        if results[split]["metrics"][key] is not None
    ]
    return ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag="audio-classification",
        license=results["license"],
        base_model=results["model"]["base_model"],
        tags=["audio", "speech", "deepfake-detection", "anti-spoofing", results["model"]["model_type"]],
        metrics=list(_HUB_METRICS.values()),
        eval_results=evaluated,
    )


def _origin(model: dict[str, Any], training: dict[str, Any]) -> str:
    if training.get("method") == "convex":
        return (
            f"A `{model['class']}` of {model['parameters']:,} parameters: two fixed front ends (the first convolutions "
            "of Whisper's encoder; the linear spectrum), summed up over the clip, with a linear head each."
        )
    if model["from_scratch"]:
        return f"A `{model['class']}` of {model['parameters']:,} parameters, trained from scratch."
    base = model["base_model"] or "a local checkpoint"
    return f"A `{model['class']}` of {model['parameters']:,} parameters, fine-tuned from {base}."


def _chosen(results: dict[str, Any]) -> str:
    """Which weights were measured, and what "validation" means."""
    training = results["training"]
    value = "not recorded" if training["best_value"] is None else f"{training['best_value']:.3f}"
    if training.get("method") != "convex":
        return (
            f"Of the restored best checkpoint (step {training['best_step']} of {training['steps']}, best validation "
            f"{training['best_metric']} {value})."
        )
    fitted = training["fitted"]
    return (
        "The fit is convex: it has one solution, and nothing was picked by its score. Validation: all clips of train "
        "and validation, each scored by heads that never met its generator family, its recording campaign or its "
        "speaker. Test: by heads fitted on train and validation. The heads in this folder were then fitted on the "
        f"usable clips of all splits, {fitted['real']} real and {fitted['fake']} fake and {fitted['pairs']} same-clip "
        f"pairs ({fitted['left_out']} clips left out), and keep that threshold and calibration; they would flatter "
        "themselves on test."
    )


def _base_table(results: dict[str, Any]) -> str:
    """Test before and after fine-tuning; empty where the start checkpoint was not measured."""
    before = results.get("base", {}).get("test")
    if not before or "test" not in results:
        return ""
    rows = [[title, _value(before, key), _value(results["test"], key)] for key, title in _METRICS.items()]
    said = f"The start checkpoint on the same test clips, at its own threshold {results['base']['threshold']:.4f}:"
    return f"{said}\n\n{table(['test', 'before fine-tuning', 'after'], rows)}"


def _results_table(results: dict[str, Any]) -> str:
    splits = [split for split in ("validation", "test") if split in results]
    header = ["", *(f"{s} ({results[s]['metrics']['n']} clips)" for s in splits)]
    rows = [[title, *(_value(results[s], key) for s in splits)] for key, title in _METRICS.items()]
    return table(header, rows)


def _value(result: dict[str, Any], key: str) -> str:
    value, interval = result["metrics"][key], result["intervals"].get(key)
    if value is None:
        return "undefined"
    if not interval or interval["low"] is None:
        return f"{value:.3f}"
    return f"{value:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"


def _confusion(results: dict[str, Any]) -> str:
    split = "test" if "test" in results else "validation"
    m = results[split]["metrics"]
    rows = [["real", m["tn"], m["fp"]], ["fake", m["fn"], m["tp"]]]
    return f"Confusion matrix on {split}:\n\n" + table(["", "called real", "called fake"], rows)


def _data_table(data: dict[str, Any]) -> str:
    rows = []
    for split, facts in data["splits"].items():
        for label in ("real", "fake"):
            f = facts[label]
            rows.append([split, label, f["recordings"] or "unknown", f["clips"], f["minutes"] or "unknown"])
    return table(["split", "label", "recordings", "clips", "minutes"], rows)


def _data_note(data: dict[str, Any]) -> str:
    generators = sorted({g for facts in data["splits"].values() for g in facts.get("generators", {})} - {"human"})
    named = ", ".join(g for g in generators if g != "unknown")
    return f"Dataset `{data['name']}`. Generators of the fake speech: {named or 'not recorded'}."


def _frozen(model: dict[str, Any]) -> str:
    trained, total = model["trained_parameters"], model["parameters"]
    return f"{trained:,} of {total:,} parameters were trained ({trained / total:.1%}); the rest stayed as it was."
