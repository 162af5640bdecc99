"""Influence of each single head on a packed row: exact passes, and a first-order estimate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from airlens.ablation import without_each_head
from airlens.heads import Head

from .fast_losses import row_losses, scored_rows
from .fast_model import FastModel
from .packed_attention import Plan
from .packing import Pack, to_device

if TYPE_CHECKING:
    from airlens.ablation import MeanZ, Mode
    from airlens.losses.windows import Window


def exact_row(
    fast: FastModel,
    row: Pack,
    items: Sequence[Window],
    heads: Sequence[Head],
    mode: Mode,
    means: MeanZ | None,
    budget: int,
    on_progress: Callable[[int], None] = lambda _: None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the scored tokens of a row: base NLL [n], entropy [n], NLL without each head [heads, n].

    The base pass stores the input of each layer, and a head's pass begins at its own layer; heads
    of a layer run side by side, as many as ``budget`` (batch rows times tokens) allows.
    """
    nll = {}
    with torch.inference_mode():
        where, target = (to_device(x, fast.device) for x in scored_rows(row, items))
        kept, hidden = fast.residuals(row, Plan(row.segments), rows=budget)
        base, entropy, *_ = row_losses(fast, hidden[0], where, target, base=True)
        size = max(1, budget // len(row.tokens))
        for layer in sorted({h.layer for h in heads}):
            here = [h for h in heads if h.layer == layer]
            for chunk in (here[i : i + size] for i in range(0, len(here), size)):
                edits = {layer: [(i, [h.head]) for i, h in enumerate(chunk)]}
                plan = Plan(row.segments, edits, (mode,), means)
                own = max(1, budget // len(chunk))
                hidden = fast.resume(row, plan, layer, kept[layer], len(chunk), rows=own)
                for head, state in zip(chunk, hidden, strict=True):
                    nll[head] = row_losses(fast, state, where, target, base=False)[0]
                on_progress(len(chunk))
        stacked = torch.stack([nll[h] for h in heads]) if nll else base.new_zeros(0, len(base))
    return base.cpu().numpy(), entropy.cpu().numpy(), stacked.cpu().numpy()


def attribution_row(
    fast: FastModel,
    row: Pack,
    items: Sequence[Window],
    parts: np.ndarray,
    mode: Mode,
    means: MeanZ | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base NLL [n] of the scored tokens, and an estimate of its rise, [P, windows, L, H].

    Attribution patching: the sum of grad_z (sum of NLL) · (z_ablated - z) over positions. First
    order: it misses effects of an ablation beyond the slope at the base model. The third array, of
    the same shape, is the sum of the squares of these products (ours): where they are large and
    cancel, the first order is near 0 and the effect need not be.

    ``parts``, int [n] from 0 to P - 1, says which part of its window a scored token belongs to; the
    rise of each part takes a backward pass of its own, shared by all windows of the row. The row
    must not share beginnings between windows (``pack(..., share=False)``).
    """
    kept: list[torch.Tensor] = []
    away: list[torch.Tensor] = []

    def keep(layer: int, z: torch.Tensor, even: torch.Tensor) -> None:
        # Weights are frozen: the first z is the first tensor to require a gradient.
        kept.append(z if z.requires_grad else z.requires_grad_())
        now = z.detach()
        away.append(without_each_head(now, layer, mode, even=even, means=means) - now)

    with torch.enable_grad():
        hidden = fast.hidden(row, Plan(row.segments, on_z=keep))
        where, target = (to_device(x, fast.device) for x in scored_rows(row, items))
        nll = row_losses(fast, hidden[0], where, target, base=False)[0]
        last = int(parts.max())
        found = []
        for part in range(last + 1):
            chosen = to_device(np.flatnonzero(parts == part), fast.device)
            slopes = torch.autograd.grad(nll[chosen].sum(), kept, retain_graph=part < last)
            found.append(_rises(row, slopes, away))
    rises, squares = torch.stack(found, dim=1).cpu().numpy()
    return nll.detach().cpu().numpy(), rises, squares


def _rises(row: Pack, slopes: Sequence[torch.Tensor], away: Sequence[torch.Tensor]) -> torch.Tensor:
    """Slope times distance of each head's z and its square, over positions: sums [2, W, L, H]."""
    rises = torch.stack([(g * d)[0].sum(-1) for g, d in zip(slopes, away, strict=True)])
    both = torch.stack([rises, rises.square()])
    return torch.stack([both[:, :, s.start : s.stop].sum(dim=2) for s in row.segments], dim=1)
