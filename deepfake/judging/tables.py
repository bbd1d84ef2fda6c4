"""The report and the stress test as a few lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from deepfake.judging.comparison import Comparison
from deepfake.judging.judge import SHOWN
from deepfake.judging.record import JudgedSet
from deepfake.judging.report import Report, StressRecord

_ROWS = (
    ("ROC-AUC", "roc_auc"), ("EER", "eer"), ("accuracy", "accuracy"), ("balanced accuracy", "balanced_accuracy"),
    ("real called fake", "fpr"), ("fakes missed", "fnr"),
)  # fmt: skip
_LEFT_OUT_ROWS = (("ROC-AUC", "roc_auc"), ("EER", "eer"), ("fakes missed", "fnr"))
_WIDTH = 120  # of a terminal, or of a log that people read


def report_table(report: Report) -> str:
    """Every set side by side, the base model's after it, generators left out of training, then what is missing."""
    judgement = report.judgement
    judged = [(f"{name} ({found.n} clips)", found) for name, found in judgement.sets.items()]
    if judgement.base is not None:
        judged += [(f"base on {name}", found) for name, found in judgement.base.sets.items()]
    columns = [(title, [str(found.metrics[key]) for _, key in _ROWS]) for title, found in judged]
    lines = [line for name, found in judgement.sets.items() for line in _worst_first(name, found)]
    lines += side_by_side([title for title, _ in _ROWS], columns)
    threshold = judgement.threshold
    lines.append(f"threshold {threshold.unit} >= {threshold.value:.4f}: {threshold.origin}")
    lines.append(str(report.registration or "nothing was frozen before the test was judged"))
    if report.leave_one_generator_out:
        lines.append("trained again without one generator, and judged on its fakes:")
        left_out = [
            (f"{part.name} ({part.fake.clips} fakes)", [str(part.metrics[key]) for _, key in _LEFT_OUT_ROWS])
            for part in report.leave_one_generator_out
        ]
        lines += side_by_side([title for title, _ in _LEFT_OUT_ROWS], left_out)
    lines += [f"note: {gap.heading.lower()}: {gap.text}" for gap in report.gaps]
    return "\n".join(line.rstrip() for line in lines)


def _worst_first(name: str, found: JudgedSet, most: int = 3) -> list[str]:
    """The worst cells, the mean, the pooled figure, and what the threshold loses by coming from elsewhere."""
    lines = []
    if found.matrix is not None:
        lines.append(f"worst of {found.matrix.ranked} cells of {name}, half total error rate at the threshold:")
        for cell in found.matrix.cells[:most]:
            named = " × ".join(
                value
                for value, column in zip((cell.family, cell.human, cell.channel), found.matrix.columns, strict=True)
                if column
            )
            lines.append(f"  {named}: {cell.hter} ({cell.real} real, {cell.fake} fake)")
        lines.append(
            f"  mean of cells {found.matrix.mean:.3f}, pooled {found.matrix.pooled}, "
            f"worst minus pooled {found.matrix.gap:.3f}"
        )
    if found.transfer is not None:
        told = f"{name}: HTER at the threshold minus EER {found.transfer.excess}"
        if found.transfer.calibration_drift is not None:
            told += f"; calibration drift {found.transfer.calibration_drift:.3f} bits"
        lines.append(told)
    return lines


def side_by_side(rows: Sequence[str], columns: Sequence[tuple[str, Sequence[str]]], width: int = _WIDTH) -> list[str]:
    """A table as lines: titled columns beside each other, and below each other where the line would grow too long.

    Args:
        rows: title of each row. columns: title of each column, and one value a row.
    """
    first = max(20, *(len(title) + 2 for title in rows))
    widths = [max(len(text) for text in (title, *values)) + 3 for title, values in columns]
    lines: list[str] = []
    start = 0
    while start < len(columns):
        stop = start + 1
        while stop < len(columns) and first + sum(widths[start : stop + 1]) <= width + 3:  # the last needs no space
            stop += 1
        shown = list(zip(columns[start:stop], widths[start:stop], strict=True))
        lines.append(" " * first + "".join(f"{title:<{n}}" for (title, _), n in shown))
        for index, title in enumerate(rows):
            lines.append(f"{title:<{first}}" + "".join(f"{values[index]:<{n}}" for (_, values), n in shown))
        start = stop
    return [line.rstrip() for line in lines]


def comparison_table(found: Comparison, most_places: int = 12) -> str:
    """Every detector side by side, every pair's difference in ROC-AUC and EER, then where they differ most."""
    rows = (("ROC-AUC", "roc_auc"), *_ROWS[1:2], *_ROWS[3:])
    columns = [(one.name, [str(one.judged.metrics[key]) for _, key in rows]) for one in found.systems]
    lines = [f"{found.clips} clips that all scored, {found.groups} independent groups"]
    lines += side_by_side([title for title, _ in rows], columns)
    lines += [f"threshold of {one.name} {one.threshold.value:.4f}: {one.threshold.origin}" for one in found.systems]
    for contrast in found.contrasts:
        told = []
        for title, key in (("ROC-AUC", "roc_auc"), ("EER", "eer")):
            tested, p = contrast.tested[key], contrast.p_holm[key]
            told.append(f"{title} {tested.difference.difference}" + ("" if p is None else f", p {p_value(p)}"))
        lines.append(f"{contrast.a} minus {contrast.b}: {'; '.join(told)}")
    if found.places:
        lines.append("where they differ most (fakes missed, or real called fake):")
        shown = found.places[:most_places]
        titles = [f"{place.error} {place.column} {place.value} ({place.clips})" for place in shown]
        columns = [(one.name, [str(place.rates[i]) for place in shown]) for i, one in enumerate(found.systems)]
        lines += side_by_side(titles, columns)
    return "\n".join(line.rstrip() for line in lines)


def p_value(p: float) -> str:
    """0.034, or < 0.001"""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def stress_table(result: StressRecord) -> str:
    """One line a condition, then where it first fails."""
    heads = ("ROC-AUC", "EER", "balanced accuracy", "real called fake", "fakes missed")
    lines = [f"{'condition':<16}" + "".join(f"{head:<23}" for head in heads)]
    for row in result.conditions:
        values = "".join(f"{row.metrics[key]!s:<23}" for key in SHOWN)
        unscored = f" {row.unscored} clips without a score" if row.unscored else ""
        lines.append(f"{row.name:<16}{values}{'FAILS' if row.fails else ''}{unscored}")
    failed = [(family, name) for family, name in result.first_failures.items() if name]
    if not failed:
        lines.append(f"no condition fails by the rule (a clear fall of more than {result.max_drop:g})")
    elif failed[0][0] == "clean":
        lines.append("it fails on the clean clips already: balanced accuracy cannot be told from guessing")
    else:
        lines.append("fails first at " + ", ".join(f"{name} ({family})" for family, name in failed))
    return "\n".join(line.rstrip() for line in [*lines, *_stability_lines(result)])


def _stability_lines(result: StressRecord) -> list[str]:
    found = result.stability
    if found is None:
        return []
    told = [(row.human.flips.value or 0.0, row) for row in result.conditions if row.benign and row.human is not None]
    lines = [
        f"everyday processing, {found.conditions} kinds, {found.clips} human clips: {found.flipped} change their "
        f"verdict under at least one, {found.accused} from human to fake",
        f"standard deviation of a clip's log-odds over them: {found.deviation:.2f} in the middle, "
        f"{found.deviation_90:.2f} at nine of ten",
    ]
    if told:
        worst = max(told, key=lambda one: one[0])[1]
        lines.append(f"the most flips: {worst.name}, {worst.human.flips}")
    return lines
