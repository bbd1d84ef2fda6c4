"""How often the audit raises something on clean measurements, and how often it finds what was planted.

    python benchmarks/data_prep_audit.py [SEEDS]

Clean: 60 recordings of two clips each, every measurement differs by recording and clip but not by class. Planted: fakes
are moved by d standard deviations of the recordings in one measurement.
"""

from __future__ import annotations

import sys

import numpy as np
from tqdm import tqdm

from data_prep.probes import EVERYTHING, run_probes

NAMES = ("duration", "leading silence", "trailing silence", "level", "peak", "DC offset", "noise floor", "bandwidth")


def draw(
    seed: int, shift: float, sources: int = 60, clips: int = 2
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Features, class and recording of each clip."""
    random = np.random.default_rng(seed)
    source = np.repeat(np.arange(sources), clips)
    fake = random.permutation(np.arange(sources) % 2)[source]
    features = {}
    for name in NAMES:
        values = random.normal(0, 1, sources)[source] + random.normal(0, 0.5, len(source))
        features[name] = (values + shift * fake * (name == "level"))[:, None]
    return features, fake, source


def main() -> int:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for shift in (0.0, 0.5, 1.0, 2.0):
        any_raised = level = together = 0
        for seed in tqdm(range(seeds), desc=f"shift {shift:g}", leave=False):
            raised = {probe.name for probe in run_probes(*draw(seed, shift), seed) if probe.raised}
            any_raised += bool(raised)
            level += "level" in raised
            together += EVERYTHING in raised
        print(
            f"shift {shift:>3g} SD: something raised {any_raised}/{seeds}, level {level}, {EVERYTHING} {together}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
