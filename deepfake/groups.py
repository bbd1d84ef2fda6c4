"""Which recordings belong together: connected by a shared source, speaker or audio, they never part into two splits."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

GROUP_KEYS = ("source", "speaker")


class Connected:
    """Numbers 0 … n-1 joined into groups (union-find with path halving; the smallest number names a group)."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def group(self, item: int) -> int:
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, a: int, b: int) -> None:
        first, second = sorted((self.group(a), self.group(b)))
        self._parent[second] = first


def connected_groups(keys: Sequence[Iterable[Hashable | None]], pairs: Iterable[tuple[int, int]] = ()) -> list[int]:
    """Group items that share a key, directly or through others.

    Args:
        keys: of each item, e.g. ("sha256", …), ("speaker", …); None is no key.
        pairs: items that belong together besides, e.g. near duplicates.

    Returns:
        group of each item: the index of its first member.
    """
    connected = Connected(len(keys))
    first: dict[Hashable, int] = {}
    for index, held in enumerate(keys):
        for key in held:
            if key is not None:
                connected.join(first.setdefault(key, index), index)
    for a, b in pairs:
        connected.join(a, b)
    return [connected.group(index) for index in range(len(keys))]
