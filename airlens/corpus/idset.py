"""A set of row ids for millions of rows: about 9 bytes an id, and no slower as it grows."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from functools import partial

# Bits of a hash that choose its bucket. At a hundred million ids a bucket holds 1,500 hashes, so
# that putting one in its place moves some 6 kB.
BUCKET_BITS = 16


class IdSet:
    """Ids as 64-bit hashes, in sorted arrays by their first bits.

    Two of n ids share a hash with a probability of about n² / 3.7e19: 3e-6 for ten million rows.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._buckets: defaultdict[int, array[int]] = defaultdict(partial(array, "Q"))
        self._count = 0
        for name in ids:
            self.add(name)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        key = hashed(name)
        bucket = self._buckets.get(key >> (64 - BUCKET_BITS))
        if bucket is None:
            return False
        place = bisect_left(bucket, key)
        return place < len(bucket) and bucket[place] == key

    def add(self, name: str) -> bool:
        """Add an id; whether it was new."""
        key = hashed(name)
        bucket = self._buckets[key >> (64 - BUCKET_BITS)]
        place = bisect_left(bucket, key)
        if place < len(bucket) and bucket[place] == key:
            return False
        bucket.insert(place, key)
        self._count += 1
        return True


def hashed(name: str) -> int:
    """64 bits of a text."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
