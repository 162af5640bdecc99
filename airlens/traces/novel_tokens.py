"""Tokens that are no copy: those that follow their token for the first time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def novel_tokens(tokens: Sequence[int], start: int) -> np.ndarray:
    """Which tokens of a text, from ``start`` on, are novel: bool [len(tokens) - start].

    A token is novel where its bigram (the token before it, the token) occurs nowhere earlier in
    the text, which is prompt and response as the model reads them (ours). A first token without
    one before it is not: nothing predicts it.

    >>> novel_tokens([5, 6, 7, 5, 6, 8], 2).tolist()  # 5 6 was there before
    [True, True, False, True]
    """
    ids = np.asarray(tokens, dtype=np.int64)
    _, first = np.unique((ids[:-1] << 32) | ids[1:], return_index=True)
    novel = np.zeros(len(ids), dtype=bool)
    novel[first + 1] = True
    return novel[start:]
