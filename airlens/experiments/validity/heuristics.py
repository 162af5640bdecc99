"""Heuristics that need no ablation; a score is only useful if it adds to them.

loss, entropy (nats per token, base model), length (tokens), position (share of the steps before),
overlap (share of the step's word pairs that occur in the prompt), and, where it was measured,
attention (:mod:`airlens.experiments.validity.attention_received`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from airlens.errors import DataError
from airlens.traces.trace import Trace

HEURISTICS = ("loss", "entropy", "length", "position", "overlap", "attention")

_WORD = re.compile(r"\d+|[^\W\d_]+|[^\w\s]")


def words(text: str) -> list[str]:
    """Words, whole numbers and single punctuation marks, in lower case."""
    return _WORD.findall(text.lower())


def ngrams(text: str, n: int = 2) -> set[tuple[str, ...]]:
    """The distinct ``n``-grams of :func:`words`."""
    found = words(text)
    return {tuple(found[i : i + n]) for i in range(len(found) - n + 1)}


def overlap(text: str, prompt: str, n: int = 2) -> float:
    """Share of the distinct ``n``-grams of ``text`` that also occur in ``prompt``; 0 without any.

    >>> overlap("She buys 3 pens.", "Ann buys 3 pens and 2 caps.")
    0.5
    """
    own = ngrams(text, n)
    return len(own & ngrams(prompt, n)) / len(own) if own else 0.0


def add_heuristics(steps: pd.DataFrame, traces: Iterable[Trace]) -> pd.DataFrame:
    """``Influence.steps`` with the columns loss, entropy, length, position and overlap.

    Raises:
        DataError: a trace of ``steps`` is not among ``traces``.
    """
    prompts = {trace.id: trace.prompt for trace in traces}
    missing = set(steps["id"]) - set(prompts)
    if missing:
        raise DataError(f"no trace with the id {sorted(missing)[0]!r}", field="id")
    last = steps.groupby("id")["step"].transform("max").clip(lower=1)
    shared = [
        overlap(text, prompts[name]) for text, name in zip(steps["text"], steps["id"], strict=True)
    ]
    return steps.assign(
        loss=steps["loss_base"],
        length=steps["n_tokens"],
        position=steps["step"] / last,
        overlap=np.asarray(shared, dtype=np.float64),
    )


def add_overlap(samples: pd.DataFrame, traces: Iterable[Trace]) -> pd.DataFrame:
    """``Influence.samples`` with the column overlap: of the whole response with the prompt."""
    shared = {trace.id: overlap(trace.response, trace.prompt) for trace in traces}
    return samples.assign(overlap=samples["id"].map(shared).astype(np.float64))
