"""What is read behind the cuts of a trace, and the loop over cuts that reads it: the reference.

Each cut is a text of its own, run whole under the hooks for the model and for each set of heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from airlens.ablation import MeanZ, Mode, ablated
from airlens.detectors.greedy_decoding import greedy_tokens
from airlens.heads import HeadSet
from airlens.losses.hooks import score_windows
from airlens.losses.knockout import knocked_out
from airlens.losses.windows import Window

from .forcing import Cut, CutTrace

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Said:
    """Greedy tokens behind a cut, and the log-probability of each, nats."""

    tokens: tuple[int, ...]
    logp: tuple[float, ...]


@dataclass(frozen=True)
class CutLosses:
    """Log-probabilities behind the C cuts of a trace, nats, summed over the tokens of an answer.

    Attributes:
        answer: fp64 [1 + S, C], of the answer under the model and each of S head sets.
        contrast: fp64 [C], of the wrong answer under the model; NaN without one.
        said: what the model says behind each cut.
        said_ref: the same under the first head set.
        direct: fp64 [H, J], of the answer behind the cut before it is written, when each of H
            head sets may not attend to step j from the rows behind the cut alone.
    """

    answer: np.ndarray
    contrast: np.ndarray
    said: tuple[Said, ...]
    said_ref: tuple[Said, ...]
    direct: np.ndarray


def cut_window(trace: CutTrace, cut: Cut, answer: Sequence[int]) -> Window:
    """The trace up to a cut, the forcing text and an answer, whose tokens are scored."""
    tokens = [*trace.encoded.tokens[: cut.at], *cut.forcing, *answer]
    return Window(tokens, cut.at + len(cut.forcing), 0)


def steps_before(trace: CutTrace) -> list[tuple[int, int]]:
    """Spans of the J steps before the cut at which the answer's dependence is asked."""
    return [trace.span(step) for step in range(trace.cuts[trace.written].step + 1)]


def looped(
    model: TransformerBridge,
    trace: CutTrace,
    head_sets: Sequence[HeadSet],
    hidden_from: Sequence[HeadSet],
    mode: Mode,
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
) -> CutLosses:
    """Read each cut by passes of its own.

    Args:
        model: the bridge.
        trace: with C cuts.
        head_sets: what to ablate, S of them; the first are the critical heads.
        hidden_from: the H head sets that steps are hidden from, for ``direct``.
        mode: of the ablation.
        means: for ``mean``.
        max_tokens_per_batch: of the passes with the answer, as in
            :func:`airlens.losses.hooks.score_windows`.
    """
    items = [cut_window(trace, cut, cut.answer) for cut in trace.cuts]
    score = partial(score_windows, max_tokens_per_batch=max_tokens_per_batch)
    losses = score(model, items, head_sets, mode, means=means)
    answer = -np.array([[x.base.sum(dtype="f8"), *x.ablated.sum(1, dtype="f8")] for x in losses]).T
    contrast = np.full(len(items), np.nan)
    some = [i for i, cut in enumerate(trace.cuts) if cut.contrast]
    wrong = [cut_window(trace, trace.cuts[i], trace.cuts[i].contrast) for i in some]
    for i, loss in zip(some, score(model, wrong, [], mode), strict=True):
        contrast[i] = -loss.base.sum(dtype="f8")
    said = _said(model, trace)
    if head_sets and len(head_sets[0]):
        with ablated(model, head_sets[0], mode, means=means):
            said_ref = _said(model, trace)
    else:
        said_ref = said
    cut = trace.cuts[trace.written]
    window, spans = cut_window(trace, cut, cut.answer), steps_before(trace)
    direct = np.zeros((len(hidden_from), len(spans)))
    if hidden_from and spans:
        nll = knocked_out(model, window, spans, hidden_from, after=cut.at).nll
        direct = -nll.sum(axis=-1, dtype="f8")
    return CutLosses(answer, contrast, said, said_ref, direct)


def _said(model: TransformerBridge, trace: CutTrace) -> tuple[Said, ...]:
    found = []
    for cut in trace.cuts:
        before = [*trace.encoded.tokens[: cut.at], *cut.forcing]
        tokens = greedy_tokens(model, before, cut.most)
        loss = score_windows(model, [Window([*before, *tokens], len(before), 0)], [], "uniform")
        found.append(Said(tuple(tokens), tuple((-loss[0].base.astype("f8")).tolist())))
    return tuple(found)
