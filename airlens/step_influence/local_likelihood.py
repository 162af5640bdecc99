"""LALP, local average log probability (2510.03988, eq. 2): is each step likely from what is near?

A response is cut into sentences s_1 … s_p. Of each the model sees the prompt x and the k sentences
before it, and nothing else of the response:

    LALP = mean over i of  1/|s_i| · Σ_{t in s_i} log p(y_t | x, s_{i-k} … s_{i-1}, y_<t in s_i)

Every sentence counts the same, however long; high is kept. k = 4, and sentences as steps, are the
paper's, as far as it could be read: its own code was not at hand. Ours: sentences end where a step
of the trace ends too, so that a step's value is the mean over its own; what is longer than the
model's context is scored in strides or cut, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from airlens.ablation import DEFAULT_MODE
from airlens.losses.token_losses import trace_losses
from airlens.traces.encoding import EncodedTrace, parts_of
from airlens.traces.steps import split_steps

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

BEFORE = 4  # sentences that a sentence is read with


def local_likelihoods(
    model: TransformerBridge,
    encoded: Sequence[EncodedTrace],
    *,
    before: int = BEFORE,
    only: Sequence[int] | None = None,
    **options: Any,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean log-probability of each sentence of each trace, and the step that it belongs to.

    Args:
        model: the bridge.
        encoded: the traces.
        before: sentences of the response that a sentence is read with.
        only: one step of each trace, whose sentences alone are scored; None: all.
        options: of :func:`airlens.losses.token_losses.trace_losses`: ``long``, ``engine``,
            ``max_tokens_per_batch``, ``progress``.

    Returns:
        For each trace fp64 [p], in nats a token, and int [p]; sentences without a scored token are
        left out.
    """
    chosen = [None] * len(encoded) if only is None else only
    spans: list[list[tuple[int, int]]] = []
    alone: list[EncodedTrace] = []
    for e, step in zip(encoded, chosen, strict=True):
        every = sentence_spans(e)
        wanted = [i for i, (start, _) in enumerate(every) if step in (None, int(e.step[start]))]
        spans.append([every[i] for i in wanted])
        alone += [_alone(e, every[max(0, i - before)][0], *every[i]) for i in wanted]
    losses = iter(trace_losses(model, alone, [], DEFAULT_MODE, **options))
    found = []
    for e, own in zip(encoded, spans, strict=True):
        rows = []
        for start, _ in own:
            nll = next(losses).base
            known = nll[~np.isnan(nll)]
            if len(known):
                rows.append((-float(known.mean(dtype=np.float64)), int(e.step[start])))
        values, steps = zip(*rows, strict=True) if rows else ((), ())
        found.append((np.asarray(values, np.float64), np.asarray(steps, np.int64)))
    return found


def sentence_spans(encoded: EncodedTrace) -> list[tuple[int, int]]:
    """Half-open spans of the response's tokens, one a sentence; a sentence ends with its step."""
    trace = encoded.trace
    begins = {step.start for step in trace.whole_steps()}
    begins |= {step.start for step in split_steps(trace.response, "sentence")}
    part = parts_of(trace.response, encoded.offsets, sorted(begins))
    edges = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(part)]
    return [(a, b) for a, b in pairwise(edges) if a < b]


def _alone(e: EncodedTrace, context: int, start: int, stop: int) -> EncodedTrace:
    """Tokens ``start`` to ``stop`` of the response behind the prompt and those from ``context``."""
    begin = e.response_start
    tokens = [*e.tokens[:begin], *e.tokens[begin + context : begin + stop]]
    return replace(
        e,
        tokens=tokens,
        response_start=begin + start - context,
        offsets=e.offsets[start:stop],
        step=e.step[start:stop],
    )
