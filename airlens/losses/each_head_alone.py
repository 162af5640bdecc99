"""Losses of windows under the model, and with each of some heads ablated alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from airlens.ablation import MeanZ, Mode, mean_z
from airlens.heads import Head, HeadSet
from airlens.model.state import running

from .choice import Engine, choose_engine
from .fast.fast_losses import row_budget
from .fast.fast_model import fast_model
from .fast.packing import pack
from .fast.single_head_passes import exact_row
from .hooks import check_finite, score_windows
from .windows import Window, WindowLoss

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def each_head_alone(
    model: TransformerBridge,
    items: Sequence[Window],
    heads: Sequence[Head],
    mode: Mode,
    *,
    engine: Engine = "auto",
    means: MeanZ | None = None,
    max_tokens_per_batch: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[WindowLoss]:
    """NLL of every scored token, and with each head ablated alone: ``ablated`` is fp32 [heads, n].

    :func:`~airlens.losses.token_losses.token_losses` gives the same with each head as a set. Here
    the fast engine runs the model once for all heads, and each head from its own layer on.

    Args:
        model: the bridge.
        items: windows, in any order; results come back in the same order.
        heads: of the model.
        mode: ablation mode.
        engine: see :func:`~airlens.losses.choice.choose_engine`.
        means: for ``mean``.
        max_tokens_per_batch: tokens of a row times the heads that run side by side: bounds memory.
        on_progress: called with the number of heads done, for each row of windows anew.

    Raises:
        NumbersError: the model gave NaN or infinity; ``item`` is the index of the window.
    """
    longest = max((len(window.tokens) for window in items), default=0)
    with running(model):
        fast = choose_engine(model, engine, mode=mode, longest=longest) == "fast"
        if mode == "mean" and means is None:
            means = mean_z(model)
        if not fast:
            singles = [HeadSet((head,)) for head in heads]
            found = score_windows(model, items, singles, mode, means=means)
            on_progress(len(heads))
            return found
        results: dict[int, WindowLoss] = {}
        budget = row_budget(max_tokens_per_batch, model.cfg.device)
        for row in pack([w.tokens for w in items], widest_row(budget)):
            chosen = [items[i] for i in row.items]
            options = (mode, means, budget, on_progress)
            base, entropy, ablated = exact_row(fast_model(model), row, chosen, heads, *options)
            ends = np.cumsum([w.n_scored for w in chosen])
            for i, a, b in zip(row.items, [0, *ends[:-1]], ends, strict=True):
                results[i] = WindowLoss(base[a:b], entropy[a:b], ablated[:, a:b])
                check_finite(model, results[i], i)
    return [results[i] for i in range(len(items))]


def widest_row(budget: int) -> int:
    """Most tokens of a row of several windows: at least four heads run side by side."""
    return budget // 4
