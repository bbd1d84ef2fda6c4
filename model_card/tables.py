"""The card's tables, as Markdown."""

from __future__ import annotations

from deepfake.judging.record import OUT_OF_DOMAIN, TEST, VALIDATION, JudgedSet
from deepfake.judging.run import DataFacts, ModelFacts
from deepfake.metrics.intervals import Estimate
from deepfake.metrics.strength import OF_POINTS
from deepfake.text import markdown_table, number
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


def in_domain(record: Record) -> dict[str, JudgedSet]:
    """Validation and test, as far as they were judged."""
    sets = record.sets
    return {name: sets[name] for name in (VALIDATION, TEST) if name in sets}


def results_table(record: Record) -> str:
    """Validation and test side by side, after either what else was judged of it, such as its clips by telephone."""
    sets = {name: found for name, found in record.sets.items() if found.role in (VALIDATION, TEST)}
    header = ["", *(f"{name} ({found.n} clips)" for name, found in sets.items())]
    rows = [[title, *(stated(found, key) for found in sets.values())] for key, title in METRICS.items()]
    return markdown_table(header, rows)


def confusion_table(record: Record) -> str:
    """Of test, else of validation; empty where nobody counted."""
    name, found = list(in_domain(record).items())[-1]
    if found.confusion is None:
        return ""
    c = found.confusion
    cells = markdown_table(["", "called real", "called fake"], [["real", c.tn, c.fp], ["fake", c.fn, c.tp]])
    return f"Confusion matrix on {name}:\n\n{cells}"


def control_table(record: Record) -> str:
    """The sets from elsewhere, and all that the base model was measured on, beside it; empty without either."""
    reported = record.report.judgement.sets if record.report else {}
    rows = []
    for name, found in record.sets.items():
        control = record.beside(name)
        if control is None and found.role != OUT_OF_DOMAIN and name not in reported:
            continue
        systems = [("this detector", found)]
        if control is not None:
            base, judged = control
            unnamed = "before narrowing" if record.run.facts.training.narrowed else "start checkpoint, unchanged"
            systems.append((f"base model {base.name}" if base.name else unnamed, judged))
        for system, judged in systems:
            rows.append([f"{name} ({judged.n} clips)", system, *(stated(judged, key) for key in _SHOWN_OUTSIDE)])
    return markdown_table(["set", "system", *(METRICS[key] for key in _SHOWN_OUTSIDE)], rows) if rows else ""


def points_table(record: Record) -> str:
    """The operating points as they came out on test; empty where none were stored."""
    rows = []
    for point in record.sets[TEST].operating_points if TEST in record.sets else ():
        promised = f"FPR ≤ {point.max_fpr}" if point.max_fpr is not None else ""
        if point.band is not None:
            promised = f"both ≤ {point.band.max_error}; answers for {point.band.decided:.3f} of the clips"
        if not point.supported:
            promised += " (not supported by n)"
        rows.append([f"`{point.name}`", promised.strip(), point.fpr, point.fnr])
    return markdown_table(["operating point", "promised", "real called fake", "fakes missed"], rows) if rows else ""


def generator_table(record: Record) -> str:
    """Fakes missed per generator, over all sets but validation; empty where generators are unknown."""
    rows = []
    train = record.run.facts.data.splits.get("train")
    trained = train.synthetic if train else frozenset()
    for name, found in record.sets.items():
        for part in found.breakdowns.get("generator", ()) if found.role != VALIDATION else ():
            state = "unknown" if part.name == "unknown" or not trained else "yes" if part.name in trained else "no"
            rows.append([part.name, name, state, part.fake.clips, part.metrics["roc_auc"], part.metrics["fnr"]])
    header = ["generator", "set", "in training", "clips", "ROC-AUC", "fakes missed"]
    return markdown_table(header, rows) if rows else ""


def parts_table(record: Record) -> str:
    """Kinds and years of held-out fakes; empty where nothing was held out."""
    found = record.sets.get(VALIDATION) if record.run.facts.training.pages_held_out else None
    rows = [
        [column, part.name, part.fake.clips, part.metrics["roc_auc"], part.metrics["fnr"]]
        for column, parts in (found.breakdowns if found else {}).items()
        for part in parts
    ]
    return markdown_table(["by", "part", "fake clips", "ROC-AUC", "fakes missed"], rows) if rows else ""


def limits_note(record: Record) -> str:
    """What likelihood ratios validation supports; empty where that is not known."""
    decisions = record.run.judgement.decisions
    limits = None if decisions is None else decisions.limits
    if limits is None:
        return ""
    how = "the thresholds of the operating points" if limits.method == OF_POINTS else "every ratio that was seen"
    return (
        f"Validation supports likelihood ratios (fake over human) from {limits.lowest_lr:g} to {limits.highest_lr:g}, "
        f"by the rule of ELUB at {how}, with {limits.n_real} independent groups of human speech. What lies beyond is "
        "stated as the end of that range."
    )


def statements_table(record: Record) -> str:
    """What would be said of the clips of each set, in ENFSI's words; empty where no set was judged so."""
    rows = [
        [name, _said(band.favours, band.strength), band.real, band.fake]
        for name, found in record.sets.items()
        if found.statements is not None
        for band in found.statements.bands
    ]
    return markdown_table(["set", "what is said", "human clips", "fakes"], rows) if rows else ""


def _said(favours: str | None, strength: str) -> str:
    if favours is None:
        return "no support for either"
    return f"{strength} support for {'synthesis' if favours == 'fake' else 'human speech'}"


def everyday_note(record: Record) -> str:
    """What everyday processing does to human clips all together; empty where it was not tried."""
    found = record.stress and record.stress.stability
    if not found:
        return ""
    return (
        f"{found.clips} human clips under {found.conditions} kinds of processing that mean no harm: {found.flipped} of "
        f"them change their verdict under at least one, {found.accused} from human to fake. The standard deviation of "
        f"a clip's log-odds over all of them is {number(found.deviation, 2)} for the middle clip, and nine of ten stay "
        f"below {number(found.deviation_90, 2)}."
    )


def everyday_table(record: Record) -> str:
    """The benign and the laundering conditions one by one."""
    rows = []
    for row in record.stress.conditions if record.stress else ():
        if row.human is not None and (row.benign or row.family == "laundered"):
            told = [
                row.human.flips,
                row.human.wronged,
                number(row.human.shift.value, 2),
                number(row.human.deviation, 2),
            ]
            lost = "–" if row.fakes is None else row.fakes.wronged
            rows.append([f"{row.family}: {row.label}", *told, lost])
    header = [
        "processing",
        "verdict changed",
        "called fake only now",
        "mean shift",
        "deviation",
        "fakes no longer found",
    ]
    return markdown_table(header, rows) if rows else ""


def data_table(data: DataFacts) -> str:
    """Recordings, clips and minutes per split and class."""
    rows = [
        [split, label, f.recordings or "unknown", f.clips, f.minutes or "unknown"]
        for split, facts in data.splits.items()
        for label, f in facts.of_classes
    ]
    return markdown_table(["split", "label", "recordings", "clips", "minutes"], rows)


def modules_table(model: ModelFacts) -> str:
    """What was trained and what stayed frozen; empty where that is not recorded."""
    rows = [[f"`{m.module}`", f"{m.parameters:,}", "trained" if m.trained else "frozen"] for m in model.modules]
    return markdown_table(["module", "parameters", "state"], rows) if rows else ""


def stated(judged: JudgedSet, key: str) -> Estimate | str:
    """One metric with its interval; a metric that nobody computed is another thing than one that is undefined."""
    return judged.metrics.get(key, "not stated")
