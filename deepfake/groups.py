"""Which recordings belong together: connected by a shared source, speaker or audio, they never part into two splits."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np


def connected_groups(keys: Sequence[Iterable[Hashable | None]], pairs: Iterable[tuple[int, int]] = ()) -> list[int]:
    """Group items that share a key, directly or through others.

    Args:
        keys: of each item, e.g. ("sha256", …), ("speaker", …); None is no key.
        pairs: items that belong together besides, e.g. near duplicates.

    Returns:
        group of each item: the index of its first member.
    """
    from scipy.sparse import coo_array  # late: not every command that imports this module groups anything
    from scipy.sparse.csgraph import connected_components

    first: dict[Hashable, int] = {}
    shared = [(first.setdefault(key, item), item) for item, held in enumerate(keys) for key in held if key is not None]
    edges = np.array([*shared, *pairs], dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(keys), len(keys)))
    labels = connected_components(graph, directed=False)[1] if len(keys) else np.zeros(0, np.int64)
    _, members, group = np.unique(labels, return_index=True, return_inverse=True)
    return members[group].tolist()
