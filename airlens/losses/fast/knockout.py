"""Losses when heads may not attend to a span of positions, from partial passes.

Only the rows that may not see the span, and those after them, differ from the base pass, and only
from the layer of a set's first head on: only those rows run again, on the keys and values of the
base pass, with several spans side by side in one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from airlens.heads import HeadSet
from airlens.losses.knockout import KnockedOut, Span, first_row
from airlens.losses.windows import Window
from airlens.model.state import running

from .fast_losses import row_budget, row_losses, scored_rows
from .fast_model import FastModel, fast_model
from .packed_attention import Call, Plan
from .packing import Pack, Segment, pack, to_device
from .past import Past

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def knocked_out(
    model: TransformerBridge,
    window: Window,
    spans: Sequence[Span],
    head_sets: Sequence[HeadSet],
    *,
    inside: bool = False,
    kl: bool = False,
    max_tokens_per_batch: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> KnockedOut:
    """The same result as :func:`airlens.losses.knockout.knocked_out`, faster.

    With ``kl`` the base logits of a row are computed anew beside those of each knockout, some rows
    at a time: those of a whole text would not fit.
    """
    with running(model):
        options = (inside, kl, max_tokens_per_batch, on_progress)
        return _knocked_out(fast_model(model), window, spans, head_sets, *options)


def _knocked_out(
    fast: FastModel,
    window: Window,
    spans: Sequence[Span],
    head_sets: Sequence[HeadSet],
    inside: bool,
    kl: bool,
    max_tokens_per_batch: int | None,
    on_progress: Callable[[int], None],
) -> KnockedOut:
    base_row = pack([window.tokens], 0)[0]
    first_layers = {i: min(h.layer for h in heads) for i, heads in enumerate(head_sets) if heads}
    layers = sorted(set(first_layers.values()))
    before = Past()

    def keep(call: Call) -> None:
        if layers and call.layer >= layers[0]:
            before.keep(call.layer, call.key, call.value)

    plan = Plan(base_row.segments, on_layer=keep)
    budget = row_budget(max_tokens_per_batch, fast.device)
    kept, whole = fast.residuals(base_row, plan, layers, rows=budget)
    where, target = (to_device(x, fast.device) for x in scored_rows(base_row, [window]))
    base = row_losses(fast, whole[0], where, target, base=False)[0].cpu().numpy()
    found = KnockedOut.nothing(base, len(head_sets), len(spans), kl)
    starts = [first_row(span, inside) for span in spans]
    after = [j for j, start in enumerate(starts) if start < len(window.tokens) - 1]
    of_layer = {
        layer: [(i, j) for j in after for i, first in first_layers.items() if first == layer]
        for layer in layers
    }
    batches = [
        (layer, chosen)
        for layer, jobs in of_layer.items()
        for chosen in _chunks(jobs, window, starts, budget)
    ]
    for layer, chosen in batches:
        row = _rows_from(window, [starts[j] for _, j in chosen])
        plan = Plan(row.segments, before=before)
        for index, (i, j) in enumerate(chosen):
            for at, heads_there in head_sets[i].by_layer().items():
                plan.blocked.setdefault(at, []).append((index, heads_there, *spans[j]))
        residual = kept[layer][:, to_device(row.positions, fast.device)]
        hidden = fast.resume(row, plan, layer, residual, 1, rows=budget)[0]
        for segment, (i, j) in zip(row.segments, chosen, strict=True):
            nll, apart = _score(fast, hidden, segment, window, starts[j], whole[0] if kl else None)
            found.nll[i, j, len(base) - len(nll) :] = nll
            if found.kl is not None:
                found.kl[i, j, len(base) - len(apart) :] = apart
        on_progress(len(window.tokens) * len(chosen))
    return found


def _chunks(
    jobs: Sequence[tuple[int, int]], window: Window, starts: Sequence[int], budget: int
) -> Iterator[list[tuple[int, int]]]:
    """Jobs (head set, span) whose rows together stay within the budget; at least one at a time."""
    some: list[tuple[int, int]] = []
    size = 0
    for job in jobs:
        rows = len(window.tokens) - 1 - starts[job[1]]
        if some and size + rows > budget:
            yield some
            some, size = [], 0
        some.append(job)
        size += rows
    if some:
        yield some


def _rows_from(window: Window, starts: Sequence[int]) -> Pack:
    """For each start, the rows from it on except the last, which predicts no scored token.

    Their paths begin with rows of the base pass.
    """
    n = len(window.tokens)
    segments, positions, start = [], [], 0
    for first in starts:
        own = np.arange(first, n - 1)
        path = np.concatenate([np.arange(first), n + start + np.arange(len(own))])
        segments.append(Segment(start, start + len(own), path))
        positions.append(own)
        start += len(own)
    places = np.concatenate(positions)
    tokens = np.asarray(window.tokens, np.int64)[places]
    return Pack(tuple(range(len(starts))), tuple(segments), tokens, places)


def _score(
    fast: FastModel,
    hidden: torch.Tensor,
    segment: Segment,
    window: Window,
    start: int,
    whole: torch.Tensor | None,
) -> tuple[np.ndarray, np.ndarray]:
    """NLL of the scored tokens that the rows from ``start`` on predict, the last of the window.

    And with the base pass's ``whole`` [N, d] their KL divergence from it, else empty.
    """
    first = max(window.first, start + 1)
    rows = np.arange(first - 1 - start, len(window.tokens) - 1 - start) + segment.start
    where = to_device(rows, fast.device)
    target = to_device(np.asarray(window.tokens[first:], np.int64), fast.device)
    before = None if whole is None else whole[first - 1 : -1]
    nll, _, _, kl = row_losses(fast, hidden, where, target, base=False, before=before)
    return nll.cpu().numpy(), kl.cpu().numpy()
