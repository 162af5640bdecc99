"""Leave out near-duplicates before a selection, by MinHash (datasketch).

The score rewards repetition: a text seen before in the same context is copied by the very heads
that are ablated, and a corpus with many near-copies of a high-scoring sample would be filled with
them. So of texts that are nearly the same only the first is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from airlens.arguments import checked, expected
from airlens.errors import ConfigError

# Ours: word 5-grams, 128 permutations; Jaccard 0.8 is what web corpora are deduplicated at.
SHINGLE = 5
PERMUTATIONS = 128
THRESHOLD = 0.8
_WORD = re.compile(r"\w+")


@checked
def near_duplicates(texts: Iterable[tuple[str, str]], threshold: float = THRESHOLD) -> pd.DataFrame:
    """Texts that nearly repeat an earlier one: columns id, of (the earlier id), jaccard (estimate).

    Args:
        texts: (id, text); which of two is kept is decided by their order.
        threshold: Jaccard similarity of the sets of word 5-grams at which two texts count as the
            same.

    A text that is left out is not compared with later ones.

    Raises:
        ConfigError: a threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"near-duplicate threshold {threshold}: give a share in (0, 1]")
    from datasketch import MinHash, MinHashLSH

    # The index proposes pairs from slightly below the threshold; the estimate then decides.
    index = MinHashLSH(threshold=max(0.05, threshold - 0.1), num_perm=PERMUTATIONS)
    hashes: dict[str, MinHash] = {}
    rows = []
    for name, text in _pairs(texts):
        made = MinHash(num_perm=PERMUTATIONS, seed=1)
        made.update_batch([shingle.encode() for shingle in _shingles(text)])
        near = [(made.jaccard(hashes[other]), other) for other in index.query(made)]
        best = max(near, key=lambda pair: (pair[0], pair[1]), default=(0.0, ""))
        if best[0] >= threshold:
            rows.append((name, best[1], best[0]))
            continue
        index.insert(name, made)
        hashes[name] = made
    return pd.DataFrame(rows, columns=["id", "of", "jaccard"])


def _pairs(texts: Any) -> Iterator[tuple[str, str]]:
    """(id, text) of each, or a :class:`ConfigError`."""
    for pair in texts if isinstance(texts, Iterable) else [texts]:
        is_pair = isinstance(pair, tuple | list) and len(pair) == 2
        if not is_pair or not all(isinstance(item, str) for item in pair):
            raise expected("pairs of id and text", pair, "texts")
        yield pair[0], pair[1]


def _shingles(text: str) -> set[str]:
    words = _WORD.findall(text.lower())
    if len(words) < SHINGLE:
        return {" ".join(words)}
    return {" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}
