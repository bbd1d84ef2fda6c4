"""Augmentation as a YAML list: what may happen to a training clip, how often, and within what range."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from deepfake.channels.effects import EFFECTS, Samples
from deepfake.errors import UserError
from deepfake.shipped import shipped

PRESETS = shipped("configs/augmentation")


@dataclass(frozen=True)
class Step:
    """One entry of the list: with probability `p`, `times` times, one of `effects` drawn by `weights`."""

    effects: tuple[tuple[str, Mapping[str, Any]], ...]
    weights: tuple[float, ...]
    p: float = 1.0
    times: Any = 1


@dataclass(frozen=True)
class Augmentation:
    """A list of steps, applied in order, alike to both classes."""

    steps: tuple[Step, ...]

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        """One random version of a clip; equal generators give equal samples.

        Args:
            samples: mono float32 of shape (n,), 16 kHz, full scale 1.

        Returns:
            float32 of shape (m,); m differs from n only through `speed`. Never empty, never other than finite.
        """
        for step in self.steps:
            if rng.random() >= step.p:
                continue
            for _ in range(int(_drawn(step.times, rng))):
                weights = np.asarray(step.weights)
                name, parameters = step.effects[rng.choice(len(weights), p=weights / weights.sum())]
                drawn = {key: _drawn(value, rng) for key, value in parameters.items()}
                changed = EFFECTS[name](samples, rng, **drawn)
                if len(changed) and np.isfinite(changed).all():
                    samples = changed
        return samples.astype(np.float32, copy=False)


def known_presets() -> str:
    """Their names, for a sentence."""
    return ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))


def load_augmentation(name: str) -> Augmentation:
    """A preset by name (`configs/augmentation/`) or a YAML file by path.

    Raises:
        UserError: no such preset or file, or an entry that names an unknown effect or parameter.
    """
    path = PRESETS / f"{name}.yaml" if (PRESETS / f"{name}.yaml").is_file() else Path(name)
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"there is no augmentation {name}; expected a YAML file or one of {known_presets()}") from error
    if not isinstance(entries, list):
        raise UserError(f"{path} is not a list of augmentation steps such as `- {{apply: gain, gain_db: [-6, 6]}}`")
    return Augmentation(tuple(_step(entry, path) for entry in entries))


def _step(entry: Any, path: Path) -> Step:
    if not isinstance(entry, dict) or not ("apply" in entry) ^ ("one_of" in entry):
        raise UserError(f"{path} has the entry {entry}; expected `apply: EFFECT` or `one_of: [...]`")
    options: Sequence[dict[str, Any]] = entry.get("one_of", [entry])
    effects, weights = [], []
    for option in options:
        name = option.get("apply")
        parameters = {k: v for k, v in option.items() if k not in ("apply", "p", "times", "weight")}
        if name not in EFFECTS:
            raise UserError(f"{path} applies the unknown effect {name}; known are {', '.join(sorted(EFFECTS))}")
        if name == "pitch" and importlib.util.find_spec("python_stretch") is None:
            raise UserError(f"{path} shifts pitch, which needs python-stretch; run: pip install python-stretch")
        accepted = EFFECTS[name].parameters
        unknown = sorted(set(parameters) - set(accepted))
        if unknown:
            raise UserError(f"{path}: {name} does not take {unknown[0]}; it takes {', '.join(accepted) or 'nothing'}")
        effects.append((name, parameters))
        weights.append(float(option.get("weight", 1.0)))
    return Step(tuple(effects), tuple(weights), float(entry.get("p", 1.0)), entry.get("times", 1))


def _drawn(value: Any, rng: np.random.Generator) -> Any:
    """[low, high] is drawn evenly between the two, {choice: [...]} picks one, anything else is itself."""
    if isinstance(value, list) and len(value) == 2:
        return float(rng.uniform(value[0], value[1]))
    if isinstance(value, dict):
        return value["choice"][int(rng.integers(len(value["choice"])))]
    return value
