"""Retrieval-reasoning heads (HeadKV-R2, arXiv 2410.19258): attention mass that reaches the needle.

Σ_t Σ_{j ∈ top-|N|(α_t) ∩ N} α_{t,j} / |N|, over the steps t of the answer. Softer than the copying
rule: each of the |N| most attended positions counts with its weight, whatever token it holds.
"""

from __future__ import annotations

from .attention_scores import LayerView, PerHead


def retrieval_reasoning(view: LayerView) -> PerHead:
    """HeadKV-R2 score of each head of a layer."""
    start, stop = view.probe.needle
    size = max(stop - start, 1)
    weight, position = view.pattern.topk(min(size, view.pattern.shape[-1]), dim=-1)
    inside = (position >= start) & (position < stop)
    return (weight * inside).sum(dim=(1, 2)) / size
