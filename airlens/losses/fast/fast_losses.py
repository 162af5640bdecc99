"""NLL of base and ablated models in one forked pass, equal to :mod:`airlens.losses.token_losses`.

A row holds several sequences without padding. It runs once up to the first ablated layer; from the
layer of its first head on, each head set has a batch row of its own. Logits are computed only for
positions that predict a scored token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from airlens.ablation import mean_z
from airlens.errors import out_of_memory
from airlens.heads import HeadSet
from airlens.losses.hooks import LEAST, check_finite, kl_divergence, rank_of
from airlens.losses.windows import WindowLoss
from airlens.model.state import running

from .fast_model import FastModel, fast_model, order, plan_of
from .low_precision import low_precision
from .packing import Pack, pack, to_device, to_host
from .slices import Told

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from airlens.ablation import MeanZ, Mode
    from airlens.losses.fast.low_precision import Precision
    from airlens.losses.windows import Window

log = logging.getLogger(__name__)

# Tokens of a row times its batch rows. On CPU so that temporaries stay under glibc's largest mmap
# threshold (32 MB): above it each one is mapped and page-faulted anew.
CPU_TOKENS = 4096
GPU_TOKENS = 32_768
LEAST_ROWS = 64  # smaller slices would save no memory
# Of one chunk of fp32 logits: on CPU for the same reason, on a GPU so that a chunk fills it (1,766
# rows of a vocabulary of 152k; a few dozen would leave it idle between launches).
LOGIT_BYTES, GPU_LOGIT_BYTES = 24 << 20, 1 << 30


def score_fast(
    model: TransformerBridge,
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    mode: Mode | Sequence[Mode],
    *,
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    precision: Precision = "full",
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[WindowLoss]:
    """Same as :func:`airlens.losses.token_losses.token_losses`, by the fast engine.

    ``max_tokens_per_batch`` bounds tokens times (1 + head sets) that are computed at once: a longer
    sequence runs in slices. When memory runs out it is halved for the rest.
    """
    with running(model):
        fast = fast_model(model)
        modes = [mode] if isinstance(mode, str) else mode
        if "mean" in modes and means is None and any(len(heads) for heads in head_sets):
            means = mean_z(model)
        with low_precision(fast, precision):
            options = (means, max_tokens_per_batch, on_progress)
            return _score(model, fast, items, head_sets, mode, *options)


def _score(
    model: TransformerBridge,
    fast: FastModel,
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    mode: Mode | Sequence[Mode],
    means: MeanZ | None,
    max_tokens_per_batch: int | None,
    on_progress: Callable[[int], None],
) -> list[WindowLoss]:
    budget = row_budget(max_tokens_per_batch, fast.device)
    width = 1 + sum(1 for heads in head_sets if len(heads))
    means = None if means is None else means.to(fast.device)
    results: dict[int, WindowLoss] = {}

    def read(done: _Launched) -> None:
        for i, loss in done.read().items():
            check_finite(model, loss, i)
            results[i] = loss
        done.told.up_to(1)

    todo = list(range(len(items)))
    while todo:
        waiting: list[_Launched] = []  # an accelerator computes a row while the one before is read
        try:
            for row in pack([items[i].tokens for i in todo], budget // width):
                indices = [todo[k] for k in row.items]
                chosen = [items[i] for i in indices]
                told = Told(sum(len(w.tokens) for w in chosen), on_progress)
                given = (row, indices, chosen, head_sets, mode, means)
                waiting.append(_launch(fast, *given, max(1, budget // width), told))
                if len(waiting) == 2:
                    read(waiting.pop(0))
        except RuntimeError as error:
            if not out_of_memory(error) or budget // width < LEAST_ROWS:
                raise
            budget //= 2
            log.warning("out of memory: going on with max_tokens_per_batch=%d", budget)
        for done in waiting:
            read(done)
        todo = [i for i in todo if i not in results]
    return [results[i] for i in range(len(items))]


def row_budget(asked: int | None, device: torch.device | str) -> int:
    """Most tokens of a packed row times its batch rows: as asked for, or what suits the device."""
    return asked or (CPU_TOKENS if torch.device(device).type == "cpu" else GPU_TOKENS)


@dataclass(frozen=True)
class _Launched:
    """The losses of a packed row, while they are copied from the device.

    Attributes:
        indices: of the windows among all.
        items: the windows.
        lines: which line of ``nll`` holds each head set.
        nll: fp32 [1 + ablations, n] on the host, complete once ``copied`` is done.
        entropy: fp32 [n], the same.
        rank: fp32 [n], the same.
        copied: None where the host computed the losses itself.
        told: the tokens that a progress bar knows of.
    """

    indices: list[int]
    items: Sequence[Window]
    lines: list[int]
    nll: torch.Tensor
    entropy: torch.Tensor
    rank: torch.Tensor
    copied: torch.cuda.Event | None
    told: Told

    def read(self) -> dict[int, WindowLoss]:
        """The losses of each window."""
        if self.copied is not None:
            self.copied.synchronize()
        nll, entropy, rank = self.nll.numpy(), self.entropy.numpy(), self.rank.numpy()
        ends = np.cumsum([w.n_scored for w in self.items])
        return {
            index: WindowLoss(
                nll[0, a:b].copy(), entropy[a:b].copy(), nll[self.lines, a:b], rank[a:b].copy()
            )
            for index, a, b in zip(self.indices, [0, *ends[:-1]], ends, strict=True)
        }


def _launch(
    fast: FastModel,
    row: Pack,
    ids: list[int],
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    mode: Mode | Sequence[Mode],
    means: MeanZ | None,
    rows: int,
    told: Told,
) -> _Launched:
    """Start the pass of a packed row, ``rows`` at once, without waiting for an accelerator."""
    indices, forks = order(head_sets)
    with torch.inference_mode():
        plan = plan_of(row, head_sets, indices, mode, means)
        plan.on_share = told.up_to
        hidden = fast.hidden(row, plan, forks, rows=rows)
        where, target = scored_rows(row, items)
        spots, wanted = to_device(where, fast.device), to_device(target, fast.device)
        found = [row_losses(fast, hidden[0], spots, wanted, base=True)]
        found += [row_losses(fast, h, spots, wanted, base=False) for h in hidden[1:]]
        nll = to_host(torch.stack([losses for losses, *_ in found]))
        entropy, rank = to_host(found[0][1]), to_host(found[0][2])
    copied = None
    if fast.device.type == "cuda":
        copied = torch.cuda.Event()
        copied.record()
    line = {index: k for k, index in enumerate(indices, start=1)}
    lines = [line.get(i, 0) for i in range(len(head_sets))]  # an empty set is the base model
    return _Launched(ids, items, lines, nll, entropy, rank, copied, told)


def scored_rows(row: Pack, items: Sequence[Window]) -> tuple[np.ndarray, np.ndarray]:
    """Rows that predict a scored token, and these tokens, window after window; int64 [n] each."""
    where = [s.path[w.first - 1 : -1] for s, w in zip(row.segments, items, strict=True)]
    target = [np.asarray(w.tokens[w.first :], np.int64) for w in items]
    return np.concatenate(where), np.concatenate(target)


def logit_rows(vocabulary: int, device: torch.device | str) -> int:
    """Rows of logits at once."""
    room = LOGIT_BYTES if torch.device(device).type == "cpu" else GPU_LOGIT_BYTES
    return max(16, room // (4 * vocabulary))


def row_losses(
    fast: FastModel,
    hidden: torch.Tensor,
    where: torch.Tensor,
    target: torch.Tensor,
    *,
    base: bool,
    before: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """fp32 NLL [n] of ``target`` predicted from rows ``where`` of hidden [N, d].

    And with ``base`` the entropy of the predictions and the rank of ``target`` in them; with
    ``before``, [n, d], the KL divergence of the predictions from those rows, KL(before || hidden);
    else empty.
    """
    size = logit_rows(int(fast.head.weight.shape[0]), hidden.device)
    n = len(where)
    # Filled in place: a tensor kept of each chunk would lie in the room of its freed logits, which
    # the next chunk's then do not fit into, so that glibc takes new room for every chunk.
    nll, entropy, rank, kl = (
        torch.empty(n if asked else 0, device=hidden.device)
        for asked in (True, base, base, before is not None)
    )
    for start in range(0, n, size):
        part = slice(start, start + size)
        wanted = target[part]
        logits = fast.logits(hidden[where[part]])
        if before is not None:
            kl[part] = kl_divergence(fast.logits(before[part]), logits)
        if base:
            rank[part] = rank_of(logits, wanted)
        logp = torch.log_softmax(logits, dim=-1)
        nll[part] = -logp.gather(-1, wanted[:, None])[:, 0]
        if base:
            # a token that is ruled out, with a logit of -inf, adds nothing
            entropy[part] = -torch.linalg.vecdot(logp.exp(), logp.clamp_(min=LEAST))
    return nll, entropy, rank, kl
