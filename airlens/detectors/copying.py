"""What counts as a copy (Wu et al. 2404.15574, section 2), and as an answer that is predicted."""

from __future__ import annotations

from typing import TypeAlias

import torch

from airlens.heads import HeadGrid

from .probes import Span

Predicted: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Whether each answer token is the most likely one (bool [n]), and its NLL (fp32 [n], nats)."""


def copied(
    rows: torch.Tensor, tokens: torch.Tensor, target: torch.Tensor, needle: Span
) -> torch.Tensor:
    """Where a head copies: bool [H, n], from attention rows [H, n, T] (Wu et al.'s condition).

    The position attended to most lies in the needle and holds the target token [n].

    >>> tokens = torch.tensor([7, 8, 9, 8])
    >>> rows = torch.tensor([[[0.1, 0.8, 0.1, 0.0], [0.6, 0.2, 0.2, 0.0]]])  # one head, two rows
    >>> copied(rows, tokens, torch.tensor([8, 9]), (1, 3)).tolist()
    [[True, False]]
    """
    return is_copy(rows.argmax(dim=-1), tokens, target, needle)


def is_copy(
    best: torch.Tensor, tokens: torch.Tensor, target: torch.Tensor, needle: Span
) -> torch.Tensor:
    """The rule itself: the position ``best`` lies in the needle and holds the target token."""
    return (best >= needle[0]) & (best < needle[1]) & (tokens[best] == target)


def hits_and_nll(logits: torch.Tensor, target: torch.Tensor) -> Predicted:
    """Hits [n] and NLL [n] of the answer tokens ``target`` [n] under fp32 logits [n, V]."""
    nll = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    return logits.argmax(dim=-1) == target, nll


class CopyShares:
    """Which share of the answer tokens every head copies, probe by probe.

    Attributes:
        whole: of all answer tokens, fp32 [P, L, H].
        lookup: of the first one, which nothing before it in the answer foretells; the same shape.
        continuation: of the later ones, which an induction head can copy; NaN without any.
    """

    def __init__(self, grid: HeadGrid, probes: int) -> None:
        self.whole, self.lookup, self.continuation = (grid.zeros(probes) for _ in range(3))

    def fill(self, probe: int, layer: int, hits: torch.Tensor) -> None:
        """Take what the heads of a layer copied of a probe's answer: bool [H, n]."""
        right = hits.float()
        parts = (right, self.whole), (right[:, :1], self.lookup), (right[:, 1:], self.continuation)
        for some, out in parts:
            out[probe, layer, : len(right)] = some.mean(dim=-1).cpu().numpy()
