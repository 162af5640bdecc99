"""A set of row ids for millions of rows: 8 bytes per id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

# New ids are kept in a Python set (fast, some 60 bytes per id) up to this number.
BUFFER = 65_536


class IdSet:
    """Ids as 64-bit hashes in one sorted array.

    Two of n ids share a hash with a probability of about n² / 3.7e19: 3e-6 for ten million rows.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._sorted = np.zeros(0, dtype=np.uint64)
        self._recent: set[int] = set()
        for name in ids:
            self.add(name)

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._has(_hash(name))

    def add(self, name: str) -> bool:
        """Add an id; whether it was new."""
        key = _hash(name)
        if self._has(key):
            return False
        self._recent.add(key)
        if len(self._recent) >= BUFFER:
            recent = np.fromiter(self._recent, dtype=np.uint64, count=len(self._recent))
            self._sorted = np.sort(np.concatenate([self._sorted, recent]))
            self._recent.clear()
        return True

    def _has(self, key: int) -> bool:
        if key in self._recent:
            return True
        wanted = np.uint64(key)
        place = int(np.searchsorted(self._sorted, wanted))
        return place < len(self._sorted) and bool(self._sorted[place] == wanted)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
