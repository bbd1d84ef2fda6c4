"""What is known about a detector: results.json of its run, report.json of its evaluation, and its config."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from evaluation.decisions import probability_of
from evaluation.gaps import Evidence, Measured

REPORT_PLACES = ("report.json", "report/report.json")  # within the detector's folder
IN_DOMAIN = ("validation", "test")


@dataclass(frozen=True)
class Record:
    """`results`: of the training run. `detector`: the config's entry. `report`: of python -m evaluation, or None."""

    results: dict[str, Any]
    detector: dict[str, Any]
    report: dict[str, Any] | None = None

    @classmethod
    def load(cls, folder: Path) -> Record:
        """Read what lies in a detector's folder.

        Raises:
            UserError: the folder holds no results of a run, or a file of it cannot be read.
        """
        results, config = (_read(folder, name) for name in ("results.json", "config.json"))
        places = [folder / place for place in REPORT_PLACES if (folder / place).is_file()]
        report = _read(places[0].parent, places[0].name) if places else None
        if report is not None and "sets" not in report:
            raise UserError(f"{places[0]} is not a report of python -m evaluation; move it away or write a new one")
        return cls(results, config.get("detector") or {}, report)

    @property
    def outside(self) -> dict[str, dict[str, Any]]:
        """The report's out-of-domain sets by name."""
        sets = self.report["sets"] if self.report else {}
        return {name: found for name, found in sets.items() if found["role"] == "out_of_domain"}

    @property
    def base_sets(self) -> dict[str, dict[str, Any]]:
        """The base model's results by set, empty without a control."""
        return self.report["base"]["sets"] if self.report and self.report.get("base") else {}

    def evidence(self) -> Evidence:
        """The facts as the gap checks read them."""
        results, data = self.results, self.results["data"]
        splits = {n: (f["real"]["clips"], f["fake"]["clips"]) for n, f in data["splits"].items()}
        known = all(f[k]["recordings"] is not None for f in data["splits"].values() for k in ("real", "fake"))
        unit = data.get("split_unit", "recording" if known else None)
        return Evidence(
            measured=tuple(self._measured()),
            # A convex fit judges other clips than the splits hold, and says which: nothing to compare there.
            splits={} if results["training"].get("method") == "convex" else splits,
            split_unit=unit,
            shared_recordings=data["recordings_in_several_splits"] if known else None,
            shared_speakers=((self.report or {}).get("audit") or {}).get("shared_speakers"),
            threshold_split=results["threshold"]["split"],
            thresholds=self._thresholds(),
            fine_tuned=not results["model"]["from_scratch"],
            longest_s=(results.get("scoring") or {}).get("longest_s"),
            unseen_generators=self._unseen_generators(),
            unscored=sum(results.get("unscored", {}).values()),
            missing=tuple(_missing(results)),
        )

    def _measured(self) -> list[Measured]:
        found = []
        for name in IN_DOMAIN:
            if name in self.results:
                result, m = self.results[name], self.results[name]["metrics"]
                recordings = result["recordings"]
                found.append(
                    Measured(
                        name, name, m["n_real"], m["n_fake"], recordings["real"], recordings["fake"],
                        _has_interval(result["intervals"]), _auc(result["intervals"]), self._against_base(name),
                    )
                )  # fmt: skip
        if held := self.results.get("generalisation", {}).get("held_out"):
            auc = held["clean"]["roc_auc"]
            bounds = None if auc["low"] is None else (auc["low"], auc["high"])
            found.append(Measured("held-out generators", "out_of_domain", held["real"], held["fake"], auc=bounds))
        for name, outside in self.outside.items():
            m, facts = outside["metrics"], outside["facts"]
            counts = (m.get("n_real"), m.get("n_fake"), facts["real"]["recordings"], facts["fake"]["recordings"])
            intervals = outside["intervals"].get("recordings", {})
            known = (_has_interval(intervals), _auc(intervals), self._against_base(name))
            found.append(Measured(name, "out_of_domain", *counts, *known))
        for name, outside in self.results.get("outside", {}).items():
            if name not in self.outside:
                m, recordings, intervals = outside["metrics"], outside["recordings"], outside["intervals"]
                counts = (m["n_real"], m["n_fake"], recordings["real"], recordings["fake"])
                known = (_has_interval(intervals), _auc(intervals), self._against_base(name))
                found.append(Measured(name, "out_of_domain", *counts, *known))
        return found

    def _against_base(self, name: str) -> dict[str, Any] | None:
        """The two systems by ROC-AUC, or by accuracy where nothing else was published."""
        before = self.results.get("base", {}).get(name)
        if before and before["metrics"]["roc_auc"] is not None:
            after = self.results.get("outside", {}).get(name) or self.results[name]
            values = {"model": after["metrics"]["roc_auc"], "base": before["metrics"]["roc_auc"]}
            return {"metric": "ROC-AUC"} | {key: round(value, 4) for key, value in values.items()}
        differences = self.report["base"]["differences"] if self.base_sets else {}
        for metric, title in (("roc_auc", "ROC-AUC"), ("accuracy", "accuracy")):
            found = differences.get(name, {}).get(metric)
            if found and found["a"] is not None:
                return {"metric": title, "model": round(found["a"], 4), "base": round(found["b"], 4)}
        return None

    def _thresholds(self) -> dict[str, float | str]:
        places: dict[str, float | str] = {"results": round(self.results["threshold"]["fake_probability"], 4)}
        if self.detector.get("threshold") is not None:
            places["config"] = round(self.detector["threshold"], 4)
        stated = (self.report or {}).get("threshold")
        if stated and stated["value"] is not None:
            probability = probability_of(stated["value"]) if stated["unit"] == "fake_logit" else stated["value"]
            places["report"] = round(probability, 4)
        return places | self.results.get("thresholds_elsewhere", {})

    def _unseen_generators(self) -> tuple[str, ...] | None:
        splits = self.results["data"]["splits"]
        trained = set(splits.get("train", {}).get("generators", {})) - {"human", "unknown"}
        heard = set(splits.get("test", {}).get("generators", {}))
        for outside in self.outside.values():
            heard |= set(outside["facts"]["generators"])
        for outside in self.results.get("outside", {}).values():
            heard |= set(outside["generators"])
        heard -= {"human", "unknown"}
        return tuple(sorted(heard - trained)) if trained and heard else None


def _has_interval(intervals: dict[str, Any]) -> bool:
    return any(interval["low"] is not None for interval in intervals.values())


def _auc(intervals: dict[str, Any]) -> tuple[float, float] | None:
    found = intervals.get("roc_auc")
    return None if not found or found["low"] is None else (found["low"], found["high"])


def _missing(results: dict[str, Any]) -> list[str]:
    """What nobody could repeat the training without. Runs of this project record their recipe, not their code."""
    code = results.get("code", {})
    lacking = []
    if not code.get("training", bool(results.get("recipe"))):
        lacking.append("the training code or recipe")
    if not code.get("preparation", bool(results["data"].get("preparation"))):
        lacking.append("how the dataset was prepared")
    return lacking


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} has no {name}; a card is built from what a training run left in its folder"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / name} is not readable as JSON ({error}); it may have been cut off") from error
