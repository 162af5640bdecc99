"""Attention by source, from packed passes without patterns.

Reading takes one pass: beside each layer's own attention, the attention rows of the requested heads
are computed in chunks and summed immediately.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from airlens.heads import Head
from airlens.losses.fast.attention_rows import attention_rows
from airlens.losses.fast.fast_losses import row_budget
from airlens.losses.fast.fast_model import FastModel, fast_model
from airlens.losses.fast.packed_attention import Call, Plan
from airlens.losses.fast.packing import pack
from airlens.losses.fast.slices import Told
from airlens.model.state import running

from .hook_reading import Reader, Reading
from .source_units import Stretch

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
    """Attention of the heads by source, as :func:`.hook_reading.read_attention` has it, faster."""
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
                    _read(reader, call, path.rows)

        told = Told(sum(len(s.window.tokens) for s in chosen), on_progress)
        plan.on_layer, plan.on_share = read, told.up_to
        fast.hidden(row, plan, rows=budget)
        found.update(zip(row.items, (reader.read() for reader in readers), strict=True))
        told.up_to(1)
    return [found[i] for i in range(len(stretches))]


def _read(reader: Reader, call: Call, path: torch.Tensor) -> None:
    """Read one layer: the rows that predict the scored tokens."""
    begin = reader.stretch.window.first - 1
    rows = attention_rows(call, reader.of_layer(call.layer), path, begin, len(path) - 1)
    reader.add(call.layer, rows, call.window, ROWS)
