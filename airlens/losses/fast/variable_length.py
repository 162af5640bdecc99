"""Packed attention in one kernel: PyTorch's variable-length attention in place of a loop.

It runs on GPUs of compute capability 8.0 on, in fp16 and bf16. Elsewhere, and where rows see
something else than all that come before them, :mod:`.packed_attention` goes from sequence to
sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .packing import Segment, to_device

WIDEST = 256  # head dimension of the kernel
LEAST_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class Lengths:
    """Where the sequences of a pack begin, for a number of batch rows.

    Attributes:
        queries: int32 [S + 1], first own row of each of S sequences, batch rows one after another,
            and the end.
        keys: int32 [S + 1], the same among the rows of their paths.
        most_queries: own rows of the longest.
        most_keys: length of the longest path.
        paths: int64, the rows of all paths of one batch row; None where they are all rows in order.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    most_queries: int
    most_keys: int
    paths: torch.Tensor | None

    @staticmethod
    def of(segments: Sequence[Segment], batch: int, device: torch.device) -> Lengths:
        """Of the segments of a pack, whose own rows follow each other."""
        own = np.array([s.stop - s.start for s in segments], np.int32)
        seen = np.array([len(s.path) for s in segments], np.int32)
        paths = np.concatenate([s.path for s in segments])
        alone = len(paths) == own.sum() and (paths == np.arange(len(paths))).all()
        ends = [
            to_device(np.concatenate([[0], np.cumsum(np.tile(n, batch))]).astype(np.int32), device)
            for n in (own, seen)
        ]
        rows = None if alone else to_device(paths, device)
        return Lengths(ends[0], ends[1], int(own.max()), int(seen.max()), rows)


def runs(query: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether the kernel takes such tensors."""
    return (
        query.device.type == "cuda"
        and query.dtype in (torch.float16, torch.bfloat16)
        and max(query.shape[-1], value.shape[-1]) <= WIDEST
        and query.shape[-1] == value.shape[-1]
        and torch.cuda.get_device_capability(query.device) >= LEAST_CAPABILITY
    )


def attend_all(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: Lengths,
    scaling: float,
    window: int | None,
) -> torch.Tensor:
    """Output z [B, N, H, D] of a whole pack; query [B, H, N, D], key and value [B, K, M, D]."""
    from torch.nn.attention.varlen import varlen_attn  # brings torch's compiler, seconds of import

    batch, heads, n, size = query.shape
    if lengths.paths is not None:
        key, value = (x.index_select(2, lengths.paths) for x in (key, value))
    flat = [x.transpose(1, 2).reshape(-1, x.shape[1], size) for x in (query, key, value)]
    z = varlen_attn(
        *flat,
        lengths.queries,
        lengths.keys,
        lengths.most_queries,
        lengths.most_keys,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=True,
    )
    assert isinstance(z, torch.Tensor)  # no auxiliary output was asked for
    return z.reshape(batch, n, heads, size)
