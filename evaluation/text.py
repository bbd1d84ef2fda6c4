"""The report and the stress test as a few lines for a terminal."""

from __future__ import annotations

from typing import Any

_ROWS = (
    ("ROC-AUC", "roc_auc"), ("EER", "eer"), ("accuracy", "accuracy"), ("balanced accuracy", "balanced_accuracy"),
    ("real called fake", "fpr"), ("fakes missed", "fnr"),
)  # fmt: skip
_WIDTH = 30


def report_table(report: dict[str, Any]) -> str:
    """Every set side by side, the base model's after it, then what is missing."""
    columns = [(f"{name} ({s['metrics']['n']} clips)", s) for name, s in report["sets"].items()]
    if report["base"]:
        columns += [(f"base on {name}", s) for name, s in report["base"]["sets"].items()]
    lines = [f"{'':<20}" + "".join(f"{title:<{_WIDTH}}" for title, _ in columns)]
    for title, key in _ROWS:
        values = [with_interval(s["metrics"][key], s["intervals"]["recordings"][key]) for _, s in columns]
        lines.append(f"{title:<20}" + "".join(f"{value:<{_WIDTH}}" for value in values))
    threshold = report["threshold"]
    lines.append(f"threshold {threshold['unit']} >= {threshold['value']:.4f}: {threshold['origin']}")
    lines += [f"note: {gap['heading'].lower()}: {gap['text']}" for gap in report["gaps"]]
    return "\n".join(line.rstrip() for line in lines)


def stress_table(result: dict[str, Any]) -> str:
    """One line a condition, then where it first fails."""
    heads = ("ROC-AUC", "EER", "balanced accuracy", "real called fake", "fakes missed")
    keys = ("roc_auc", "eer", "balanced_accuracy", "fpr", "fnr")
    lines = [f"{'condition':<16}" + "".join(f"{head:<23}" for head in heads)]
    for row in result["conditions"]:
        values = "".join(f"{with_interval(row[key]['value'], row[key]):<23}" for key in keys)
        unscored = f" {row['unscored']} clips without a score" if row["unscored"] else ""
        lines.append(f"{row['name']:<16}{values}{'FAILS' if row['fails'] else ''}{unscored}")
    failed = [(family, name) for family, name in result["first_failures"].items() if name]
    if not failed:
        lines.append(f"no condition fails by the rule (a clear fall of more than {result['max_drop']:g})")
    elif failed[0][0] == "clean":
        lines.append("it fails on the clean clips already: balanced accuracy cannot be told from guessing")
    else:
        lines.append("fails first at " + ", ".join(f"{name} ({family})" for family, name in failed))
    return "\n".join(line.rstrip() for line in lines)


def with_interval(value: float | None, interval: dict[str, Any] | None) -> str:
    """0.912 [0.850, 0.960], or without the bracket when no interval can be given."""
    if value is None:
        return "undefined"
    if interval is None or interval["low"] is None:
        return f"{value:.3f}"
    return f"{value:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
