"""Losses when heads may not attend to a span of positions: the reference, on hooks.

To knock a span out, the heads' scores at its positions become -inf in every row after it, or in
every row from another one on, so that the softmax shares their weight among what is left. A row for
which nothing is left, as it can be inside the span, sees itself (ours).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from airlens.ablation import attention_of
from airlens.errors import AblationError
from airlens.heads import HeadSet
from airlens.model.state import forward

from .hooks import CHUNK, kl_divergence, nll_and_entropy
from .windows import Window

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Span = tuple[int, int]


@dataclass(frozen=True)
class KnockedOut:
    """Losses of m scored tokens when sets of heads may not attend to spans of positions; nats.

    Attributes:
        base: NLL of the whole model, fp32 [m].
        nll: NLL under each knockout, fp32 [sets, spans, m].
        kl: KL divergence of the distribution that predicts a token, the whole model's from that
            under the knockout, KL(base || knocked out), fp32 [sets, spans, m]; None unless asked.
    """

    base: np.ndarray
    nll: np.ndarray
    kl: np.ndarray | None = None

    @classmethod
    def nothing(cls, base: np.ndarray, sets: int, spans: int, kl: bool) -> KnockedOut:
        """The same losses for every knockout, to be filled in."""
        shape = (sets, spans, len(base))
        nll = np.broadcast_to(base, shape).copy()
        return cls(base, nll, np.zeros(shape, np.float32) if kl else None)


def first_row(span: Span, inside: bool) -> int:
    """The first row that may not attend to a span: the one after it, or its own first."""
    return span[0] if inside else span[1]


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
    inside: bool = False,
    kl: bool = False,
    max_tokens_per_batch: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> KnockedOut:
    """NLL of the scored tokens when heads may not attend to a span of positions.

    Args:
        model: the bridge.
        window: m scored tokens.
        spans: (first, stop) positions in the window; rows from ``stop`` on may not attend to them.
        head_sets: the heads that may not attend to the spans.
        after: only rows from this position on may not attend to them, the others may.
        inside: rows inside a span may not attend to it either.
        kl: measure the KL divergence too, on logits of the base pass that are kept for it.
        max_tokens_per_batch: unused; one pass at a time.
        on_progress: called with the number of tokens done.

    Raises:
        AblationError: the scores of this kind of attention cannot be changed by a hook.
    """
    tokens = as_row(model, window)
    target = tokens[0, window.first :]

    def logits() -> torch.Tensor:
        return forward(model, tokens, check=False)[0, window.first - 1 : -1]

    def losses(rows: torch.Tensor) -> np.ndarray:
        return nll_and_entropy(rows, target.to(rows.device), False)[0]

    whole = logits()
    base = losses(whole)
    kept = whole.clone() if kl else None  # of the scored rows alone, where they are read again
    del whole
    found = KnockedOut.nothing(base, len(head_sets), len(spans), kl)
    for i, heads in enumerate(head_sets):
        for j, span in enumerate(spans):
            if span[0] == span[1]:
                continue
            edit = partial(_block, span=span, start=after or first_row(span, inside))
            hooks = [
                (score_hook(model, layer), partial(edit, indices=indices))
                for layer, indices in heads.by_layer().items()
            ]
            with model.hooks(fwd_hooks=hooks):
                rows = logits()
            found.nll[i, j] = losses(rows)
            if found.kl is not None and kept is not None:
                parts = zip(kept.split(CHUNK), rows.split(CHUNK), strict=True)
                found.kl[i, j] = torch.cat([kl_divergence(*part) for part in parts]).cpu().numpy()
            on_progress(len(window.tokens))
    return found


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
    scores: torch.Tensor, hook: Any, *, indices: list[int], span: Span, start: int
) -> torch.Tensor:
    first, stop = span
    given, scores = scores, scores.clone()
    least = torch.finfo(scores.dtype).min
    for head in indices:
        scores[:, head, start:, first:stop] = least
        # rows for which nothing is left that the mask leaves
        blind = start + torch.nonzero(scores[0, head, start:stop].amax(dim=-1) < least / 2)[:, 0]
        scores[:, head, blind, blind] = given[:, head, blind, blind]
    return scores
