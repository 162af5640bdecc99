"""Losses when heads may not attend to a span of positions: the reference, on hooks.

To knock a span out, the heads' scores at its positions become -inf in every row after it, or in
every row from a later one on, so that the softmax shares their weight among what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from airlens.ablation import attention_of
from airlens.errors import AblationError
from airlens.heads import HeadSet
from airlens.model.state import forward

from .hooks import nll_and_entropy
from .windows import Window

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Span = tuple[int, int]


def as_row(model: TransformerBridge, window: Window) -> torch.Tensor:
    """The tokens of a window, [1, T]."""
    return torch.tensor([window.tokens], device=model.cfg.device)


def knocked_out(
    model: TransformerBridge,
    window: Window,
    spans: Sequence[Span],
    head_sets: Sequence[HeadSet],
    *,
    after: int | None = None,
    max_tokens_per_batch: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> tuple[np.ndarray, np.ndarray]:
    """NLL of the scored tokens when heads may not attend to a span of positions.

    Args:
        model: the bridge.
        window: m scored tokens.
        spans: (first, stop) positions in the window; rows from ``stop`` on may not attend to them.
        head_sets: the heads that may not attend to the spans.
        after: only rows from this position on may not attend to them, the others may.
        max_tokens_per_batch: unused; one pass at a time.
        on_progress: called with the number of tokens done.

    Returns:
        base NLL fp32 [m], and NLL fp32 [sets, spans, m]; nats.

    Raises:
        AblationError: the scores of this kind of attention cannot be changed by a hook.
    """
    tokens = as_row(model, window)
    target = tokens[0, window.first :]

    def losses() -> np.ndarray:
        logits = forward(model, tokens, check=False)[0, window.first - 1 : -1]
        return nll_and_entropy(logits, target.to(logits.device), False)[0]

    base = losses()
    found = np.zeros((len(head_sets), len(spans), len(base)), np.float32)
    for i, heads in enumerate(head_sets):
        for j, span in enumerate(spans):
            if span[0] == span[1]:
                found[i, j] = base
                continue
            edit = partial(_block, span=span, after=after or span[1])
            hooks = [
                (score_hook(model, layer), partial(edit, indices=indices))
                for layer, indices in heads.by_layer().items()
            ]
            with model.hooks(fwd_hooks=hooks):
                found[i, j] = losses()
            on_progress(len(window.tokens))
    return base, found


def score_hook(model: TransformerBridge, layer: int) -> str:
    """The hook point on the scores [B, H, T, T] of a layer, after the mask.

    Raises:
        AblationError: a change at this point would not reach the softmax.
    """
    from transformer_lens.model_bridge.generalized_components import AttentionBridge

    if type(attention_of(model, layer)) is AttentionBridge:
        raise AblationError(
            f"TransformerLens runs layer {layer} of this model whole, so its scores cannot be "
            "changed by a hook: use engine='auto' or 'fast'"
        )
    return f"blocks.{layer}.attn.hook_attn_scores"


def _block(
    scores: torch.Tensor, hook: Any, *, indices: list[int], span: Span, after: int
) -> torch.Tensor:
    first, stop = span
    scores = scores.clone()
    for head in indices:
        scores[:, head, after:, first:stop] = torch.finfo(scores.dtype).min
    return scores
