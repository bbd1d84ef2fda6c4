"""Too quiet, too loud, clipped."""

from __future__ import annotations

import numpy as np


def gain(samples: np.ndarray, gain_db: float) -> np.ndarray:
    """Scaled, then limited to full scale as any recorder does; shape (n,) stays."""
    return np.clip(samples * np.float32(10.0 ** (gain_db / 20.0)), -1.0, 1.0).astype(np.float32)


def clip_share(samples: np.ndarray, share: float) -> np.ndarray:
    """The loudest `share` of the samples cut off flat, as by an overdriven input; shape (n,) stays."""
    if not len(samples):
        return samples
    limit = np.quantile(np.abs(samples), 1.0 - share)
    return np.clip(samples, -limit, limit).astype(np.float32)
