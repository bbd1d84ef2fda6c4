#!/usr/bin/env python3
"""Fine-tune a speech deepfake detector and leave it documented.

accelerate launch train_wav2vec2.py --config configs/wav2vec2_xlsr.yaml --dataset DIR --output_dir OUT
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from transformers import set_seed
from transformers.utils.logging import disable_progress_bar

from deepfake.errors import run_command
from deepfake.judging.run import RunRecord
from deepfake.launch import start_all_processes
from deepfake.training.arguments import parse_recipe
from deepfake.training.data import load_splits, shared_sources
from deepfake.training.evaluate import measure, measure_base
from deepfake.training.history import write_history
from deepfake.training.lora import merge_lora
from deepfake.training.model import load_feature_extractor, load_model, planned_config, starts_as_detector
from deepfake.training.output import prepare_output, push, save_detector
from deepfake.training.outside import load_outside
from deepfake.training.plan import describe_plan
from deepfake.training.prefix import build_cache
from deepfake.training.record import describe_run, describe_training
from deepfake.training.scores import score_of_start, score_of_trained
from deepfake.training.search.run import search_facts, with_architecture
from deepfake.training.stacked.narrow_run import fit_narrow
from deepfake.training.stacked.run import fit_stacked, with_encoder
from deepfake.training.summary import format_results
from deepfake.training.trainer import build_trainer, train_from_cache, train_or_stop
from model_card.build import write_card


def train() -> None:
    disable_progress_bar()  # of loading and saving weights; the bar of the training itself stays
    start_all_processes()
    recipe = parse_recipe(sys.argv[1:])
    if recipe.arguments.plan:
        print(describe_plan(planned_config(recipe), recipe))
        return
    arguments, main_process = recipe.training, recipe.training.process_index == 0

    dataset = load_splits(recipe.arguments.dataset)
    outside = load_outside(recipe)
    with arguments.main_process_first(local=False, desc="preparing the output folder"):
        checkpoint = prepare_output(recipe)
    if recipe.search:
        with arguments.main_process_first(local=False, desc="searching the architecture"):
            recipe = with_architecture(recipe, dataset)
    set_seed(arguments.seed)
    model = load_model(recipe)
    extractor = load_feature_extractor(recipe, model.config)
    if main_process:
        print(describe_plan(model.config, recipe), file=sys.stderr)
        if leaked := shared_sources(dataset):
            print(f"warning: {leaked} recordings are in more than one split; the results will flatter", file=sys.stderr)
        if checkpoint:
            print(f"going on from {checkpoint}", file=sys.stderr)

    folder = Path(arguments.output_dir)
    if (recipe.stacked or recipe.narrow) and not main_process:
        return  # all models of the fit run in one process
    if recipe.narrow:
        results = fit_narrow(recipe, describe_run(recipe, model, dataset), model, extractor, dataset, outside)
    elif recipe.stacked:
        facts = with_encoder(describe_run(recipe, model, dataset), recipe)
        judgement, training = fit_stacked(recipe, model, extractor, dataset, outside)
        results = RunRecord(replace(facts, training=training), judgement)
    else:
        trainer = build_trainer(recipe, model, extractor, dataset)
        start = None
        if starts_as_detector(recipe):
            stored = getattr(model.config, "detector", None)
            start = measure_base(score_of_start(recipe), dataset, stored, outside)
        if recipe.arguments.cache_prefix:
            with arguments.main_process_first(local=False, desc="computing the frozen prefix"):
                place = Path(recipe.arguments.cache_dir or folder / "prefix_cache")
                cache = build_cache(place, model, extractor, dataset, recipe)
            train_from_cache(trainer, checkpoint, cache)
        else:
            train_or_stop(trainer, checkpoint)
        facts = describe_run(recipe, model, dataset, describe_training(recipe, trainer), search_facts(recipe, folder))
        model = trainer.accelerator.unwrap_model(model)
        if recipe.lora:
            merge_lora(model)
        score, written = score_of_trained(trainer, recipe), folder if main_process else None
        judgement = measure(score, dataset, recipe.arguments.threshold_rule, written, outside, start)
        results = RunRecord(facts, judgement)
    if main_process:
        save_detector(folder, model, extractor, recipe, results)
        if results.facts.training.history:
            write_history(folder, results.facts.training)
        write_card(folder)
        for warning in results.judgement.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        print(format_results(results, folder))
        if recipe.push_to_hub:
            print(f"pushed to {push(folder, arguments.hub_model_id)}", file=sys.stderr)


def main() -> int:
    return run_command(train)


if __name__ == "__main__":
    sys.exit(main())
