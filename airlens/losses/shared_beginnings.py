"""Losses of many windows that begin alike: the common beginning runs only once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airlens.ablation import MeanZ, Mode
from airlens.heads import HeadSet
from airlens.losses.token_losses import token_losses
from airlens.losses.windows import Window, WindowLoss

from .choice import Engine, choose_engine

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Tokens of a packed row times its head sets: alternatives share their common beginning only within
# a row, which saves more than the larger temporaries cost.
BATCH_TOKENS = 16_384


def score_all(
    model: TransformerBridge,
    windows: Sequence[Window],
    head_sets: Sequence[HeadSet],
    modes: Mode | Sequence[Mode],
    *,
    means: MeanZ | None = None,
    engine: Engine = "auto",
) -> list[WindowLoss]:
    """Losses of the windows under each head set; a common beginning of windows runs only once.

    Args:
        model: the bridge.
        windows: in any order.
        head_sets: what to ablate.
        modes: one mode for all, or one for each head set: the base pass is then shared too.
        means: for ``mean``.
        engine: see :mod:`airlens.losses.fast`.
    """
    longest = max((len(window.tokens) for window in windows), default=0)
    chosen = choose_engine(model, engine, mode=modes, longest=longest)
    budget = BATCH_TOKENS if chosen == "fast" else None
    return token_losses(
        model,
        windows,
        head_sets,
        modes,
        means=means,
        engine=chosen,
        max_tokens_per_batch=budget,
    )
