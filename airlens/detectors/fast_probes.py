"""Retrieval scores from the answer rows' query and key alone.

Only the position a head attends to most counts, and softmax does not change it: the forward pass
runs under SDPA, the scores of the few answer rows are a small extra product, and neither a [T, T]
pattern nor logits beyond the answer's are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from airlens.ablation import Ablation, mean_z
from airlens.losses.fast.fast_model import FastModel, fast_model
from airlens.losses.fast.packed_attention import Call, Plan
from airlens.losses.fast.packing import Pack, Segment, pack, to_device
from airlens.model.state import running

from .copying import CopyShares, Predicted, hits_and_nll, is_copy

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from .probes import Probe

TOKENS = 4096  # of a packed row of probes, on any device


def read_probes(
    model: TransformerBridge,
    probes: Sequence[Probe],
    *,
    shares: CopyShares | None = None,
    ablation: Ablation | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[Predicted]:
    """Whether each answer token is the most likely one, and its NLL, for each probe.

    Args:
        model: the bridge.
        probes: the probes.
        shares: filled with what each head copies.
        ablation: heads, mode and means to ablate with.
        on_progress: called with the number of probes done.

    Returns:
        For each probe: bool [n] and fp32 [n] in nats.
    """
    with running(model):
        if ablation is not None and ablation[1] == "mean" and ablation[2] is None:
            ablation = (*ablation[:2], mean_z(model))
        return _read_probes(fast_model(model), probes, shares, ablation, on_progress)


def _read_probes(
    fast: FastModel,
    probes: Sequence[Probe],
    shares: CopyShares | None,
    ablation: Ablation | None,
    on_progress: Callable[[int], None],
) -> list[Predicted]:
    found: dict[int, Predicted] = {}
    for row in pack([p.tokens for p in probes], TOKENS):
        chosen = [probes[i] for i in row.items]
        plan = Plan(row.segments)
        if ablation is not None:
            heads, mode, plan.means = ablation
            plan.modes = (mode,)
            plan.edits = {layer: [(0, indices)] for layer, indices in heads.by_layer().items()}
        if shares is not None:
            plan.on_layer = _Reader(row, chosen, shares, fast.device)
        with torch.inference_mode():
            hidden = fast.hidden(row, plan, rows=TOKENS)[0]
            for i, segment, probe in zip(row.items, row.segments, chosen, strict=True):
                found[i] = _predicted(fast, hidden, segment, probe)
        on_progress(len(chosen))
    return [found[i] for i in range(len(probes))]


def _predicted(fast: FastModel, hidden: torch.Tensor, segment: Segment, probe: Probe) -> Predicted:
    start, stop = probe.answer
    where = to_device(segment.path[start - 1 : stop - 1], hidden.device)
    target = to_device(np.asarray(probe.answer_tokens, np.int64), hidden.device)
    return hits_and_nll(fast.logits(hidden[where]), target)


class _Reader:
    """Finds, in each layer, the position that each answer row attends to most."""

    def __init__(
        self, row: Pack, probes: Sequence[Probe], shares: CopyShares, device: torch.device
    ) -> None:
        self.shares = shares
        self.parts = []
        for i, segment, probe in zip(row.items, row.segments, probes, strict=True):
            tokens = to_device(np.asarray(probe.tokens, np.int64), device)
            self.parts.append((i, to_device(segment.path, device), tokens, probe))

    def __call__(self, call: Call) -> None:
        query, key = call.query, call.key
        for i, path, tokens, probe in self.parts:
            start, stop = probe.answer
            rows = path[start - 1 : stop - 1]
            asked, seen = query[0, :, rows], key[0, :, path]
            best = most_attended(asked, seen, start - 1, call.scaling, call.window)
            copied = is_copy(best, tokens, tokens[start:stop], probe.needle)
            self.shares.fill(i, call.layer, copied)


def most_attended(
    query: torch.Tensor, key: torch.Tensor, first: int, scaling: float, window: int | None
) -> torch.Tensor:
    """Position with the largest score, [H, a], of query rows [H, a, D] at positions first, ….

    Args:
        query: [H, a, D].
        key: [K, m, D] of all positions.
        first: position of the first query row.
        scaling: of the scores (its sign matters).
        window: how many positions a row sees, itself included; None for all before it.
    """
    heads, rows, _ = query.shape
    groups, m, _ = key.shape
    scores = query.reshape(groups, -1, query.shape[-1]) @ key.transpose(1, 2) * scaling
    scores = scores.reshape(heads, rows, m)
    position = torch.arange(m, device=key.device)
    row = torch.arange(first, first + rows, device=key.device)[:, None]
    hidden = position > row
    if window is not None:
        hidden |= position <= row - window
    return scores.masked_fill_(hidden, float("-inf")).argmax(dim=-1)
