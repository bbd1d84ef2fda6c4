"""A recording of any length as windows of a model's length, one block of memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np


def iter_windows(blocks: Iterable[np.ndarray], window: int, hop: int) -> Iterator[np.ndarray]:
    """Cut a stream of mono samples into overlapping windows.

    A recording no longer than `window` comes out whole and unpadded. A longer one gives windows at 0, hop, 2 hop, …
    and a last one that ends with the recording, so that every sample is heard and every window has the same length.

    Args:
        blocks: consecutive float32 arrays of shape (samples,).
        window: window length in samples.
        hop: distance between windows in samples, at most `window`.

    Yields:
        float32 arrays of shape (window,), or one of the recording's own shorter length.

    Raises:
        ValueError: hop outside 1..window.
    """
    if not 1 <= hop <= window:
        raise ValueError(f"hop is {hop} samples; expected 1 to the window's {window}")
    held = np.zeros(0, dtype=np.float32)  # at most window + one block
    start = 0  # of the next window, within `held`
    yielded = False
    for block in blocks:
        held = np.concatenate((held, block))
        # Only with a sample to spare: a recording that ends exactly here is finished below.
        while start + window < len(held):
            yield held[start : start + window]
            yielded, start = True, start + hop
        # Keep one window back from the end, for the last window.
        drop = min(start, max(0, len(held) - window))
        held, start = held[drop:], start - drop
    if len(held) and (not yielded or start - hop + window < len(held)):
        yield held[-window:]
