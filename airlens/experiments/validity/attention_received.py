"""How much attention later tokens pay to a step (the receiver idea of Thought Anchors 2506.19143).

Thought Anchors selects receiver heads by the kurtosis of their attention; here all heads count
equally (ours), so none need be selected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from airlens.losses.fast.packing import Pack, pack
from airlens.losses.windows import Window
from airlens.model.heads import heads_of
from airlens.model.state import forward, running

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

FOLLOW = 16  # ours: tokens after the step whose attention is measured
ROW = 2048  # tokens of one pass


def attention_received(
    model: TransformerBridge, windows: Sequence[Window], after: Sequence[Sequence[int]]
) -> list[float]:
    """Mean attention that the tokens after a step pay to one of its tokens.

    Args:
        model: the bridge.
        windows: each ends with the step, whose tokens are the scored ones.
        after: the tokens that follow each window; the first `FOLLOW` count.

    Returns:
        The mean of α_ij over layers, heads, tokens j of the step and tokens i after it, one value
        for each window; NaN where nothing follows.
    """
    texts = [[*w.tokens, *list(more)[:FOLLOW]] for w, more in zip(windows, after, strict=True)]
    values = np.full(len(windows), np.nan)
    for row in pack(texts, ROW if masks_suffice(model) else 0):
        totals = _row_totals(model, row, [windows[i] for i in row.items])
        values[list(row.items)] = totals / len(heads_of(model).layers)
    return [float(value) for value in values]


def masks_suffice(model: TransformerBridge) -> bool:
    """Whether a mask and position ids fully determine which positions a row sees."""
    config = model.original_model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    slides = window is not None and getattr(config, "use_sliding_window", True)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    rotary = str(getattr(model.cfg, "positional_embedding_type", "")) == "rotary"
    with running(model) as state:
        rotary = rotary and not state.rotary  # a table of the longest text in the row
    return rotary and not slides and kinds == {"full_attention"}


def _row_totals(model: TransformerBridge, row: Pack, windows: Sequence[Window]) -> np.ndarray:
    """Attention received, summed over layers, of each window of a packed row."""
    totals = np.zeros(len(windows))

    def read(pattern: torch.Tensor, hook: Any) -> None:
        mean = pattern[0].float().mean(dim=0)
        for k, (segment, window) in enumerate(zip(row.segments, windows, strict=True)):
            stop = len(window.tokens)
            later = torch.as_tensor(segment.path[stop:], device=mean.device)
            step = torch.as_tensor(segment.path[window.first : stop], device=mean.device)
            block = mean[later][:, step]
            totals[k] += float(block.mean()) if block.numel() else np.nan

    hooks = [(f"blocks.{i}.attn.hook_pattern", read) for i in heads_of(model).layers]
    with running(model), model.hooks(fwd_hooks=hooks):
        if len(row.segments) == 1:
            forward(model, _to(model, row.tokens))
        else:
            forward(
                model,
                _to(model, row.tokens),
                attention_mask=_mask(model, row),
                position_ids=_to(model, row.positions),
            )
    return totals


def _to(model: TransformerBridge, ids: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(ids, device=model.cfg.device)[None]


def _mask(model: TransformerBridge, row: Pack) -> torch.Tensor:
    """Additive mask [1, 1, N, N]: each sequence sees the rows of its own path up to itself."""
    n = len(row.tokens)
    visible = torch.zeros(n, n, dtype=torch.bool)
    for segment in row.segments:
        path = torch.as_tensor(segment.path)
        own = torch.arange(segment.shared, len(path))
        causal = torch.arange(len(path))[None, :] <= own[:, None]
        visible[path[own][:, None], path[None, :]] = causal
    dtype = next(model.original_model.parameters()).dtype
    mask = torch.zeros(n, n, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
    return mask[None, None].to(model.cfg.device)
