"""Attention by source, and knockout of sources, from packed passes without patterns.

Reading takes one pass: beside each layer's own attention, the attention rows of the requested heads
are computed in chunks and summed immediately. In a knockout, only the rows after the source differ
from the base pass, and only from the first head's layer on: only those rows run again, on the keys
and values of the base pass, with several sources side by side in one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from airlens.heads import Head, HeadSet
from airlens.losses.fast.fast_losses import row_budget, row_losses, scored_rows
from airlens.losses.fast.fast_model import FastModel, fast_model
from airlens.losses.fast.packed_attention import Call, Plan
from airlens.losses.fast.packing import Pack, Segment, pack, to_device
from airlens.losses.windows import Window
from airlens.model.state import running

from .hook_reading import Reader, Reading, Span
from .units import Stretch

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ROWS = 128  # of attention weights at once


def read_attention(
    model: TransformerBridge,
    stretches: Sequence[Stretch],
    heads: Sequence[Head],
    *,
    max_tokens_per_batch: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[Reading]:
    """As :func:`.hook_reading.read_attention`, faster: attention of the heads by source."""
    with running(model):
        options = (max_tokens_per_batch, on_progress)
        return _read_all(fast_model(model), stretches, heads, *options)


def _read_all(
    fast: FastModel,
    stretches: Sequence[Stretch],
    heads: Sequence[Head],
    max_tokens_per_batch: int | None,
    on_progress: Callable[[int], None],
) -> list[Reading]:
    found: dict[int, Reading] = {}
    budget = row_budget(max_tokens_per_batch, fast.device)
    for row in pack([s.window.tokens for s in stretches], budget):
        chosen = [stretches[i] for i in row.items]
        readers = [Reader(stretch, heads) for stretch in chosen]
        plan = Plan(row.segments)

        def read(call: Call, readers: list[Reader] = readers, plan: Plan = plan) -> None:
            for reader, path in zip(readers, plan.paths(call.query.device), strict=True):
                if reader.of_layer(call.layer):
                    _read(reader, call, path)

        plan.on_layer = read
        fast.hidden(row, plan)
        found.update(zip(row.items, (reader.read() for reader in readers), strict=True))
        on_progress(sum(len(s.window.tokens) for s in chosen))
    return [found[i] for i in range(len(stretches))]


def _read(reader: Reader, call: Call, path: torch.Tensor) -> None:
    """Read one layer: scores of the requested heads, softmax over the positions each row sees."""
    heads = reader.of_layer(call.layer)
    group = call.query.shape[1] // call.key.shape[1]
    begin = reader.stretch.window.first - 1
    query = call.query[0, heads][:, path[begin:-1]]
    key = call.key[0, [head // group for head in heads]][:, path]
    sinks = None if call.sinks is None else call.sinks[heads].float()

    def rows(start: int, stop: int) -> torch.Tensor:
        seen = begin + stop
        scores = (query[:, start:stop] @ key[:, :seen].transpose(1, 2)).float() * call.scaling
        if call.softcap is not None:
            scores = torch.tanh(scores / call.softcap) * call.softcap
        at = torch.arange(begin + start, seen, device=path.device)[:, None]
        position = torch.arange(seen, device=path.device)[None]
        hidden = position > at
        if call.window is not None:
            hidden |= position <= at - call.window
        scores = scores.masked_fill_(hidden, float("-inf"))
        if sinks is None:
            return torch.softmax(scores, dim=-1)
        extra = sinks[:, None, None].expand(-1, stop - start, 1)
        return torch.softmax(torch.cat([scores, extra], dim=-1), dim=-1)[..., :-1]

    reader.add(call.layer, rows, call.window, ROWS)


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
    kept, hidden = fast.residuals(base_row, plan, [layer])
    where, target = (to_device(x, fast.device) for x in scored_rows(base_row, [window]))
    base = row_losses(fast, hidden[0], where, target, entropy=False)[0].cpu().numpy()
    found = np.broadcast_to(base, (len(head_sets), len(spans), len(base))).copy()
    jobs = [
        (i, j)
        for j, (_, stop) in enumerate(spans)
        for i, heads in enumerate(head_sets)
        if len(heads) and stop < len(window.tokens) - 1
    ]
    budget = row_budget(max_tokens_per_batch, fast.device)
    for chosen in _chunks(jobs, window, spans, budget):
        row = _rows_after(window, [spans[j] for _, j in chosen])
        plan = Plan(row.segments, before=before)
        for index, (i, j) in enumerate(chosen):
            for at, heads_there in head_sets[i].by_layer().items():
                plan.blocked.setdefault(at, []).append((index, heads_there, *spans[j]))
        residual = kept[layer][:, to_device(row.positions, fast.device)]
        hidden = fast.resume(row, plan, layer, residual, 1)[0]
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
    losses = row_losses(fast, hidden, where, target, entropy=False)[0]
    into[first - window.first :] = losses.cpu().numpy()
