"""Losses when heads may not attend to a span of positions, from partial passes.

Only the rows after the span differ from the base pass, and only from the first head's layer on:
only those rows run again, on the keys and values of the base pass, with several spans side by side
in one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from airlens.heads import HeadSet
from airlens.losses.knockout import Span
from airlens.losses.windows import Window
from airlens.model.state import running

from .fast_losses import row_budget, row_losses, scored_rows
from .fast_model import FastModel, fast_model
from .packed_attention import Call, Plan
from .packing import Pack, Segment, pack, to_device

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def knocked_out(
    model: TransformerBridge,
    window: Window,
    spans: Sequence[Span],
    head_sets: Sequence[HeadSet],
    *,
    max_tokens_per_batch: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> tuple[np.ndarray, np.ndarray]:
    """NLL under knockouts; the same result as :func:`.hook_reading.knocked_out`, faster."""
    with running(model):
        options = (max_tokens_per_batch, on_progress)
        return _knocked_out(fast_model(model), window, spans, head_sets, *options)


def _knocked_out(
    fast: FastModel,
    window: Window,
    spans: Sequence[Span],
    head_sets: Sequence[HeadSet],
    max_tokens_per_batch: int | None,
    on_progress: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    base_row = pack([window.tokens], 0)[0]
    layer = min((h.layer for heads in head_sets for h in heads), default=0)
    before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def keep(call: Call) -> None:
        if call.layer >= layer:
            before[call.layer] = (call.key, call.value)

    plan = Plan(base_row.segments, on_layer=keep)
    budget = row_budget(max_tokens_per_batch, fast.device)
    kept, hidden = fast.residuals(base_row, plan, [layer], rows=budget)
    where, target = (to_device(x, fast.device) for x in scored_rows(base_row, [window]))
    base = row_losses(fast, hidden[0], where, target, base=False)[0].cpu().numpy()
    found = np.broadcast_to(base, (len(head_sets), len(spans), len(base))).copy()
    jobs = [
        (i, j)
        for j, (_, stop) in enumerate(spans)
        for i, heads in enumerate(head_sets)
        if len(heads) and stop < len(window.tokens) - 1
    ]
    for chosen in _chunks(jobs, window, spans, budget):
        row = _rows_after(window, [spans[j] for _, j in chosen])
        plan = Plan(row.segments, before=before)
        for index, (i, j) in enumerate(chosen):
            for at, heads_there in head_sets[i].by_layer().items():
                plan.blocked.setdefault(at, []).append((index, heads_there, *spans[j]))
        residual = kept[layer][:, to_device(row.positions, fast.device)]
        hidden = fast.resume(row, plan, layer, residual, 1, rows=budget)[0]
        for segment, (i, j) in zip(row.segments, chosen, strict=True):
            _score(fast, hidden, segment, window, spans[j][1], found[i, j])
        on_progress(len(window.tokens) * len(chosen))
    return base, found


def _chunks(
    jobs: Sequence[tuple[int, int]], window: Window, spans: Sequence[Span], budget: int
) -> Iterator[list[tuple[int, int]]]:
    """Jobs (head set, span) whose rows together stay within the budget; at least one at a time."""
    some: list[tuple[int, int]] = []
    size = 0
    for job in jobs:
        rows = len(window.tokens) - 1 - spans[job[1]][1]
        if some and size + rows > budget:
            yield some
            some, size = [], 0
        some.append(job)
        size += rows
    if some:
        yield some


def _rows_after(window: Window, spans: Sequence[Span]) -> Pack:
    """For each span, the rows after it except the last, which predicts no scored token.

    Their paths begin with rows of the base pass.
    """
    n = len(window.tokens)
    segments, positions, start = [], [], 0
    for _, stop in spans:
        own = np.arange(stop, n - 1)
        path = np.concatenate([np.arange(stop), n + start + np.arange(len(own))])
        segments.append(Segment(start, start + len(own), path))
        positions.append(own)
        start += len(own)
    places = np.concatenate(positions)
    tokens = np.asarray(window.tokens, np.int64)[places]
    return Pack(tuple(range(len(spans))), tuple(segments), tokens, places)


def _score(
    fast: FastModel,
    hidden: torch.Tensor,
    segment: Segment,
    window: Window,
    stop: int,
    into: np.ndarray,
) -> None:
    """Write the NLL of the tokens after a span into ``into`` [m]; those before it stay."""
    first = max(window.first, stop + 1)
    rows = np.arange(first - 1 - stop, len(window.tokens) - 1 - stop) + segment.start
    where = to_device(rows, fast.device)
    target = to_device(np.asarray(window.tokens[first:], np.int64), fast.device)
    losses = row_losses(fast, hidden, where, target, base=False)[0]
    into[first - window.first :] = losses.cpu().numpy()
