"""Check that the tokens trained on are the tokens that were scored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from airlens.errors import DataError
from airlens.traces.encoding import EncodedTrace


def check_scored(steps: pd.DataFrame, known: str | None, encoded: EncodedTrace) -> None:
    """Refuse a trace whose tokens differ from the scored ones, as far as these are known.

    Args:
        steps: the rows of the trace: step and, where it is known, n_tokens that were scored.
        known: hash of the scored response, from :func:`token_hashes`.
        encoded: the trace as it is to be trained on.

    Raises:
        DataError: another tokenizer, chat template or splitting than the scorer's.
    """
    if "n_tokens" not in steps:
        return
    response = encoded.tokens[encoded.response_start :]
    if known in (None, hash_tokens(response)) and _same_counts(steps, encoded):
        return
    raise DataError(
        f"trace {encoded.trace.id!r} has other tokens than those that were scored: score and train "
        "with the same tokenizer, the same chat template and the same steps"
    )


def token_hashes(tokens: pd.DataFrame | None) -> dict[str, str]:
    """A hash of each response in ``Influence.tokens``, by id; empty without tokens."""
    if tokens is None:
        return {}
    groups = tokens.groupby("id", sort=False)["token_id"]
    return {str(name): hash_tokens(ids.to_numpy()) for name, ids in groups}


def text_hashes(steps: pd.DataFrame) -> dict[str, str]:
    """A hash of the texts of each trace's steps, by id; empty where the texts are not there."""
    if "text" not in steps:
        return {}
    ordered = steps.sort_values("step", kind="stable")
    groups = ordered.groupby("id", sort=False)["text"]
    return {str(name): hash_texts(texts) for name, texts in groups if any(texts)}


def hash_texts(texts: Iterable[str]) -> str:
    """A short hash of texts in their order."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(str(text).encode() + b"\0")
    return digest.hexdigest()[:16]


def hash_tokens(ids: Any) -> str:
    """A short hash of token ids."""
    data = np.asarray(ids, dtype="<i8").tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def _same_counts(steps: pd.DataFrame, encoded: EncodedTrace) -> bool:
    """Whether each step has as many tokens as were scored.

    A scored trace may have been cut: then one step has fewer tokens, and later steps have none. The
    first token of a text is never scored.
    """
    mine = encoded.step[max(encoded.response_start, 1) - encoded.response_start :]
    size = int(max(steps["step"].max(), encoded.step.max(initial=0))) + 1
    there = np.bincount(mine, minlength=size)
    counts = np.zeros(size, dtype=np.int64)
    counts[steps["step"].to_numpy()] = steps["n_tokens"].to_numpy()
    differ = np.flatnonzero(counts != there)
    if not len(differ):
        return True
    cut = int(differ[0])
    return bool(counts[cut] < there[cut] and not counts[cut + 1 :].any())
