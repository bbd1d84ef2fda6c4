"""A whole run of a recipe with `convex:`: measure, hold out, calibrate, judge, and fit once more on everything.

A clip's score is that of scoring, the mean over its windows with speech; a clip without speech is neither fitted on nor
judged, and is counted as unscored. The threshold, the calibration and all "validation" numbers come from clips of train
and validation that were scored by heads fitted without their generators, campaigns and speakers. "test" is judged by
heads fitted on train and validation. The heads that are saved are fitted on the usable clips of all splits.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from datasets import DatasetDict
from transformers import AutoModelForAudioClassification

from compact import CompactForAudioClassification
from data_prep.audio import SAMPLING_RATE
from data_prep.errors import UserError
from data_prep.hub import cache_only, first_line, offline_hint
from judging.record import TEST, VALIDATION, Generalisation, Judgement
from judging.run import Fitted, TrainingFacts
from training.clip_table import ClipTable, measure_table, read_table
from training.convex import FAKE, REAL, platt
from training.convex_options import ConvexOptions, convex_options
from training.evaluate import fitted_judge, judged, with_scores, write_scores
from training.generalisation import by_channel, by_family, by_generator, without_published, worst_false_alarms
from training.leave_out import Scorer, fit_scorer, out_of_fold
from training.recipe import Recipe
from training.statistics import CLEAN, MEASURED


def fit_convex(
    recipe: Recipe, model: CompactForAudioClassification, dataset: DatasetDict
) -> tuple[Judgement, Generalisation, TrainingFacts]:
    """Fit the heads of `model` in place.

    Returns:
        how its validation and test were judged, what held-out generators say, and how it was fitted.

    Raises:
        UserError: another architecture, a dataset that is no folder, or options that do not fit it.
    """
    if not isinstance(model, CompactForAudioClassification):
        raise UserError(f"`convex:` fits compact-speech-detector; the architecture here is {model.config.model_type}")
    options = convex_options(recipe.convex)
    folder = Path(recipe.arguments.dataset)
    if not folder.is_dir():
        raise UserError(f"`convex:` needs a dataset folder with its report.json; {folder} is none")
    load_convolutions(model, options.convolutions)
    table = read_table(dataset, folder, options)
    own = recipe.arguments
    cut = round(own.window_s * SAMPLING_RATE), round(own.hop_s * SAMPLING_RATE)
    measured = measure_table(model, table, folder, recipe.training.seed, cut)
    heard = measured.heard(len(table))
    on_trial = {VALIDATION: table.usable & (table.split != "test"), TEST: table.split == "test"}
    known, test, left_out = on_trial[VALIDATION] & heard, on_trial[TEST] & heard, ~table.usable & heard
    table = replace(table, usable=table.usable & heard)

    folds, fit = len(options.folds), options.fit
    _say("fitting without each fold of train and validation")
    held_out = out_of_fold(table, measured, known, folds, fit)
    slope, offset, threshold = calibrated(held_out, table.clips.label, known, options.real_quantile)
    held_out = _scaled(held_out, slope, offset)

    _say("fitting without test")
    scorer = fit_scorer(table, measured, np.flatnonzero(known), fit)
    everything = np.arange(len(table))
    on_test = _scaled({c: scorer.score(measured, everything, c) for c in MEASURED}, slope, offset)
    rows = {name: table.rows.select(np.flatnonzero(part)) for name, part in on_trial.items()}
    logits = {VALIDATION: held_out[CLEAN][on_trial[VALIDATION]], TEST: on_test[CLEAN][on_trial[TEST]]}
    scored = with_scores(rows, logits)
    rule = f"{options.real_quantile:.0%} of held-out real clips below"
    write_scores(Path(recipe.training.output_dir), rows, logits)
    judgement = judged(scored, fitted_judge(scored[VALIDATION], threshold, rule))

    _say("fitting without each fold of all clips, with and without pairs")
    all_held = _scaled(out_of_fold(table, measured, table.usable, folds, fit), slope, offset)
    unpaired = None
    if len(table.pairs):
        unpaired = out_of_fold(_without_pairs(table), measured, table.usable, folds, fit)
    strangers = None
    if options.published:
        _say("fitting without each fold and all published samples")
        alone = out_of_fold(table, measured, table.usable, folds, fit, options.published)
        strangers = without_published(table, _scaled(alone, slope, offset), options.published, threshold)
    _say("fitting on everything")
    final = fit_scorer(table, measured, np.flatnonzero(table.usable), fit)
    on_all = _scaled({c: final.score(measured, everything, c) for c in MEASURED}, slope, offset)
    set_heads(model, final, slope, offset)
    generalisation = Generalisation(
        folds=tuple(tuple(fold) for fold in options.folds),
        families=by_family(table, all_held, unpaired),
        held_out=by_channel(table, all_held, table.usable, threshold, "held-out generators"),
        without_published=strangers,
        worst_false_alarms=worst_false_alarms(table, all_held, threshold),
        test=by_channel(table, on_test, test, threshold, TEST),
        test_generators=by_generator(table, on_test, test),
        left_out=by_channel(table, on_all, left_out, threshold, "left out") if left_out.any() else None,
        left_out_groups=tuple(sorted({str(name) for name in table.clips.speaker[left_out]})),
    )
    return judgement, generalisation, _facts(recipe, options, table, judgement, int(left_out.sum()))


def calibrated(
    scores: dict[str, np.ndarray], labels: np.ndarray, rows: np.ndarray, real_quantile: float
) -> tuple[float, float, float]:
    """(slope, offset, threshold): log-odds are slope * score + offset, and the threshold is in log-odds.

    All channels count together, because a detector is not told which one a recording came through.
    """
    pooled = np.concatenate([channel[rows] for channel in scores.values()])
    repeated = np.tile(labels[rows], len(scores))
    slope, offset = platt(pooled, repeated)
    return slope, offset, float(np.quantile(slope * pooled[repeated == REAL] + offset, real_quantile))


def load_convolutions(model: CompactForAudioClassification, name: str) -> None:
    """Take conv1, conv2 and as many layers as the model has from a compact detector or a Whisper encoder like it.

    Raises:
        UserError: it cannot be loaded, or lacks them.
    """
    try:
        source = AutoModelForAudioClassification.from_pretrained(
            name, dtype=torch.float32, local_files_only=cache_only()
        )
        source = getattr(source, "encoder", source)
        model.conv1.load_state_dict(source.conv1.state_dict())
        model.conv2.load_state_dict(source.conv2.state_dict())
        for number, layer in enumerate(model.layers):
            layer.load_state_dict(source.layers[number].state_dict())
    except (OSError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        raise UserError(
            f"cannot take the convolutions from {name} ({first_line(error)}); expected a compact detector or a Whisper "
            f"encoder, e.g. openai/whisper-base{offline_hint(name)}"
        ) from error


def set_heads(model: CompactForAudioClassification, scorer: Scorer, slope: float, offset: float) -> None:
    """Put a scorer's heads into the model, so that the difference of its logits is the calibrated log-odds."""
    with torch.no_grad():
        for number, (name, head) in enumerate(scorer.heads.items()):
            target = model.heads[name]
            target.mean.copy_(torch.from_numpy(head.mean))
            target.std.copy_(torch.from_numpy(head.std))
            target.weight.copy_(torch.from_numpy(head.weight * slope))
            target.bias.fill_(head.bias * slope + (offset if number == 0 else 0.0))


def _scaled(scores: dict[str, np.ndarray], slope: float, offset: float) -> dict[str, np.ndarray]:
    return {channel: slope * values + offset for channel, values in scores.items()}


def _without_pairs(table: ClipTable) -> ClipTable:
    fields = {name: getattr(table, name) for name in ("rows", "clips", "split", "fold", "usable")}
    return ClipTable(**fields, pairs=[], pair_rows=np.zeros(0, dtype=int))


def _facts(
    recipe: Recipe, options: ConvexOptions, table: ClipTable, judgement: Judgement, left_out: int
) -> TrainingFacts:
    label, usable = table.clips.label, table.usable
    return TrainingFacts(
        method="convex",
        steps=options.fit.iterations,
        best_metric=recipe.training.metric_for_best_model,
        best_value=judgement.sets[VALIDATION].value("roc_auc"),
        seed=recipe.training.seed,
        precision="fp64 for the fit, fp32 for the statistics",
        processes=1,
        fitted=Fitted(
            real=int((usable & (label == REAL)).sum()),
            fake=int((usable & (label == FAKE)).sum()),
            pairs=int(np.isin(table.pair_rows, np.flatnonzero(usable)).sum()),
            left_out=left_out,
        ),
    )


def _say(*text: Iterable[str]) -> None:
    print(*text, file=sys.stderr)
