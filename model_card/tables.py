"""The card's tables, as Markdown."""

from __future__ import annotations

from typing import Any

from model_card.record import Record

METRICS = {
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
_SHOWN_OUTSIDE = ("roc_auc", "eer", "accuracy", "balanced_accuracy", "recall_real", "recall_fake")


def results_table(record: Record) -> str:
    """Validation and test side by side."""
    results = record.results
    splits = [split for split in ("validation", "test") if split in results]
    header = ["", *(f"{s} ({results[s]['metrics']['n']} clips)" for s in splits)]
    rows = [
        [title, *(stated(results[s]["metrics"], results[s]["intervals"], key) for s in splits)]
        for key, title in METRICS.items()
    ]
    return table(header, rows)


def confusion_table(record: Record) -> str:
    split = "test" if "test" in record.results else "validation"
    m = record.results[split]["metrics"]
    rows = [["real", m["tn"], m["fp"]], ["fake", m["fn"], m["tp"]]]
    return f"Confusion matrix on {split}:\n\n" + table(["", "called real", "called fake"], rows)


def control_table(record: Record) -> str:
    """The detector and its base model on the sets of the report, or on those of the run; empty without either."""
    if record.report is None:
        return _before_and_after(record.results)
    rows = []
    for name, found in record.report["sets"].items():
        systems = [("this detector", found)]
        if name in record.base_sets:
            systems.append((f"base model {record.report['base']['system']['name']}", record.base_sets[name]))
        for system, measured in systems:
            intervals = measured["intervals"].get("recordings", {})
            values = [stated(measured["metrics"], intervals, key) for key in _SHOWN_OUTSIDE]
            rows.append([f"{name} ({measured['metrics']['n']} clips)", system, *values])
    return table(["set", "system", *(METRICS[key] for key in _SHOWN_OUTSIDE)], rows)


def _before_and_after(results: dict[str, Any]) -> str:
    """The start checkpoint unchanged, at the threshold it came with, beside the trained one."""
    base = results.get("base", {})
    rows = []
    after = {name: results[name] for name in ("validation", "test") if name in base and name in results}
    after |= results.get("outside", {})
    for name in after:
        for system, found in (("this detector", after), ("start checkpoint, unchanged", base)):
            if name in found:
                m, intervals = found[name]["metrics"], found[name]["intervals"]
                values = [stated(m, intervals, key) for key in _SHOWN_OUTSIDE]
                rows.append([f"{name} ({m['n']} clips)", system, *values])
    return table(["set", "system", *(METRICS[key] for key in _SHOWN_OUTSIDE)], rows) if rows else ""


def points_table(record: Record) -> str:
    """The operating points as they came out on test; empty where none were stored."""
    rows = []
    for point in record.results.get("test", {}).get("operating_points", []):
        promised = f"FPR ≤ {point['max_fpr']}" if point.get("max_fpr") is not None else ""
        if "decided" in point:
            promised = f"both ≤ {point['max_error']}; answers for {point['decided']:.3f} of the clips"
        if not point["supported"]:
            promised += " (not supported by n)"
        rates = [value_of(point[key]["value"], point[key]) for key in ("fpr", "fnr")]
        rows.append([f"`{point['name']}`", promised.strip(), *rates])
    return table(["operating point", "promised", "real called fake", "fakes missed"], rows) if rows else ""


def generator_table(record: Record) -> str:
    """Fakes missed per generator, over the report's sets; empty where generators are unknown."""
    rows = []
    trained = set(record.results["data"]["splits"].get("train", {}).get("generators", {}))
    for name, found in (record.report["sets"] if record.report else {}).items():
        for row in found.get("breakdowns", {}).get("generator", []):
            state = "unknown" if row["name"] == "unknown" or not trained else "yes" if row["name"] in trained else "no"
            cells = [value_of(row[key]["value"], row[key]) for key in ("roc_auc", "fnr")]
            rows.append([row["name"], name, state, row["n_fake"], *cells])
    return table(["generator", "set", "in training", "clips", "ROC-AUC", "fakes missed"], rows) if rows else ""


def data_table(data: dict[str, Any]) -> str:
    rows = []
    for split, facts in data["splits"].items():
        for label in ("real", "fake"):
            f = facts[label]
            rows.append([split, label, f["recordings"] or "unknown", f["clips"], f["minutes"] or "unknown"])
    return table(["split", "label", "recordings", "clips", "minutes"], rows)


def modules_table(model: dict[str, Any]) -> str:
    rows = [
        [f"`{m['module']}`", f"{m['parameters']:,}", "trained" if m["trained"] else "frozen"] for m in model["modules"]
    ]
    return table(["module", "parameters", "state"], rows) if rows else ""


def stated(measured: dict[str, Any], intervals: dict[str, Any], key: str) -> str:
    """One metric with its interval; a metric that nobody computed is another thing than one that is undefined."""
    return value_of(measured[key], intervals.get(key)) if key in measured else "not stated"


def value_of(value: float | None, interval: dict[str, Any] | None) -> str:
    """0.912 [0.850, 0.960], or without the bracket when no interval can be given."""
    if value is None:
        return "undefined"
    if not interval or interval["low"] is None:
        return f"{value:.3f}"
    return f"{value:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"


def table(header: list[str], rows: list[list[Any]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
