"""What is known about a detector: results.json of its run, report.json of its evaluation, and its config."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepfake.errors import UserError
from deepfake.judging.limits import Evidence
from deepfake.judging.record import Base, JudgedSet
from deepfake.judging.report import Report, StressRecord, read_report, read_stress
from deepfake.judging.run import RESULTS, RunRecord, read_run

REPORT_PLACES = ("report.json", "report/report.json")  # within the detector's folder
STRESS_PLACES = ("stress.json", "stress/stress.json", "report/stress.json")


@dataclass(frozen=True)
class Record:
    """`run`: the training run. `detector`: the config's entry. `report`, `stress`: of python -m evaluation, or None."""

    run: RunRecord
    detector: dict[str, Any]
    report: Report | None = None
    stress: StressRecord | None = None

    @classmethod
    def load(cls, folder: Path) -> Record:
        """Read what lies in a detector's folder.

        Raises:
            UserError: the folder holds no results of a run, or a file of it cannot be read.
        """
        run = read_run(folder / RESULTS)
        reports, stresses = (_existing(folder, places) for places in (REPORT_PLACES, STRESS_PLACES))
        report = read_report(reports[0]) if reports else None
        stress = read_stress(stresses[0]) if stresses else report and report.stress
        return cls(run, _config(folder).get("detector") or {}, report, stress)

    @property
    def sets(self) -> dict[str, JudgedSet]:
        """Every judged set by name. Where run and report judged the same one, this is the report's, which says more.

        What validation and test are is the run's to say, whichever of them a report was made on.
        """
        mine = self.run.judgement.sets
        if self.report is None:
            return mine
        reported = self.report.judgement.sets
        return mine | {
            name: replace(found, role=mine[name].role) if name in mine else found for name, found in reported.items()
        }

    @property
    def bases(self) -> tuple[Base, ...]:
        """What the detector can be compared with: the report's base model, then the run's start checkpoint."""
        found = [self.run.judgement.base]
        if self.report is not None:
            found.insert(0, self.report.judgement.base)
        return tuple(base for base in found if base is not None)

    def beside(self, name: str) -> tuple[Base, JudgedSet] | None:
        """The base model and what it did on a set; None where it was not measured."""
        return next(((base, base.sets[name]) for base in self.bases if name in base.sets), None)

    def evidence(self) -> Evidence:
        """The facts as the gap checks read them."""
        facts = self.run.facts
        audit = facts.data.audit
        if facts.training.pages_held_out:
            # What is called validation are clips of all splits: there are no counts to compare.
            audit = replace(audit, splits={})
        if self.report is not None and self.report.audit is not None:
            audit = replace(audit, shared_speakers=self.report.audit.shared_speakers)
        sets = self.sets
        return Evidence(
            sets=sets,
            audit=audit,
            base={name: found[1] for name in sets if (found := self.beside(name)) is not None},
            threshold_split=self.run.judgement.threshold.split,
            thresholds=self._thresholds(),
            fine_tuned=not facts.model.from_scratch,
            narrowed=facts.training.narrowed is not None,
            longest_s=facts.longest_s,
            unscored=self.run.judgement.unscored,
            missing=tuple(_missing(self.run)),
            pages_held_out=facts.training.pages_held_out,
        )

    def _thresholds(self) -> dict[str, float | str]:
        stated = {
            "results": self.run.judgement.threshold.fake_probability,
            "config": self.detector.get("threshold"),
            "report": None,
        }
        if self.report is not None and self.report.judgement.threshold is not None:
            stated["report"] = self.report.judgement.threshold.fake_probability
        known = {place: round(value, 4) for place, value in stated.items() if value is not None}
        return known | self.run.facts.thresholds_elsewhere


def _existing(folder: Path, places: Sequence[str]) -> list[Path]:
    return [folder / place for place in places if (folder / place).is_file()]


def _missing(run: RunRecord) -> list[str]:
    """What nobody could repeat the training without. Runs of this project record their recipe, not their code."""
    code = run.facts.code
    lacking = []
    if not code.get("training", bool(run.facts.recipe)):
        lacking.append("the training code or recipe")
    if not code.get("preparation", bool(run.facts.data.preparation)):
        lacking.append("how the dataset was prepared")
    return lacking


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{folder} has no config.json; expected the weights and config of a training run") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable as JSON ({error}); it may have been cut off") from error
