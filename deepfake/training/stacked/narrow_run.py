"""A whole run of a recipe with `narrow:`: a detector that was fitted with `stacked:` is made narrower.

Thresholds, calibration and what was held out are the wide detector's, and so recorded. What narrowing changes is
measured on the sets from elsewhere (`--ood_dataset`), where both detectors judge the same clips.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import FeatureExtractionMixin, PreTrainedModel

from deepfake.architectures.compact import CompactForAudioClassification
from deepfake.errors import UserError
from deepfake.hub import first_line
from deepfake.judging.judge import Judge, compare
from deepfake.judging.record import Base, Judgement
from deepfake.judging.run import RESULTS, Narrowed, RunFacts, RunRecord, read_run
from deepfake.schema import SPLITS
from deepfake.training.evaluate import judged, with_scores, write_scores
from deepfake.training.outside import warnings_of
from deepfake.training.recipe import Recipe
from deepfake.training.scores import Score, detector_in_training, scores_of
from deepfake.training.stacked.audio import ClipAudio
from deepfake.training.stacked.model import load_parameters
from deepfake.training.stacked.narrow import Matched, Matching, NarrowOptions
from deepfake.training.stacked.options import StackedOptions
from deepfake.training.stacked.sampling import ClipFacts, chosen_clips


def fit_narrow(
    recipe: Recipe,
    facts: RunFacts,
    model: PreTrainedModel,
    extractor: FeatureExtractionMixin,
    dataset: DatasetDict,
    outside: Mapping[str, Dataset],
) -> RunRecord:
    """Fit `model` in place to the wide detector that the recipe names.

    Args:
        facts: of this run, before it.
        dataset: clips to be matched on, all splits of them, by the selection of the wide detector's own recipe.
        outside: sets from elsewhere, judged by both detectors.

    Raises:
        UserError: another architecture, options that do not fit, or a wide detector that cannot be had.
    """
    if not isinstance(model, CompactForAudioClassification):
        raise UserError(f"`narrow:` makes compact-encoder-detector; the architecture here is {model.config.model_type}")
    options, seed, device = NarrowOptions.of(recipe.narrow), recipe.training.seed, recipe.training.device
    record, teacher = _teacher(options.teacher)
    folder = Path(recipe.training.output_dir)
    rows = concatenate_datasets([dataset[split] for split in SPLITS if split in dataset])
    selection = StackedOptions.of(record.facts.recipe.get("stacked") or {})
    rows = rows.select(chosen_clips(rows, ClipFacts.of(rows), selection, seed))
    audio = ClipAudio(rows, device)
    print(f"narrowing on {len(audio)} clips", file=sys.stderr)
    matched = Matching(teacher, model, audio, options, seed, device, folder).run()
    clips = len(audio)
    del audio
    load_parameters(model, {name: value.half().float().cpu() for name, value in model.named_parameters()})
    model.to(device).eval()

    judgement, scores = _judgement(
        record, outside, *(scores_of(detector_in_training(m, extractor, recipe)) for m in (teacher.to(device), model))
    )
    write_scores(folder, outside, scores)
    narrowed = _narrowed(record, teacher, options, matched, clips, facts.surroundings["device"])
    kept = replace(
        record.facts,
        model=replace(facts.model, base_model=record.facts.model.base_model, from_scratch=False),
        recipe=facts.recipe | {"dataset": record.facts.recipe["dataset"]},
        max_duration_s=facts.max_duration_s,
        training=replace(record.facts.training, narrowed=narrowed),
        card_notes=facts.card_notes,
    )
    return RunRecord(kept, judgement)


def _teacher(place: str) -> tuple[RunRecord, CompactForAudioClassification]:
    record = read_run(Path(place) / RESULTS)
    if record.facts.training.method != "stacked":
        raise UserError(f"narrow.teacher {place} was not fitted with `stacked:`; expected a detector that was")
    try:
        teacher = CompactForAudioClassification.from_pretrained(place, dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"cannot load narrow.teacher {place} ({first_line(error)})") from error
    return record, teacher.eval()


def _judgement(
    record: RunRecord, outside: Mapping[str, Dataset], of_teacher: Score, of_model: Score
) -> tuple[Judgement, dict[str, np.ndarray]]:
    """The wide detector's judgement with the sets from elsewhere as the narrow one judges them, and its scores there.

    Both decide by the same threshold, so that every difference is that of the scores.
    """
    judge = Judge(record.judgement.threshold, record.judgement.decisions)
    wide = {name: of_teacher(rows, f"{name}, before narrowing") for name, rows in outside.items()}
    slim = {name: of_model(rows, name) for name, rows in outside.items()}
    clips, before = with_scores(outside, slim), with_scores(outside, wide)
    found = judged(clips, judge)
    differences = {name: compare(clips[name], judge, before[name], judge) for name in clips if name in before}
    base = Base(None, judge.threshold, judged(before, judge).sets, differences)
    return (
        replace(
            record.judgement,
            sets=record.judgement.sets | found.sets,
            base=base if differences else record.judgement.base,
            unscored=record.judgement.unscored + found.unscored,
            warnings=(*record.judgement.warnings, *warnings_of(differences, list(outside))),
        ),
        slim,
    )


def _narrowed(
    record: RunRecord,
    teacher: CompactForAudioClassification,
    options: NarrowOptions,
    matched: Matched,
    clips: int,
    device: str,
) -> Narrowed:
    return Narrowed(
        parameters_before=record.facts.model.parameters,
        widths_before=tuple(teacher.config.inner_widths),
        steps=options.steps,
        clips=clips,
        correlation_before=matched.before.correlation,
        correlation=matched.after.correlation,
        log_odds_rms=matched.after.log_odds_rms,
        device=device,
        history=matched.history,
    )
