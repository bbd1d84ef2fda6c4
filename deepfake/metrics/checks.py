"""The one place where scores, labels and groups are checked before any number is computed from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

REAL = 0
FAKE = 1


def check_scores(scores: ArrayLike, what: str = "scores") -> FloatArray:
    """Return `scores` as a float64 vector of shape (n,), n >= 1.

    Raises:
        ValueError: not one-dimensional, empty, not numeric, or holding NaN or infinity.
    """
    try:
        array = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be numbers, one per clip; {error}.") from error
    if array.ndim != 1:
        raise ValueError(f"{what} must be one number per clip, shape (n,); found shape {array.shape}.")
    if array.size == 0:
        raise ValueError(f"{what} are empty; at least one clip is needed.")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(
            f"{what} must be finite; {bad.size} of {array.size} are NaN or infinite, the first at position {bad[0]} "
            f"({array[bad[0]]}). Drop the clips that failed before evaluating."
        )
    return array


def check_labels(labels: ArrayLike, n: int) -> IntArray:
    """Return `labels` as an int64 vector of n values in {0 = real, 1 = fake}.

    Raises:
        ValueError: wrong length or shape, or a value outside {0, 1}.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or array.size != n:
        raise ValueError(f"labels must have one entry per score; found {n} scores and labels of shape {array.shape}.")
    if array.dtype.kind not in "biuf" or not np.isin(array, (REAL, FAKE)).all():
        outside = sorted({str(value) for value in array.tolist() if value not in (REAL, FAKE)})[:5]
        raise ValueError(f"labels must be 0 (real) or 1 (fake); found {', '.join(outside)}.")
    return array.astype(np.int64)


def check_pair(scores: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, IntArray]:
    """Check scores and labels together; both come back with shape (n,). Raises ValueError as the two checks do."""
    checked = check_scores(scores)
    return checked, check_labels(labels, checked.size)


def check_both_classes(labels: IntArray, what: str) -> None:
    """Raise ValueError when `labels` hold only one class, naming the measure that needs two."""
    n_fake = int(labels.sum())
    if n_fake in (0, labels.size):
        found = "fake" if n_fake else "real"
        raise ValueError(f"{what} needs both real and fake clips; all {labels.size} clips found are {found}.")


def check_probabilities(probabilities: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, IntArray]:
    """Check P(fake) in [0, 1], shape (n,), with its labels.

    Raises:
        ValueError: as `check_pair`, or a probability outside [0, 1].
    """
    p = check_scores(probabilities, "probabilities")
    if p.min() < 0 or p.max() > 1:
        raise ValueError(
            f"probabilities must lie in [0, 1]; found {p.min():g} to {p.max():g}. Pass logits as scores instead."
        )
    return p, check_labels(labels, p.size)


def check_fraction(value: float, what: str) -> float:
    """Return `value` when it lies strictly between 0 and 1, else raise ValueError naming it `what`."""
    if not 0 < value < 1:
        raise ValueError(f"{what} must lie strictly between 0 and 1; found {value}.")
    return float(value)


def group_codes(groups: Any, n: int) -> IntArray:
    """Number the independent groups (recordings, speakers, generators) 0..G-1, one code per clip, shape (n,).

    `None` makes every clip its own group. A missing name (None or NaN) is its own group too: unknown clips are
    not known to come from one recording.

    Raises:
        ValueError: the number of groups is not n.
    """
    if groups is None:
        return np.arange(n, dtype=np.int64)
    names = list(groups)
    if len(names) != n:
        raise ValueError(f"groups must have one entry per score; found {n} scores and {len(names)} groups.")
    codes: dict[Any, int] = {}
    keys = ((name if name is not None and name == name else ("unknown", i)) for i, name in enumerate(names))
    return np.fromiter((codes.setdefault(key, len(codes)) for key in keys), dtype=np.int64, count=n)
