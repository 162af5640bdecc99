"""The reference engine: one pass of the model under TransformerLens hooks for each head set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from airlens.ablation import MeanZ, Mode, ablated, mean_z, of_a_block
from airlens.errors import NumbersError
from airlens.heads import HeadSet
from airlens.model.attached import attached
from airlens.model.state import forward, not_finite, running

from .batches import batches
from .windows import Window, WindowLoss

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Rows of logits turned to fp32 log-probabilities at once: 512 rows of a 150k vocabulary are 300 MB.
CHUNK = 512


LEAST = torch.finfo(torch.float32).min


def score_windows(
    model: TransformerBridge,
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    mode: Mode | Sequence[Mode],
    *,
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[WindowLoss]:
    """NLL of every scored token by TransformerLens hooks: the reference engine.

    Args:
        model: the bridge.
        items: windows, in any order; results come back in the same order.
        head_sets: what to ablate, one after the other; S of them.
        mode: ablation mode, or one for each head set.
        means: for ``mean``.
        max_tokens_per_batch: padded tokens of a batch, which bound memory. Default: one window at a
            time on CPU (which is faster there), 16,384 tokens on an accelerator.
        on_progress: called with the number of tokens done.
    """
    modes = [mode] * len(head_sets) if isinstance(mode, str) else mode
    results: dict[int, WindowLoss] = {}
    with running(model) as state:
        budget = max_tokens_per_batch or (0 if str(model.cfg.device) == "cpu" else 16_384)
        if state.rotary or attached(model, of_a_block):
            budget = 0  # each alone: what it gives may depend on the others in its batch
        if "mean" in modes and means is None:
            means = mean_z(model)
        for batch in batches([len(w.tokens) for w in items], budget):
            some = [items[i] for i in batch]
            losses = _score_batch(model, some, head_sets, modes, means)
            for i, loss in zip(batch, losses, strict=True):
                check_finite(model, loss, i)
                results[i] = loss
            on_progress(sum(len(w.tokens) for w in some))
    return [results[i] for i in range(len(items))]


def check_finite(model: TransformerBridge, loss: WindowLoss, item: int | None = None) -> None:
    """Raise :class:`NumbersError` where a loss is NaN or infinite: NaN means "not scored" only.

    ``item`` is the index of its window among those given.
    """
    rows = np.vstack([loss.base, loss.entropy, loss.ablated])
    wrong = ~np.isfinite(rows)
    if not wrong.any():
        return
    token = int(wrong.any(axis=0).argmax())
    row = int(wrong[:, token].argmax())
    which = "" if row < 2 else " with heads ablated"
    kind = "NaN" if np.isnan(rows[row, token]) else "infinity"
    place = "" if item is None else f"text {item}, scored token {token}"
    raise NumbersError(not_finite(model, kind + which), place=place, item=item, token=token)


def _score_batch(
    model: TransformerBridge,
    items: Sequence[Window],
    head_sets: Sequence[HeadSet],
    modes: Sequence[Mode],
    means: MeanZ | None,
) -> list[WindowLoss]:
    # Under a causal mask no real token sees what stands after it: padding needs no mask.
    rows = [torch.tensor(w.tokens, device=model.cfg.device) for w in items]
    tokens = pad_sequence(rows, batch_first=True)
    base = _losses(model, tokens, items, base=True)
    others = []
    for heads, mode in zip(head_sets, modes, strict=True):
        with ablated(model, heads, mode, means=means):
            others.append([nll for nll, *_ in _losses(model, tokens, items, base=False)])
    return [
        WindowLoss(
            nll, entropy, np.array([other[i] for other in others]).reshape(-1, len(nll)), rank
        )
        for i, (nll, entropy, rank) in enumerate(base)
    ]


def _losses(
    model: TransformerBridge, tokens: torch.Tensor, items: Sequence[Window], *, base: bool
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """NLL of each window's scored tokens; entropy and rank too for the base model, else empty."""
    found = []
    logits = forward(model, tokens, check=False)  # what is scored is checked
    for row, item in enumerate(items):
        first, stop = item.first, len(item.tokens)
        target = tokens[row, first:stop].to(logits.device)
        rows = logits[row, first - 1 : stop - 1]
        parts = zip(rows.split(CHUNK), target.split(CHUNK), strict=True) if base else ()
        ranks = [rank_of(*part).cpu().numpy() for part in parts]
        rank = np.concatenate(ranks) if base else np.zeros(0, np.float32)
        found.append((*nll_and_entropy(rows, target, base), rank))
    return found


def rank_of(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """fp32 [n]: 1 plus how many of the logits [n, V] of a row are above that of its ``target``.

    >>> rank_of(torch.tensor([[3.0, 1.0, 2.0, 1.0]] * 3), torch.tensor([0, 2, 3])).tolist()
    [1.0, 2.0, 3.0]
    """
    above = logits > logits.gather(-1, target[:, None])
    return 1 + above.sum(dim=-1).float()


def kl_divergence(base: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """fp32 [n]: KL(base || other) of the distributions over V tokens, Σ p (log p - log q), nats.

    ``base`` and ``other`` are logits [n, V]. What rounding makes of 0, up to 1e-6 below it, is 0.

    >>> even, sure = torch.zeros(1, 2), torch.tensor([[0.0, -float("inf")]])
    >>> bool((kl_divergence(sure, even) - np.log(2)).abs() < 1e-6)
    True
    """
    # a token that is ruled out in both, with a logit of -inf, adds nothing
    p, q = (torch.log_softmax(x.float(), dim=-1).clamp_(min=LEAST) for x in (base, other))
    return torch.linalg.vecdot(p.exp(), p - q).clamp_(min=0)


def nll_and_entropy(
    logits: torch.Tensor, target: torch.Tensor, entropy: bool
) -> tuple[np.ndarray, np.ndarray]:
    """fp32 NLL [n] of ``target`` [n] under ``logits`` [n, V], and entropy [n] (or empty), nats.

    >>> nll, entropy = nll_and_entropy(torch.zeros(1, 4), torch.tensor([2]), True)
    >>> nll.round(3).tolist() == entropy.round(3).tolist() == [np.float32(np.log(4)).round(3)]
    True
    """
    losses, entropies = [], []
    for rows, wanted in zip(logits.split(CHUNK), target.split(CHUNK), strict=True):
        logp = torch.log_softmax(rows.float(), dim=-1)
        losses.append(-logp.gather(-1, wanted[:, None])[:, 0])
        if entropy:  # a token that is ruled out, with a logit of -inf, adds nothing
            entropies.append(-(logp.exp() * logp.clamp(min=LEAST)).sum(dim=-1))
    joined = [torch.cat(x).cpu().numpy() if x else np.zeros(0, "f4") for x in (losses, entropies)]
    return joined[0], joined[1]
