"""Several sequences in one row without padding, a common beginning stored once.

Sequences are sorted, so that those with the same beginning are neighbours: the second one's rows
start where it first differs from the first. Under a causal mask the shared rows are the same for
both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Branches:
    """Several short texts that go on from places along the same rows; n own rows in all.

    The path of their segment is the shared rows in order, then r rows of the texts: those of
    earlier passes, if any, and the n own ones.

    Attributes:
        seen: int [n], how many of the shared rows each own row sees.
        own: bool [n, r], which rows of the texts each own row sees.
        place: int [r], position of each of them in its text; that of a shared row is its index.
    """

    seen: np.ndarray
    own: np.ndarray
    place: np.ndarray


@dataclass(frozen=True)
class Segment:
    """One sequence in a packed row, or many that branch off from one.

    Attributes:
        start: first row of its own; rows shared with an earlier sequence lie elsewhere.
        stop: end of its own rows.
        path: [n] rows of all of its tokens, in order; the own rows are the last of them.
        branches: what each own row sees; None: all that come before it in the path.
    """

    start: int
    stop: int
    path: np.ndarray
    branches: Branches | None = None

    @property
    def shared(self) -> int:
        """Number of tokens whose rows belong to an earlier sequence."""
        return len(self.path) - (self.stop - self.start)


@dataclass(frozen=True)
class RowPath:
    """The rows of a segment on a device.

    Attributes:
        rows: int64 [n].
        leading: how many of them, to begin with, are those of the same index: they are copied as
            they lie, several times as fast as one by one.
    """

    rows: torch.Tensor
    leading: int

    @staticmethod
    def along(path: np.ndarray, device: torch.device) -> RowPath:
        """The path of a segment, [n]."""
        elsewhere = np.flatnonzero(path != np.arange(len(path)))
        return RowPath(to_device(path, device), int(elsewhere[0]) if len(elsewhere) else len(path))

    def until(self, n: int) -> RowPath:
        """The first ``n`` rows of it."""
        return RowPath(self.rows[:n], min(n, self.leading))

    def of(self, x: torch.Tensor) -> torch.Tensor:
        """Keys or values [B, K, n, D] along it, of those of all rows; a view where it may be."""
        first, rest = x[:, :, : self.leading], self.rows[self.leading :]
        return torch.cat([first, x.index_select(2, rest)], dim=2) if len(rest) else first


@dataclass(frozen=True)
class Pack:
    """Sequences in one row of N tokens.

    Attributes:
        items: indices of the sequences, in the order of ``segments``.
        segments: the rows of each sequence.
        tokens: int64 [N].
        positions: int64 [N], position of each token in its sequence.
    """

    items: tuple[int, ...]
    segments: tuple[Segment, ...]
    tokens: np.ndarray
    positions: np.ndarray


def pack(sequences: Sequence[Sequence[int]], budget: int, *, share: bool = True) -> list[Pack]:
    """Pack sequences into rows of at most ``budget`` tokens; a longer sequence has a row alone.

    Args:
        sequences: token ids.
        budget: tokens of a row; 0 gives each sequence a row of its own.
        share: store common beginnings once.
    """
    order = sorted(range(len(sequences)), key=lambda i: (list(sequences[i]), i))
    packs: list[Pack] = []
    row = _Row()
    for i in order:
        if row.items and row.cost(sequences[i], share) > budget:
            packs.append(row.close())
            row = _Row()
        row.add(i, sequences[i], share)
    return [*packs, row.close()] if row.items else packs


class _Row:
    """A pack that is being filled."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self.segments: list[Segment] = []
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.last: Sequence[int] = ()

    def cost(self, sequence: Sequence[int], share: bool) -> int:
        """Length of the row with ``sequence`` added."""
        shared = common_prefix(self.last, sequence) if share else 0
        return len(self.tokens) + len(sequence) - shared

    def add(self, index: int, sequence: Sequence[int], share: bool) -> None:
        shared = common_prefix(self.last, sequence) if share else 0
        start = len(self.tokens)
        stop = start + len(sequence) - shared
        before = self.segments[-1].path[:shared] if shared else np.zeros(0, np.int64)
        self.segments.append(Segment(start, stop, np.concatenate([before, np.arange(start, stop)])))
        self.items.append(index)
        self.tokens += sequence[shared:]
        self.positions += range(shared, len(sequence))
        self.last = sequence

    def close(self) -> Pack:
        tokens, positions = (np.asarray(x, np.int64) for x in (self.tokens, self.positions))
        return Pack(tuple(self.items), tuple(self.segments), tokens, positions)


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of tokens that two sequences begin with in common."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(np.asarray(a[:n]) != np.asarray(b[:n]))
    return int(differ[0]) if len(differ) else n


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """A tensor on ``device``, by a pinned, asynchronous copy where that is CUDA."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in host memory; from CUDA by an asynchronous copy, to be waited for."""
    if tensor.device.type != "cuda":
        return tensor.cpu()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def seen_from(
    segment: Segment,
    at: range,
    window: int | None,
    dtype: torch.dtype,
    device: torch.device,
    spans: np.ndarray | None = None,
) -> torch.Tensor:
    """Which keys some own rows of a segment see: those shared, then those of the texts so far.

    Args:
        segment: with branches.
        at: which of its own rows; no key comes after the last of them.
        window: how many positions a row sees, itself included.
        dtype: bool for a mask that says so, else one to be added to scores, 0 or -inf.
        device: of the mask.
        spans: shared rows that each own row of the segment does not see besides, int [n, 2].

    Returns:
        [len(at), m].
    """
    branches = segment.branches
    assert branches is not None
    texts = len(branches.place) - len(branches.seen) + at.stop
    seen, place = (to_device(x, device) for x in (branches.seen[at], branches.place[:texts]))
    mine = to_device(branches.own[at, :texts], device)
    column = torch.arange(len(segment.path) - len(branches.place), device=device)
    sees = column[None] < seen[:, None]
    if spans is not None:
        first, stop = to_device(spans[at], device).T[:, :, None]
        sees &= (column < first) | (column >= stop)
    if window is not None:
        least = place[-len(at) :, None] - window
        sees, mine = sees & (column[None] > least), mine & (place[None] > least)
    mask = torch.cat([sees, mine], dim=1)
    if dtype == torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, float("-inf"))
