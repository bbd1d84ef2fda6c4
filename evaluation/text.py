"""The report and the stress test as a few lines for a terminal."""

from __future__ import annotations

from judging.judge import SHOWN
from judging.report import Report, StressRecord

_ROWS = (
    ("ROC-AUC", "roc_auc"), ("EER", "eer"), ("accuracy", "accuracy"), ("balanced accuracy", "balanced_accuracy"),
    ("real called fake", "fpr"), ("fakes missed", "fnr"),
)  # fmt: skip
_WIDTH = 30


def report_table(report: Report) -> str:
    """Every set side by side, the base model's after it, then what is missing."""
    judgement = report.judgement
    columns = [(f"{name} ({judged.n} clips)", judged) for name, judged in judgement.sets.items()]
    if judgement.base is not None:
        columns += [(f"base on {name}", judged) for name, judged in judgement.base.sets.items()]
    lines = [f"{'':<20}" + "".join(f"{title:<{_WIDTH}}" for title, _ in columns)]
    for title, key in _ROWS:
        lines.append(f"{title:<20}" + "".join(f"{judged.metrics[key]!s:<{_WIDTH}}" for _, judged in columns))
    threshold = judgement.threshold
    lines.append(f"threshold {threshold.unit} >= {threshold.value:.4f}: {threshold.origin}")
    lines += [f"note: {gap.heading.lower()}: {gap.text}" for gap in report.gaps]
    return "\n".join(line.rstrip() for line in lines)


def stress_table(result: StressRecord) -> str:
    """One line a condition, then where it first fails."""
    heads = ("ROC-AUC", "EER", "balanced accuracy", "real called fake", "fakes missed")
    lines = [f"{'condition':<16}" + "".join(f"{head:<23}" for head in heads)]
    for row in result.conditions:
        values = "".join(f"{row.metrics[key]!s:<23}" for key in SHOWN)
        lines.append(f"{row.name:<16}{values}{'FAILS' if row.fails else ''}")
    failed = [(family, name) for family, name in result.first_failures.items() if name]
    if not failed:
        lines.append(f"no condition fails by the rule (a clear fall of more than {result.max_drop:g})")
    elif failed[0][0] == "clean":
        lines.append("it fails on the clean clips already: balanced accuracy cannot be told from guessing")
    else:
        lines.append("fails first at " + ", ".join(f"{name} ({family})" for family, name in failed))
    return "\n".join(line.rstrip() for line in lines)
