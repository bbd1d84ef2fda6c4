"""What an augmentation does to a clip, as a picture: `python -m deepfake.channels.show channel clip.wav`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from deepfake.audio.decode import SAMPLING_RATE, AudioError, load_audio
from deepfake.channels.augment import Augmentation, Step, known_presets, load_augmentation
from deepfake.errors import UserError, run_command
from deepfake.pages.plots import spectrogram
from deepfake.pages.style import STYLE
from deepfake.version import add_version

_COLUMNS, _SHOWN_S = 4, 4.0


def single_effects(augmentation: Augmentation) -> dict[str, Augmentation]:
    """Each effect of an augmentation alone and always applied, by a title such as "codec opus"."""
    singles: dict[str, Augmentation] = {}
    for step in augmentation.steps:
        for name, parameters in step.effects:
            fixed = [str(v) for v in parameters.values() if isinstance(v, str)]
            title = " ".join([name.replace("_", " "), *fixed])
            singles.setdefault(title, Augmentation((Step(((name, parameters),), (1.0,), 1.0, step.times),)))
    singles.pop("nothing", None)
    return singles


def draw(path: Path, samples: np.ndarray, augmentation: Augmentation, seed: int) -> None:
    """Spectrograms of the clip, of each effect alone, and of three draws of the whole, written as PNG.

    Args:
        samples: mono float32 of shape (n,), 16 kHz.
    """
    clip = samples[: round(_SHOWN_S * SAMPLING_RATE)]
    shown = {"as it is": clip}
    for title, single in single_effects(augmentation).items():
        shown[title] = single(clip, np.random.default_rng(seed))
    for number in range(3):
        shown[f"all together, draw {number + 1}"] = augmentation(clip, np.random.default_rng(seed + number))
    rows = -(-len(shown) // _COLUMNS)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(3.1 * _COLUMNS, 1.9 * rows), layout="constrained")
        panels = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
        for panel, (title, heard) in zip(panels, shown.items(), strict=False):
            spectrogram(panel, heard, SAMPLING_RATE, full_scale=True)
            panel.set(title=title, xlabel="", ylabel="")
        for panel in panels[len(shown) :]:
            panel.axis("off")
        figure.supxlabel("seconds")
        figure.supylabel("hertz")
        figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deepfake.channels.show",
        description="Draw what an augmentation does to a clip: each effect alone, then three draws of the whole.",
    )
    add_version(parser)
    parser.add_argument("augmentation", help=f"preset ({known_presets()}) or YAML file")
    parser.add_argument("clip", type=Path, help="audio file; its first 4 s are shown")
    parser.add_argument(
        "--output", type=Path, default=Path("augmentation.png"), help="PNG to write (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which draws are shown (default %(default)s)")
    arguments = parser.parse_args()

    def show() -> None:
        try:
            samples = load_audio(arguments.clip)
        except AudioError as error:
            raise UserError(f"{arguments.clip} {error}; give a recording") from error
        draw(arguments.output, samples, load_augmentation(arguments.augmentation), arguments.seed)
        print(arguments.output)

    return run_command(show)


if __name__ == "__main__":
    sys.exit(main())
