"""Models whose rotary table follows the longest sequence of a batch ("longrope", "dynamic").

A short sequence beside a long one would be computed with the table of the long one. Such sequences
are not put together, in training or in evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airlens.model_state import moving_rotary, settle


def may_share(model: Any, lengths: Sequence[int]) -> bool:
    """Whether sequences of these lengths may be in one batch: no table depends on the longest."""
    limit = table_limit(model)
    return limit is None or max(lengths, default=0) <= limit or len(set(lengths)) == 1


def table_limit(model: Any) -> int | None:
    """Tokens up to which every sequence has the same table; None: any number."""
    limits = [limit for module in _moving(model) for limit in _limits(module)]
    return min(limits, default=None)


def settle_tables(model: Any) -> None:
    """Put tables that a long sequence has left grown back to where they start."""
    for module in _moving(model):
        settle(module)


def _moving(model: Any) -> list[Any]:
    return [module for module in model.modules() if moving_rotary(module)]


def _limits(module: Any) -> list[int]:
    rope = getattr(module.config, "rope_parameters", None) or {}
    nested = [part for part in rope.values() if isinstance(part, dict)]
    own = [part.get("original_max_position_embeddings") for part in [rope, *nested]]
    own.append(module.__dict__.get("original_max_seq_len"))
    # Of a layout that is not known: no two lengths together.
    return [int(limit) for limit in own if limit] or [0]
