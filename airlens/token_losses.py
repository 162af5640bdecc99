"""NLL of base and ablated model at given tokens: the work under :func:`airlens.influence`.

This is the reference engine, on TransformerLens hooks: one plain pass, then one pass for each head
set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from .ablation import ablated
from .encode import Window
from .heads import HeadSet
from .types import MeanZ, Mode

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Rows of logits turned to fp32 log-probabilities at once: 512 rows of a 150k vocabulary are 300 MB.
CHUNK = 512


@dataclass(frozen=True)
class WindowLoss:
    """NLL in nats of the scored tokens of one window, n of them.

    Attributes:
        base: fp32 [n], the model as it is.
        entropy: fp32 [n], of the base model's prediction.
        ablated: fp32 [S, n], one row for each head set.
    """

    base: np.ndarray
    entropy: np.ndarray
    ablated: np.ndarray


def score_windows(
    model: TransformerBridge,
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    mode: Mode,
    *,
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[WindowLoss]:
    """NLL of every scored token under the base model and under each ablation.

    Args:
        model: the bridge.
        items: windows, in any order; results come back in the same order.
        head_sets: what to ablate, one after the other.
        mode: ablation mode.
        means: for ``mean``.
        max_tokens_per_batch: padded tokens of a batch; default: one window at a time on CPU (which
            is faster there), 16,384 on an accelerator.
        on_progress: called with the number of tokens done.
    """
    results: list[WindowLoss | None] = [None] * len(items)
    budget = max_tokens_per_batch or (0 if str(model.cfg.device) == "cpu" else 16_384)
    for batch in batches([len(w.tokens) for w in items], budget):
        chosen = [items[i] for i in batch]
        for i, loss in zip(batch, _score_batch(model, chosen, head_sets, mode, means), strict=True):
            results[i] = loss
        on_progress(sum(len(w.tokens) for w in chosen))
    return [r for r in results if r is not None]


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in batches of similar length whose padded size is at most ``budget`` tokens."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    found: list[list[int]] = []
    for i in order:
        # Longest first: the batch's first item sets its padded width.
        if found and lengths[found[-1][0]] * (len(found[-1]) + 1) <= budget:
            found[-1].append(i)
        else:
            found.append([i])
    return found


def _score_batch(
    model: TransformerBridge,
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    mode: Mode,
    means: MeanZ | None,
) -> list[WindowLoss]:
    tokens = pad_right([w.tokens for w in items]).to(model.cfg.device)
    base = _losses(model, tokens, items, entropy=True)
    others = []
    for heads in head_sets:
        with ablated(model, heads, mode, means=means):
            others.append([nll for nll, _ in _losses(model, tokens, items, entropy=False)])
    found = []
    for row, (nll, entropy) in enumerate(base):
        stacked = [other[row] for other in others]
        shape = (0, len(nll))
        found.append(WindowLoss(nll, entropy, np.stack(stacked) if stacked else np.zeros(shape)))
    return found


def pad_right(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """[B, T] ids, padded on the right with 0.

    Under a causal mask no real token sees what stands after it, so the padding needs no mask.
    """
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *([0] * (width - len(row)))] for row in rows])


def _losses(
    model: TransformerBridge, tokens: torch.Tensor, items: Sequence[Window], *, entropy: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    with torch.inference_mode():
        logits = model(tokens)
        found = []
        for row, item in enumerate(items):
            stop = len(item.tokens)
            target = tokens[row, item.first : stop]
            found.append(nll_and_entropy(logits[row, item.first - 1 : stop - 1], target, entropy))
    return found


def nll_and_entropy(
    logits: torch.Tensor, target: torch.Tensor, entropy: bool
) -> tuple[np.ndarray, np.ndarray]:
    """fp32 NLL [n] of ``target`` [n] under ``logits`` [n, V], and entropy [n] (or empty), nats."""
    losses, entropies = [], []
    for rows, wanted in zip(logits.split(CHUNK), target.split(CHUNK), strict=True):
        logp = torch.log_softmax(rows.float(), dim=-1)
        losses.append(-logp.gather(-1, wanted[:, None])[:, 0])
        if entropy:
            entropies.append(-(logp.exp() * logp).sum(dim=-1))
    joined = [torch.cat(x).cpu().numpy() if x else np.zeros(0, "f4") for x in (losses, entropies)]
    return joined[0], joined[1]
