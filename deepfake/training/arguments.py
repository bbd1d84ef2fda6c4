"""Reading a recipe: a YAML file, overridden by the command line, with every key known by name."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentDefaultsHelpFormatter, Namespace
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import torch
import yaml
from transformers import HfArgumentParser, TrainingArguments
from transformers.trainer_utils import SchedulerType

from deepfake.errors import UserError
from deepfake.training.callbacks import require_reporters
from deepfake.training.objective import REPORTED
from deepfake.training.recipe import Recipe, RecipeArguments, nearest_name, read_recipe
from deepfake.version import add_version

# Mappings in the YAML that are passed on whole; on the command line: --set architecture.hidden_size=64
MAPPING_KEYS = ("architecture", "model_overrides", "feature_extractor", "lora", "stacked", "narrow", "search")
# Mappings whose keys are options of their own: `freeze: {encoder_layers: 12}` is --freeze_encoder_layers 12.
FLATTENED_KEYS = ("freeze",)

# Of what can be the metric_for_best_model. Trainer itself would take "eer" for higher-is-better.
LOWER_IS_BETTER = frozenset({"eer", "loss", "eval_eer", "eval_loss"})
# Where and how a run was started, not what it computes.
NOT_RECORDED = (
    "plan",
    "ood_dataset",
    "overwrite",
    "resume_from_checkpoint",
    "output_dir",
    "push_to_hub",
    "hub_token",
    "hub_model_id",
)

# argparse would list every option of TrainingArguments, and bury below 130 lines what is wrong with one of them.
USAGE = "%(prog)s --config YAML --dataset DIR --output_dir DIR [--KEY VALUE ...] [--set KEY.NAME=VALUE ...]"
DESCRIPTION = """\
Fine-tune any transformers audio-classification model into a real/fake speech detector.

  accelerate launch train_wav2vec2.py --config configs/wav2vec2_xlsr.yaml --dataset DIR --output_dir OUT
  python train_wav2vec2.py --config configs/wav2vec2_xlsr.yaml --plan

The YAML is the record of the experiment. It may extend another one, and any key in it can be overridden here. Every
option of transformers' TrainingArguments is accepted in both. OUT ends up holding the best checkpoint by validation
ROC-AUC with its decision threshold, README.md (the model card), results.json and the scores behind every number. A run
that was killed goes on when the same command is given again.

exit status: 0 done; 2 nothing done (wrong key, value or folder); 130 interrupted, and the same command goes on.
`accelerate launch` and torchrun turn everything that is not 0 into 1, with --quiet too: a script that has to tell these
apart reads the line that begins with "error: ", or starts one process with python train_wav2vec2.py."""


def parse_recipe(argv: list[str]) -> Recipe:
    """Read `--config` and the command line.

    Raises:
        UserError: unreadable YAML, an unknown key or option (named, with the nearest known one), a missing
            `--dataset` or `--output_dir`.
    """
    parser = HfArgumentParser(
        (RecipeArguments, TrainingArguments),
        usage=USAGE,
        description=DESCRIPTION,
        formatter_class=_Formatter,
        allow_abbrev=False,
        conflict_handler="resolve",
    )
    add_version(parser)
    parser.set_defaults(output_dir=None)  # transformers' own default would be a folder nobody asked for
    parser.add_argument("--config", help="YAML recipe, e.g. configs/wav2vec2_xlsr.yaml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY.NAME=VALUE", help="override inside a mapping of the YAML"
    )
    defaults = vars(parser.parse_args([]))
    known = defaults.keys() - {"config", "set"}
    config_path = _value_of(argv, "--config")
    values, mappings = _read_yaml(config_path, known) if config_path else ({}, {key: {} for key in MAPPING_KEYS})
    parser.set_defaults(**values)
    namespace, rest = parser.parse_known_args(argv)
    if rest:
        raise UserError(f"unknown option {rest[0]}{_did_you_mean(rest[0].lstrip('-').split('=')[0], known)}")
    if namespace.model_name_or_path != values.get("model_name_or_path"):
        mappings["architecture"] = {}  # it described the YAML's checkpoint, not the one named instead
    mappings = _apply_set(mappings, namespace.set)
    given = {n: v for n, v in vars(namespace).items() if n in known and (n in values or v != defaults[n])}
    return _resolve(namespace, mappings, {n: v for n, v in given.items() if n not in NOT_RECORDED})


def _resolve(namespace: Namespace, mappings: dict[str, dict[str, Any]], recorded: dict[str, Any]) -> Recipe:
    own = RecipeArguments(**{f.name: getattr(namespace, f.name) for f in fields(RecipeArguments)})
    if not own.plan:
        for name, what in (("dataset", "a prepared dataset"), ("output_dir", "the folder to write")):
            if not getattr(namespace, name):
                raise UserError(f"--{name} is missing; expected {what}")
    if not own.model_name_or_path and not mappings["architecture"]:
        raise UserError("nothing to train: give --config, --model_name_or_path or an `architecture:` in the YAML")
    precision, notice = resolve_precision(own.precision, torch.cuda.is_available(), os.environ)
    if notice and os.environ.get("LOCAL_RANK", "0") == "0" and not own.plan:
        print(notice, file=sys.stderr)
    values = {f.name: getattr(namespace, f.name) for f in fields(TrainingArguments) if f.init}
    push_to_hub, values["push_to_hub"] = bool(values["push_to_hub"]), False  # we push once, with our own card
    values.update(fp16=precision == "fp16", bf16=precision == "bf16", remove_unused_columns=False)
    if not torch.cuda.is_available():
        values["dataloader_pin_memory"] = False  # only warns there
    if not torch.accelerator.is_available():
        values["use_cpu"] = True  # without it, several processes started by torchrun would not find each other
    recorded |= {key: value for key, value in mappings.items() if value}
    values["metric_for_best_model"] = _recorded_metric(values["metric_for_best_model"] or "roc_auc")
    values["greater_is_better"] = values["metric_for_best_model"] not in LOWER_IS_BETTER
    if SchedulerType(values["lr_scheduler_type"]) == SchedulerType.REDUCE_ON_PLATEAU:
        values["lr_scheduler_kwargs"] = _plateau(values)
    if values["train_sampling_strategy"] == "group_by_length" and values["length_column_name"] == "length":
        values["length_column_name"] = "duration_s"
    if own.plan:
        values["output_dir"] = values["output_dir"] or "."  # nothing is written there
    training = TrainingArguments(**values)
    require_reporters(training.report_to)
    return Recipe(own, training, **mappings, values=recorded, precision=precision, push_to_hub=push_to_hub)


def _recorded_metric(name: str) -> str:
    """Trainer itself would find out after the first epoch."""
    known = ("loss", *REPORTED)
    if name.removeprefix("eval_") not in known:
        raise UserError(f"metric_for_best_model is {name}; expected one of {', '.join(known)}")
    return name


def resolve_precision(asked: str, cuda: bool, environment: Mapping[str, str]) -> tuple[str, str | None]:
    """The precision to train in, and a notice when it is not the one asked for.

    `accelerate launch --mixed_precision …` speaks through ACCELERATE_MIXED_PRECISION and wins over the YAML.
    """
    launched = environment.get("ACCELERATE_MIXED_PRECISION", "no")
    asked = launched if launched in ("fp16", "bf16") else asked
    if asked == "fp16" and not cuda:
        os.environ["ACCELERATE_MIXED_PRECISION"] = "no"
        return "fp32", "no CUDA device: training in fp32 instead of fp16"
    return asked, None


def _plateau(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options of ReduceLROnPlateau, which would take every metric for lower-is-better."""
    given = values["lr_scheduler_kwargs"] or {}
    try:
        options = dict(json.loads(given) if isinstance(given, str) else given)
    except ValueError as error:
        raise UserError(f'lr_scheduler_kwargs is {given}; expected e.g. {{"patience": 3, "factor": 0.5}}') from error
    mode = "max" if values["greater_is_better"] else "min"
    if options.setdefault("mode", mode) != mode:
        raise UserError(
            f"lr_scheduler_kwargs has mode {options['mode']}, but a better {values['metric_for_best_model']} is "
            f"{'higher' if mode == 'max' else 'lower'}; set mode: {mode}, or leave it out"
        )
    if values["eval_strategy"] == "no":
        raise UserError("reduce_lr_on_plateau follows evaluations, but eval_strategy is no; set eval_strategy: epoch")
    return options


def _read_yaml(path: str, known: Iterable[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    content = read_recipe(path)
    mappings = {key: content.pop(key, None) or {} for key in MAPPING_KEYS}
    for key in FLATTENED_KEYS:
        for name, value in (content.pop(key, None) or {}).items():
            if f"{key}_{name}" not in known:
                raise UserError(f"unknown key {key}.{name} in {path}{_did_you_mean(f'{key}_{name}', known)}")
            content[f"{key}_{name}"] = value
    for key in content:
        if key not in known:
            nearest = _did_you_mean(key, [*known, *MAPPING_KEYS, *FLATTENED_KEYS])
            raise UserError(f"unknown key {key} in {path}{nearest}")
    # A number such as 3e-5 is a string in YAML 1.1; argparse converts string defaults as it does arguments.
    return content, mappings


def _apply_set(mappings: dict[str, dict[str, Any]], settings: list[str]) -> dict[str, dict[str, Any]]:
    result = {key: dict(mappings.get(key, {})) for key in MAPPING_KEYS}
    for setting in settings:
        name, equals, value = setting.partition("=")
        key, dot, inner = name.partition(".")
        if not (equals and dot and key in MAPPING_KEYS):
            raise UserError(
                f"--set {setting} is not understood; expected KEY.NAME=VALUE, KEY being {', '.join(MAPPING_KEYS)}"
            )
        result[key][inner] = yaml.safe_load(value)
    return result


def _value_of(argv: list[str], option: str) -> str | None:
    for position, argument in enumerate(argv):
        if argument == option and position + 1 < len(argv):
            return argv[position + 1]
        if argument.startswith(option + "="):
            return argument.partition("=")[2]
    return None


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    return nearest_name(name, known) or "; see --help for the known ones"


class _Formatter(ArgumentDefaultsHelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "".join(indent + line for line in text.splitlines(keepends=True))
