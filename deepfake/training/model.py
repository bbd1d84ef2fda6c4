"""The model and its feature extractor: from a checkpoint or from scratch, with the labels 0=real, 1=fake by name."""

from __future__ import annotations

import sys
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    FeatureExtractionMixin,
    PreTrainedConfig,
    PreTrainedModel,
)

from deepfake.architectures import (
    baselines,  # registers their architecture
    compact,  # noqa: F401 - registers the architecture of the detector in checkpoints/
)
from deepfake.errors import UserError
from deepfake.hub import cache_only, check_name, first_line, offline_hint
from deepfake.labels import LABELS, fake_index
from deepfake.models.inputs import uses_padding_mask
from deepfake.text import one_line
from deepfake.training.lora import limit_training
from deepfake.training.recipe import Recipe, nearest_name

# Read by some models though their config classes do not declare them.
_UNDECLARED = frozenset({"apply_spec_augment"})


def load_model(recipe: Recipe) -> PreTrainedModel:
    """The model to train, in float32, frozen as the recipe says.

    A checkpoint that already is a detector with fake first has the two rows of its classifier swapped, so that what
    it knows survives the label order 0=real, 1=fake.

    Raises:
        UserError: the checkpoint cannot be found or has no weights, or the architecture is unknown.
    """
    config, polarity_swapped = _config(recipe)
    name = recipe.arguments.model_name_or_path
    if name is None:
        model = build_model(config)
    else:
        try:
            model = AutoModelForAudioClassification.from_pretrained(
                name,
                config=config,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
                local_files_only=cache_only(),
            )
        except (OSError, ValueError) as error:
            raise _cannot_load(name, error) from error
        if polarity_swapped:
            _swap_classifier_rows(model)
    limit_training(model, recipe)
    return model


def build_model(config: PreTrainedConfig) -> PreTrainedModel:
    """An untrained model.

    Raises:
        UserError: the config's values do not go together.
    """
    try:
        return AutoModelForAudioClassification.from_config(config)
    except ValueError as error:
        raise UserError(f"`architecture:` is not usable: {one_line(error, 300)}") from error


def starts_as_detector(recipe: Recipe) -> bool:
    """Whether training starts from a checkpoint that already says which of its two classes is fake."""
    name = recipe.arguments.model_name_or_path
    if name is None:
        return False
    try:
        fake_index(AutoConfig.from_pretrained(name, local_files_only=cache_only()).id2label)
    except UserError:
        return False
    return True


def planned_config(recipe: Recipe) -> PreTrainedConfig:
    """The model's config for `--plan`: the YAML's `architecture` where the checkpoint's own cannot be had.

    Raises:
        UserError: neither can be had.
    """
    name = recipe.arguments.model_name_or_path
    try:
        return _config(recipe)[0]
    except UserError:
        if name is None or not recipe.architecture:
            raise
        print(f"{name} cannot be loaded here: geometry as given under `architecture:` in the YAML", file=sys.stderr)
        return _from_architecture(recipe)


def load_feature_extractor(recipe: Recipe, config: PreTrainedConfig) -> FeatureExtractionMixin:
    """The checkpoint's own feature extractor, or the one described under `feature_extractor:` for a new model.

    Raises:
        UserError: none can be loaded, or its sampling rate is not 16 kHz.
    """
    described = dict(recipe.feature_extractor)
    if described:
        kind = described.pop("feature_extractor_type", "Wav2Vec2FeatureExtractor")
        try:
            extractor = _extractor_class(kind)(**described)
        except (TypeError, ValueError) as error:
            raise UserError(f"`feature_extractor:` is not usable: {error}") from error
    elif recipe.arguments.model_name_or_path is None:
        raise UserError("a model from scratch needs `feature_extractor:` in the YAML beside `architecture:`")
    else:
        try:
            extractor = AutoFeatureExtractor.from_pretrained(
                recipe.arguments.model_name_or_path, local_files_only=cache_only()
            )
        except (OSError, ValueError) as error:
            raise _cannot_load(recipe.arguments.model_name_or_path, error) from error
    if extractor.sampling_rate != 16_000:
        raise UserError(f"the feature extractor expects {extractor.sampling_rate} Hz; datasets made here are 16000 Hz")
    _require_same_geometry(extractor, config)
    # Written into preprocessor_config.json, so that everyone who loads the result pads as it was trained.
    extractor.return_attention_mask = uses_padding_mask(config)
    return extractor


def _extractor_class(name: str) -> type[FeatureExtractionMixin]:
    for module in (transformers, baselines):
        if hasattr(module, name):
            return getattr(module, name)
    raise UserError(
        f"feature_extractor_type is {name}; expected a class of transformers, e.g. Wav2Vec2FeatureExtractor, or "
        "SpectrogramFeatureExtractor"
    )


def _require_same_geometry(extractor: FeatureExtractionMixin, config: PreTrainedConfig) -> None:
    """What is stated on both sides, for a spectrogram and the model that reads it, has to agree."""
    for made, read in (("num_bins", "num_bins"), ("channels", "in_channels"), ("window_frames", "window_frames")):
        if hasattr(extractor, made) and hasattr(config, read) and getattr(extractor, made) != getattr(config, read):
            raise UserError(
                f"the feature extractor makes {made} {getattr(extractor, made)}, but architecture.{read} is "
                f"{getattr(config, read)}; give both the same"
            )


def _config(recipe: Recipe) -> tuple[PreTrainedConfig, bool]:
    name = recipe.arguments.model_name_or_path
    if name is None:
        return _from_architecture(recipe), False
    try:
        check_name(name, "checkpoint")
        config = AutoConfig.from_pretrained(name, local_files_only=cache_only())
    except (OSError, ValueError) as error:
        raise _cannot_load(name, error) from error
    for key, value in recipe.model_overrides.items():
        if not hasattr(config, key) and key not in _UNDECLARED:
            raise _unknown(config, key, "model_overrides has")
        setattr(config, key, value)
    try:
        swapped = fake_index(config.id2label) == 0
    except UserError:  # not a detector yet, or one that does not say what its classes are
        swapped = False
    return _with_labels(config), swapped


def _from_architecture(recipe: Recipe) -> PreTrainedConfig:
    values: dict[str, Any] = recipe.architecture | recipe.model_overrides
    if "model_type" not in values:
        raise UserError("`architecture:` lacks model_type, e.g. model_type: wav2vec2")
    try:
        plain = AutoConfig.for_model(values["model_type"])
        for key in values:  # transformers would keep a misspelt key, and build the default in its place
            if not hasattr(plain, key) and key not in _UNDECLARED:
                raise _unknown(plain, key, "`architecture:` has")
        return _with_labels(AutoConfig.for_model(**values))
    except ValueError as error:
        raise UserError(f"`architecture:` is not usable: {one_line(error, 300)}") from error


def _unknown(config: PreTrainedConfig, key: str, what: str) -> UserError:
    nearest = nearest_name(key, config.to_dict())
    return UserError(f"{what} {key}, which {type(config).__name__} does not know{nearest}")


def _with_labels(config: PreTrainedConfig) -> PreTrainedConfig:
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {name: index for index, name in enumerate(LABELS)}
    return config


def _swap_classifier_rows(model: nn.Module) -> None:
    heads = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == len(LABELS)]
    with torch.no_grad():
        for parameter in heads[-1].parameters():
            parameter.copy_(parameter.flip(0))


def _cannot_load(name: str, error: Exception) -> UserError:
    return UserError(
        f"cannot load the checkpoint {name} ({first_line(error)}); expected a folder with config.json and weights, "
        f"or a Hub id{offline_hint(name)}"
    )
