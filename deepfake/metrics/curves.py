"""Error rates at every threshold: the walk the ASVspoof tools make, and the ROC with ties collapsed."""

from __future__ import annotations

import numpy as np

from deepfake.metrics.checks import FloatArray, IntArray


def det_walk(scores: FloatArray, labels: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Walk from the most fake-looking clip down, one clip a step, as ASVspoof's DET curve does.

    At step i the i highest scores are called fake. Clips with equal scores are taken one after the other, real ones
    first: that is the order of the official stable sort (bona fide listed first), and it is the pessimistic one.

    Returns:
        (fpr, fnr, threshold), each of shape (n + 1,): the real clips called fake (official FRR), the fake clips
        called real (official FAR), and the fake_score at the step. Step 0 calls nothing fake.
    """
    by_class = np.concatenate((np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)))
    order = by_class[np.argsort(-scores[by_class], kind="stable")]
    real_steps = np.cumsum(labels[order] == 0)
    n_real = int(real_steps[-1])
    n_fake = labels.size - n_real
    fakes_left = n_fake - (np.arange(1, labels.size + 1) - real_steps)
    fpr = np.concatenate(([0.0], real_steps / n_real))
    fnr = np.concatenate(([1.0], fakes_left / n_fake))
    above_all = scores[order[0]] + 0.001
    return fpr, fnr, np.concatenate(([above_all], scores[order]))


def roc_counts(scores: FloatArray, labels: IntArray) -> tuple[IntArray, IntArray, FloatArray]:
    """Count false and true positives at each distinct score, from the strictest threshold to the loosest.

    Returns:
        (fp, tp, threshold), each of shape (u + 1,) for u distinct scores; entry 0 calls nothing fake and carries
        the threshold +inf.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), ranked.size - 1)
    tp = np.cumsum(labels[order])[ends]
    fp = 1 + ends - tp
    return (
        np.concatenate(([0], fp)).astype(np.int64),
        np.concatenate(([0], tp)).astype(np.int64),
        np.concatenate(([np.inf], ranked[ends])),
    )
