"""Records of format 1, which had another shape for each writer, as those of format 2.

Format 1 is results.json without a key "format", and report.json with `"format": 1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
_COUNTS = ("tp", "tn", "fp", "fn")
_NOT_METRICS = (*_COUNTS, "n", "n_real", "n_fake")


def results_of_format_1(old: Json) -> Json:
    """results.json. What format 1 did not record is left unknown."""
    splits = {name: _split(found) for name, found in old["data"]["splits"].items()}
    generators = {name: found["generators"] for name, found in splits.items()}
    sets = {
        name: _training_set(old[name], name, generators.get(name, {})) for name in ("validation", "test") if name in old
    }
    for name, found in old.get("outside", {}).items():
        sets[name] = _training_set(found, "out_of_domain", dict.fromkeys(found["generators"]))
    for name, found in sets.items():
        found["unscored"] = old.get("unscored", {}).get(name, 0)
    kept = ("hub_model_id", "license", "card_notes", "max_duration_s", "recipe", "training", "surroundings", "search")
    return {
        **{key: old[key] for key in kept if key in old},
        "model": {"class_name": old["model"]["class"]} | old["model"],
        "data": old["data"] | {"splits": splits},
        "thresholds_elsewhere": old.get("thresholds_elsewhere", {}),
        "longest_s": old.get("scoring", {}).get("longest_s"),
        "code": old.get("code", {}),
        "threshold": _trained_threshold(old["threshold"]),
        "decisions": old.get("decisions"),
        "sets": sets,
        "base": _start(old, sets),
        "unscored": sum(old.get("unscored", {}).values()),
        "warnings": old.get("warnings", []),
    }


def report_of_format_1(old: Json) -> Json:
    """report.json of `python -m evaluation`."""
    base = old.get("base")
    left_out = old.get("leave_one_generator_out")
    return old | {
        "threshold": _stated_threshold(old["threshold"]),
        "decisions": old.get("decisions"),
        "sets": {name: _reported_set(found, found["role"]) for name, found in old["sets"].items()},
        "base": base
        and {
            "name": base["system"]["name"],
            "threshold": _stated_threshold(base.get("threshold")),
            "sets": {name: _reported_set(found, old["sets"][name]["role"]) for name, found in base["sets"].items()},
            "differences": _differences(base["differences"]),
        },
        "leave_one_generator_out": left_out and [_part(row) for row in left_out],
    }


def _trained_threshold(old: Json) -> Json:
    logit = old.get("fake_logit")
    rule = old["rule"].replace("_", " ")
    return {
        "value": old["fake_probability"] if logit is None else logit,
        "unit": "fake_probability" if logit is None else "fake_logit",
        "origin": f"chosen on {old['split'] or 'clips nobody recorded'} by {rule}",
        "split": old["split"],
        "rule": old["rule"],
    }


def _stated_threshold(old: Json | None) -> Json | None:
    return None if old is None or old["value"] is None else {"split": None} | old


def _split(old: Json) -> Json:
    return {"real": old["real"], "fake": old["fake"], "generators": old.get("generators", {})}


def _training_set(old: Json, role: str, generators: Mapping[str, int | None]) -> Json:
    metrics = old["metrics"]
    facts = {kind: {"clips": metrics[f"n_{kind}"], "recordings": old["recordings"][kind]} for kind in ("real", "fake")}
    return {
        "role": role,
        "n": metrics["n"],
        "facts": facts | {"generators": dict(generators)},
        "confusion": _confusion(metrics),
        "metrics": _metrics(metrics, old["intervals"]),
        "operating_points": [_point(row) for row in old.get("operating_points", [])],
    }


def _reported_set(old: Json, role: str) -> Json:
    intervals = dict(old["intervals"])
    over_recordings = intervals.pop("recordings", {})
    return {
        "role": role,
        "n": old["metrics"]["n"],
        "facts": old["facts"],
        "confusion": _confusion(old["metrics"]),
        "metrics": _metrics(old["metrics"], over_recordings),
        "regrouped": {
            unit: {name: _estimate(old["metrics"].get(name), found) for name, found in held.items()}
            for unit, held in intervals.items()
        },
        "operating_points": [_point(row) for row in old.get("operating_points") or []],
        "breakdowns": {name: [_part(row) for row in rows] for name, rows in old["breakdowns"].items()},
        "series": _series(old["series"]) if old.get("series") else None,
    }


def _start(old: Json, sets: Json) -> Json | None:
    """The start checkpoint, which `against_base` compares with."""
    if "base" not in old:
        return None
    found = dict(old["base"])
    threshold = found.pop("threshold")
    return {
        "name": None,
        "threshold": {"value": threshold, "unit": "fake_probability", "origin": "its own", "split": None},
        "sets": {n: _training_set(s, sets[n]["role"], sets[n]["facts"]["generators"]) for n, s in found.items()},
        "differences": _differences(old.get("against_base", {})),
    }


def _estimate(value: float | None, interval: Json | None = None) -> Json:
    """`interval` may hold further entries, such as the value again."""
    known = ("low", "high", "n_groups", "method", "warning")
    return {"value": value} | {key: interval[key] for key in known if interval and key in interval}


def _metrics(metrics: Json, intervals: Json) -> Json:
    return {n: _estimate(value, intervals.get(n)) for n, value in metrics.items() if n not in _NOT_METRICS}


def _confusion(metrics: Json) -> Json | None:
    return {name: metrics[name] for name in _COUNTS} if all(name in metrics for name in _COUNTS) else None


def _cells(row: Json) -> Json:
    """The entries of a row that are {"value", "low", "high", …}."""
    return {k: _estimate(v["value"], v) for k, v in row.items() if isinstance(v, dict) and "value" in v}


def _point(row: Json) -> Json:
    band = None
    if "decided" in row:
        band = {key: row[key] for key in ("fake_from", "real_below", "max_error", "decided")}
    known = {key: row[key] for key in ("name", "threshold", "max_fpr", "supported", "note") if key in row}
    return known | _cells(row) | {"band": band}


def _part(row: Json) -> Json:
    facts = {k: {"clips": row[f"n_{k}"], "recordings": row["recordings"][k]} for k in ("real", "fake")}
    return {"name": row["name"], **facts, "metrics": _cells(row)}


def _differences(old: Json) -> Json:
    return {
        name: {
            metric: {"a": d["a"], "b": d["b"], "difference": _estimate(d.get("difference"), d.get("interval"))}
            for metric, d in found.items()
        }
        for name, found in old.items()
    }


def _series(old: Json) -> Json:
    reliability = old["reliability"]
    if reliability:
        bins = [{"p": b["p"], "n": b["n"], "fake": _estimate(b["fake"], b)} for b in reliability["bins"]]
        reliability = {"calibrated": reliability["calibrated"], "bins": bins}
    return old | {"reliability": reliability}
