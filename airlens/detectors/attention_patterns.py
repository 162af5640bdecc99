"""The attention of every head over one text, read in one pass; small, to be seen all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from airlens.errors import ConfigError
from airlens.model.heads import heads_of, need_all_read
from airlens.model.state import forward, running

if TYPE_CHECKING:
    from jaxtyping import Float
    from transformer_lens.model_bridge import TransformerBridge

SIZE = 32  # blocks of a small pattern: what still shows a diagonal and a column beside it


def read_patterns(
    model: TransformerBridge, tokens: Sequence[int], read: Callable[[int, torch.Tensor], None]
) -> None:
    """Run a text once; ``read(layer, pattern)`` is given the attention [H, T, T] of each layer.

    Row t of a pattern is that of the token t, which predicts t + 1; a row sums to one.

    Raises:
        AblationError: the attention of a layer cannot be read.
    """
    seen: set[int] = set()

    def take(value: torch.Tensor, hook: Any, layer: int) -> None:
        read(layer, value[0])
        seen.add(layer)

    layers = heads_of(model).layers
    names = [(f"blocks.{i}.attn.hook_pattern", partial(take, layer=i)) for i in layers]
    rows = torch.tensor([list(tokens)], device=model.cfg.device)
    with running(model), model.hooks(fwd_hooks=names):
        forward(model, rows)
    need_all_read(model, seen)


@dataclass(frozen=True)
class SmallPatterns:
    """The attention of all heads over a text of T tokens, cut into S blocks of tokens.

    Attributes:
        edges: int [S + 1], the first token of each block, and T.
        shares: fp32 [L, H, S, S], the share of the attention of block i's tokens that goes to block
            j, their mean: rows sum to one. NaN where a layer has no such head.
        first: fp32 [L, H], the mean share that goes to the first token; as the next two, over the
            tokens from the second on.
        itself: the mean share that a token gives to itself.
        before: the mean share that goes to the token before.
    """

    edges: np.ndarray
    shares: Float[np.ndarray, "L H S S"]
    first: Float[np.ndarray, "L H"]
    itself: Float[np.ndarray, "L H"]
    before: Float[np.ndarray, "L H"]


def small_patterns(
    model: TransformerBridge, tokens: Sequence[int], size: int = SIZE
) -> SmallPatterns:
    """Run a text once and return the attention of every head in ``size`` x ``size`` blocks.

    Memory: L * H * size² numbers, and one layer's pattern at a time, H * T² numbers.

    Args:
        model: the bridge.
        tokens: T of them, at least two.
        size: blocks of tokens, as equal as they can be; one a token where there are fewer.

    Raises:
        ConfigError: fewer than two tokens.
    """
    count = len(tokens)
    if count < 2:
        raise ConfigError(f"a pattern needs two tokens or more, and this text has {count}")
    blocks = min(size, count)
    edges = np.rint(np.linspace(0, count, blocks + 1)).astype(np.int64)
    lengths = torch.from_numpy(np.diff(edges))
    member = torch.repeat_interleave(torch.eye(blocks), lengths, dim=0)  # [T, S], 1 in its block
    mean = (member / lengths).T
    grid = heads_of(model)
    shares = np.full((*grid.shape, blocks, blocks), np.nan, dtype=np.float32)
    first, itself, before = (np.full(grid.shape, np.nan, dtype=np.float32) for _ in range(3))

    def read(layer: int, pattern: torch.Tensor) -> None:
        rows = pattern.float()
        mine = slice(0, len(rows))
        small = mean.to(rows.device) @ rows @ member.to(rows.device)
        shares[layer, mine] = small.cpu().numpy()
        for found, values in (
            (first, rows[:, 1:, 0]),
            (itself, rows.diagonal(dim1=1, dim2=2)[:, 1:]),
            (before, rows.diagonal(offset=-1, dim1=1, dim2=2)),
        ):
            found[layer, mine] = values.mean(dim=1).cpu().numpy()

    read_patterns(model, tokens, read)
    return SmallPatterns(edges, shares, first, itself, before)
