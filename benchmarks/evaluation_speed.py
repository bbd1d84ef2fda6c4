"""How long `python -m evaluation` takes to judge many clips, part by part, on one core.

    python -m benchmarks.evaluation_speed --clips 100000

The clips are drawn: recordings of two clips, 60 generators of 12 families, 40 pages and 3,000 speakers of human speech,
4 channels, 8 languages. Threshold, calibration and limits are fitted on as many clips of their own.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402  the number of threads has to be known before

from deepfake.channels.conditions import CONDITIONS  # noqa: E402
from deepfake.judging.clips import ScoredClips  # noqa: E402
from deepfake.judging.judge import Judge, breakdowns, measure_set  # noqa: E402
from deepfake.judging.record import FAKE_LOGIT, TEST, VALIDATION, Threshold  # noqa: E402
from deepfake.judging.report import System  # noqa: E402
from deepfake.judging.stability import moved, stability  # noqa: E402
from deepfake.judging.statements import statements  # noqa: E402
from deepfake.judging.transfer import threshold_transfer  # noqa: E402
from deepfake.judging.worst import false_alarms, matrix  # noqa: E402
from deepfake.metrics.decisions import fit_decisions  # noqa: E402
from evaluation.report import build_report, write_report  # noqa: E402

T = TypeVar("T")


def clips_like(n: int, seed: int) -> ScoredClips:
    """Drawn clips with all that a report is broken down by."""
    rng = np.random.default_rng(seed)
    recording = np.arange(n) // 2
    labels = recording % 2
    generator = rng.integers(60, size=n)
    human = labels == 0
    scores = rng.normal(size=n) * 1.5 + 4 * labels - 2 - 0.03 * generator * labels
    columns = {
        "source": [f"r{r}.wav" for r in recording],
        "speaker": [f"s{r % 3000}" for r in recording],
        "page": [f"page {r % 40}" if real else None for r, real in zip(recording, human, strict=True)],
        "generator": ["human" if real else f"g{g}" for g, real in zip(generator, human, strict=True)],
        "family": [None if real else f"family {g % 12}" for g, real in zip(generator, human, strict=True)],
        "channel": [f"channel {r // 2 % 4}" for r in recording],
        "language": [f"l{r % 8}" for r in recording],
        "duration_s": (1 + rng.random(n) * 15).tolist(),
    }
    return ScoredClips.of(scores, labels, columns, rows=np.arange(n))


def timed(title: str, what: Callable[[], T]) -> T:
    """Do it, and print how much time of a core it took."""
    start = time.process_time()
    found = what()
    print(f"{title:<44}{time.process_time() - start:8.1f} s", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100_000, help="how many (default 100,000)")
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap (default 2000)")
    arguments = parser.parse_args()
    n, resamples = arguments.clips, arguments.resamples
    validation, test = clips_like(n, 0), clips_like(n, 1)
    begin = time.process_time()
    decisions = timed(
        "decisions with limits, on as many clips",
        lambda: fit_decisions(validation.scores, validation.labels, validation.groups()),
    )
    judge = Judge(Threshold(0.0, FAKE_LOGIT, "drawn", VALIDATION), decisions)
    report = timed(
        "the report's numbers", lambda: build_report(System("drawn"), judge, {TEST: (TEST, test)}, resamples=resamples)
    )
    with tempfile.TemporaryDirectory() as folder:
        timed("pages, pictures, JSON", lambda: write_report(report, Path(folder)))
    benign = [one.name for one in CONDITIONS if one.benign]
    others = {name: clips_like(n, 2 + i) for i, name in enumerate(benign)}
    drawn = time.process_time()
    timed("moved, both classes, one condition", lambda: [moved(test, others[benign[0]], 0.0, y) for y in (0, 1)])
    timed(f"stability over {len(benign)} benign conditions", lambda: stability(test, others, 0.0))
    total = time.process_time() - drawn
    print(f"\nof the report's numbers, with {resamples} resamples:")
    timed("metrics, intervals, points; no parts", lambda: measure_set(test, judge, TEST, resamples, with_parts=False))
    timed("breakdowns", lambda: breakdowns(test, 0.0, resamples))
    timed("matrix and false alarms", lambda: (matrix(test, 0.0), false_alarms(test, 0.0)))
    timed(
        "threshold transfer", lambda: threshold_transfer(test.scores, test.labels, test.groups(), 0.0, None, resamples)
    )
    timed("statements, limits, Tippett plot", lambda: statements(test, decisions.scale))
    print(
        f"\nstability by itself {total:.1f} s; all since the start {time.process_time() - begin:.1f} s", file=sys.stderr
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
