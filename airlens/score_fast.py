"""NLL of base and ablated model in one forked pass: what :mod:`airlens.score` does, faster.

A row holds several sequences without padding. It runs once up to the first ablated layer; from
there each head set has a batch row of its own, which begins where that set's first head lies. Only
rows that predict a scored token are turned into logits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from .ablation import mean_z
from .fast_model import FastModel, fast_model, order, plan_of
from .heads import HeadSet
from .packing import Pack, pack, to_device
from .score import WindowLoss

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from .encode import Window
    from .types import MeanZ, Mode

log = logging.getLogger(__name__)

# Tokens of a row times its batch rows. On CPU so that temporaries stay under glibc's largest mmap
# threshold (32 MB): above it each one is mapped and page-faulted anew.
CPU_TOKENS = 4096
GPU_TOKENS = 32_768
LOGIT_BYTES = 24 << 20  # of one chunk of fp32 logits on CPU, for the same reason


def score_fast(
    model: TransformerBridge,
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    mode: Mode | Sequence[Mode],
    *,
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[WindowLoss]:
    """NLL of every scored token under the base model and under each ablation.

    Arguments and result are those of :func:`airlens.score.score_windows`; ``mode`` may also be one
    mode for each head set.
    ``max_tokens_per_batch`` bounds tokens times (1 + head sets); when memory runs out it is halved
    and the rest goes on.
    """
    fast = fast_model(model)
    budget = max_tokens_per_batch or (CPU_TOKENS if fast.device.type == "cpu" else GPU_TOKENS)
    width = 1 + sum(1 for heads in head_sets if len(heads))
    if "mean" in ([mode] if isinstance(mode, str) else mode) and means is None and width > 1:
        means = mean_z(model)
    results: dict[int, WindowLoss] = {}
    todo = list(range(len(items)))
    while todo:
        rows = pack([items[i].tokens for i in todo], budget // width)
        try:
            for row in rows:
                chosen = [items[todo[k]] for k in row.items]
                losses = score_row(fast, row, chosen, head_sets, mode, means)
                results.update(zip([todo[k] for k in row.items], losses, strict=True))
                on_progress(sum(len(w.tokens) for w in chosen))
        except (torch.OutOfMemoryError, RuntimeError) as error:
            longest = max(len(w.tokens) for w in items)
            if not out_of_memory(error) or budget // width < longest // 2:
                raise
            budget //= 2
            log.warning("out of memory: going on with max_tokens_per_batch=%d", budget)
        todo = [i for i in todo if i not in results]
    return [results[i] for i in range(len(items))]


def out_of_memory(error: Exception) -> bool:
    """Whether torch ran out of memory, on an accelerator or on CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def score_row(
    fast: FastModel,
    row: Pack,
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    mode: Mode | Sequence[Mode],
    means: MeanZ | None,
) -> list[WindowLoss]:
    """The losses of the windows ``items`` of one packed row."""
    indices, forks = order(head_sets)
    with torch.inference_mode():
        hidden = fast.hidden(row, plan_of(row, head_sets, indices, mode, means), forks)
        where, target = scored_rows(row, items)
        spots, wanted = to_device(where, fast.device), to_device(target, fast.device)
        found = [row_losses(fast, hidden[0], spots, wanted, entropy=True)]
        found += [row_losses(fast, h, spots, wanted, entropy=False) for h in hidden[1:]]
        nll = torch.stack([losses for losses, _ in found]).cpu().numpy()
        entropy = found[0][1].cpu().numpy()
    line = {index: k for k, index in enumerate(indices, start=1)}
    lines = [line.get(i, 0) for i in range(len(head_sets))]  # an empty set is the base model
    ends = np.cumsum([w.n_scored for w in items])
    return [
        WindowLoss(nll[0, a:b].copy(), entropy[a:b].copy(), nll[lines, a:b])
        for a, b in zip([0, *ends[:-1]], ends, strict=True)
    ]


def scored_rows(row: Pack, items: Sequence[Window]) -> tuple[np.ndarray, np.ndarray]:
    """Rows that predict a scored token, and those tokens, window after window; int64 [n] each."""
    where = [s.path[w.first - 1 : -1] for s, w in zip(row.segments, items, strict=True)]
    target = [np.asarray(w.tokens[w.first :], np.int64) for w in items]
    return np.concatenate(where), np.concatenate(target)


def row_losses(
    fast: FastModel,
    hidden: torch.Tensor,
    where: torch.Tensor,
    target: torch.Tensor,
    *,
    entropy: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """fp32 NLL [n] of ``target`` predicted from rows ``where`` of hidden [N, d], and entropy."""
    size = max(16, LOGIT_BYTES // (4 * int(fast.head.weight.shape[0])))
    losses, entropies = [], []
    for rows, wanted in zip(where.split(size), target.split(size), strict=True):
        logp = torch.log_softmax(fast.logits(hidden[rows]), dim=-1)
        losses.append(-logp.gather(-1, wanted[:, None])[:, 0])
        if entropy:
            entropies.append(-torch.linalg.vecdot(logp.exp(), logp))
    return torch.cat(losses), torch.cat(entropies) if entropies else torch.zeros(0)
