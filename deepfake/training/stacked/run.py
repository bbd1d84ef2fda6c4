"""A whole run of a recipe with `stacked:`: fit, average, score what was held out, decide, judge.

With folds, all splits are fitted on. Each clip is then scored by the model that has met neither its page nor its
generator, by the way that recordings take; thresholds, calibration and the numbers called "validation" come from these
scores. The detector that is saved is the average of the models that were fitted on everything. Without folds, it is
fitted on train, and validation and test are what they are for other recipes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import FeatureExtractionMixin, PreTrainedModel

from deepfake.architectures.compact import CompactForAudioClassification
from deepfake.audio.decode import SAMPLING_RATE
from deepfake.errors import UserError
from deepfake.judging.record import Judgement
from deepfake.judging.run import Fitted, RunFacts, TrainingFacts
from deepfake.schema import SPLITS
from deepfake.scoring.detector import Detector
from deepfake.training.evaluate import judged, measure, with_scores, write_scores
from deepfake.training.recipe import Recipe
from deepfake.training.scores import detector_in_training, scores_of
from deepfake.training.stacked.audio import ClipAudio
from deepfake.training.stacked.encoder import load_encoder
from deepfake.training.stacked.fit import Averages, OneFit, StackedFit
from deepfake.training.stacked.held_out import decide, judge_held_out, score_held_out, write_held_out
from deepfake.training.stacked.model import detector_of, give_a_fresh_head, load_parameters
from deepfake.training.stacked.options import StackedOptions
from deepfake.training.stacked.sampling import FAKE, REAL, ClipFacts, chosen_clips, deal_pages, fold_masks


def fit_stacked(
    recipe: Recipe,
    model: PreTrainedModel,
    extractor: FeatureExtractionMixin,
    dataset: DatasetDict,
    outside: Mapping[str, Dataset],
) -> tuple[Judgement, TrainingFacts]:
    """Fit `model` in place.

    Args:
        outside: sets from elsewhere, to be judged by the detector that is saved.

    Returns:
        how it was judged, and how it was fitted.

    Raises:
        UserError: another architecture, options that do not fit it or the dataset, or an encoder that cannot be had.
    """
    if not isinstance(model, CompactForAudioClassification):
        raise UserError(f"`stacked:` fits compact-encoder-detector; the architecture here is {model.config.model_type}")
    options, seed, device = StackedOptions.of(recipe.stacked), recipe.training.seed, recipe.training.device
    folder = Path(recipe.training.output_dir)
    _require_one_block(model, options)
    load_encoder(model, options.encoder)
    give_a_fresh_head(model, seed)

    rows = concatenate_datasets([dataset[s] for s in SPLITS if s in dataset]) if options.folds else dataset["train"]
    chosen = chosen_clips(rows, ClipFacts.of(rows), options, seed)
    audio = ClipAudio(rows.select(chosen), device)
    left_out, rows = len(rows) - len(audio), rows.select(chosen[audio.kept])
    facts = ClipFacts.of(rows)
    fold = deal_pages(facts, options.folds) if options.folds else np.zeros(len(rows), dtype=int)
    fits = _fits(facts, fold, options)
    dtype = torch.bfloat16 if device.type == "cuda" and recipe.precision == "bf16" else torch.float32
    _say(f"{len(fits)} models on {len(rows)} clips of {len(set(facts.page.tolist()))} pages")
    fitted = StackedFit(model, audio, facts, fits, options, seed, device, dtype, folder).run()
    del audio
    average_into(model, fitted, options.folds)
    model.to(device).eval()

    score = scores_of(detector_in_training(model, extractor, recipe))
    if options.folds:

        def of_fold(number: int) -> Detector:
            alone = detector_of(model, fitted.parameters, number).to(device)
            return detector_in_training(alone, extractor, recipe)

        counted = ~facts.copy | (options.copies == "fake")
        held = score_held_out(rows, facts, fold, counted, of_fold)
        write_held_out(folder, held)
        judge = decide(held, options.max_fpr)
        logits = {name: score(part, name) for name, part in outside.items()}
        write_scores(folder, outside, logits)
        elsewhere = judged(with_scores(outside, logits), judge)
        judgement = replace(elsewhere, sets=judge_held_out(held, judge) | elsewhere.sets)
        unscored = sum(int(np.isnan(found).sum()) for found in (*held.logits.values(), *logits.values()))
        judgement = replace(judgement, unscored=unscored)
    else:
        judgement = measure(score, dataset, recipe.arguments.threshold_rule, folder, outside)
    clips = Fitted(
        real=int((facts.label == REAL).sum()),
        fake=int((facts.label == FAKE).sum()),
        left_out=left_out,
        pages=len(set(facts.page.tolist())),
        generators=len(set(facts.generator[facts.label == FAKE].tolist())),
        models=options.seeds,
        folds=options.folds,
    )
    return judgement, TrainingFacts(
        steps=options.steps,
        seed=seed,
        precision="bf16" if dtype == torch.bfloat16 else "fp32",
        processes=1,
        history=tuple(fitted.history),
        method="stacked",
        fitted=clips,
    )


def with_encoder(facts: RunFacts, recipe: Recipe) -> RunFacts:
    """The facts of a run whose model started from the recipe's encoder, and not from scratch."""
    source = StackedOptions.of(recipe.stacked).encoder
    known = None if os.path.exists(source) else source
    return replace(facts, model=replace(facts.model, base_model=known, from_scratch=False))


def average_into(model: CompactForAudioClassification, fitted: Averages, folds: int) -> None:
    """Give `model` the mean of the parameters of all models but the first `folds`, rounded as its file stores them."""
    means = {name: values[folds:].mean(0) for name, values in fitted.parameters.items()}
    load_parameters(model, {name: value.half().float().cpu() for name, value in means.items()})


def _fits(facts: ClipFacts, fold: np.ndarray, options: StackedOptions) -> list[OneFit]:
    """One for each fold, then one for each seed."""
    everything = np.ones(len(facts), dtype=bool)
    by_fold = [OneFit(fold_masks(facts, fold, number)[0], number) for number in range(options.folds)]
    strengths = options.strengths
    return by_fold + [
        OneFit(everything, options.folds + seed, strengths[seed % len(strengths)]) for seed in range(options.seeds)
    ]


def _require_one_block(model: CompactForAudioClassification, options: StackedOptions) -> None:
    block_s = model.config.block_frames * 2 * model.config.mel_hop / SAMPLING_RATE
    if options.crop_s > block_s:
        raise UserError(f"stacked.crop_s is {options.crop_s:g}; frames attend to each other within {block_s:g} s only")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
