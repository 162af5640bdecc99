"""Attention over packed rows, one sequence at a time.

transformers masks what lies between the sequences of a packed row, but its SDPA on a CPU computes
it all the same: with eight sequences in a row seven eighths of the attention are thrown away. Here
the same function is called once for each sequence, without a mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from .packing_check import text_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "airlens_packed_rows"
TRIAL = (4, 5)  # tokens of the two sequences that are compared


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    position_ids: torch.Tensor,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """The SDPA of transformers on each sequence of a row: z [1, N, H, D], and no weights.

    Args:
        module: the attention module.
        query: [1, H, N, D].
        key: [1, K, N, D].
        value: [1, K, N, D].
        attention_mask: unused; a sequence begins where the position is 0.
        position_ids: [1, N].
        options: of transformers' attention functions.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    starts = (position_ids[0] == 0).nonzero()[:, 0].tolist()
    parts = []
    for start, stop in zip(starts, [*starts[1:], query.shape[2]], strict=True):
        q, k, v = (x[:, :, start:stop] for x in (query, key, value))
        parts.append(sdpa_attention_forward(module, q, k, v, None, **options)[0])
    return torch.cat(parts, dim=1), None


@contextmanager
def each_sequence_alone(model: PreTrainedModel) -> Iterator[bool]:
    """Inside the block the model must be called with packed rows only, and attends as above.

    Yields whether it does: only on a CPU, where the model uses SDPA without a sliding window, and
    gives the same logits on a short row. Otherwise nothing is changed.
    """
    from transformers import AttentionInterface

    before = str(model.config._attn_implementation)
    kinds = (
        getattr(text_config(model), n, None) for n in ("sliding_window", "attention_chunk_size")
    )
    windowed = any(kind is not None for kind in kinds)
    if model.device.type != "cpu" or before != "sdpa" or windowed:
        yield False
        return
    AttentionInterface.register(NAME, attend)
    expected = _trial(model)
    try:
        model.set_attn_implementation(NAME)
        same = torch.allclose(_trial(model), expected, rtol=1e-3, atol=1e-3)
    except (TypeError, ValueError, RuntimeError, IndexError):
        same = False  # this architecture calls its attention with something else
    if not same:
        model.set_attn_implementation(before)
    try:
        yield same
    finally:
        model.set_attn_implementation(before)


def _trial(model: PreTrainedModel) -> torch.Tensor:
    """Logits of two sequences in a row."""
    training = model.training
    positions = torch.cat([torch.arange(n) for n in TRIAL])[None]
    tokens = torch.arange(1, positions.numel() + 1)[None] % text_config(model).vocab_size
    model.eval()
    try:
        with torch.no_grad():
            found = model(input_ids=tokens, position_ids=positions, use_cache=False).logits
    finally:
        model.train(training)
    return torch.as_tensor(found).float()
