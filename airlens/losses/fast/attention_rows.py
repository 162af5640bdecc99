"""Attention weights of some heads of a packed pass, a few rows at a time: no pattern is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

from .packed_attention import Call

Rows: TypeAlias = Callable[[int, int], torch.Tensor]
"""Weights [h, stop - start, c] of rows ``start`` to ``stop``; later columns are not visible."""


def attention_rows(call: Call, heads: list[int], path: torch.Tensor, first: int, stop: int) -> Rows:
    """Weights of a layer's heads at positions ``first`` to ``stop`` of one sequence.

    Args:
        call: the layer, see :attr:`.packed_attention.Plan.on_layer`.
        heads: query heads, h of them.
        path: rows of the sequence in the pack.
        first: position of the row that counts as 0.
        stop: end of the positions that are asked for.

    Returns:
        Called with two of these rows it gives fp32 [h, n, c] of those between, c being the
        positions up to the last of them. A learned sink takes its share: rows then add up to less
        than 1.
    """
    group = call.query.shape[1] // call.key.shape[1]
    query = call.query[0, heads][:, path[first:stop]]
    key = call.key[0, [head // group for head in heads]][:, path]
    sinks = None if call.sinks is None else call.sinks[heads].float()

    def rows(start: int, stop: int) -> torch.Tensor:
        seen = first + stop
        scores = (query[:, start:stop] @ key[:, :seen].transpose(1, 2)).float().mul_(call.scaling)
        if call.softcap is not None:
            scores = torch.tanh(scores / call.softcap) * call.softcap
        at = torch.arange(first + start, seen, device=path.device)[:, None]
        # Without a window all see what stands before the first of these rows.
        begin = first + start if call.window is None else 0
        position = torch.arange(begin, seen, device=path.device)[None]
        hidden = position > at
        if call.window is not None:
            hidden |= position <= at - call.window
        scores[..., begin:].masked_fill_(hidden, float("-inf"))
        if sinks is None:
            return torch.softmax(scores, dim=-1)
        extra = sinks[:, None, None].expand(-1, stop - start, 1)
        return torch.softmax(torch.cat([scores, extra], dim=-1), dim=-1)[..., :-1]

    return rows
