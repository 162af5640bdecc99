"""A long row layer by layer, each layer in slices of its rows: exact, in bounded memory.

A layer works on some thousand rows at a time and keeps only its own keys and values, which the
slices after read. Beside them the hidden states of all rows are held, before and after the layer:
with B batch rows, N rows, width d and K key-value heads of D dimensions, 2·B·N·(d + K·D) numbers,
whatever a layer makes on its way (for MLPs and masks) being as small as a slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch

Forward: TypeAlias = Callable[..., Any]
KeyValue: TypeAlias = tuple[torch.Tensor, torch.Tensor]


class KeysOnly(Exception):
    """Leaves a layer whose keys and values were wanted, and nothing else of it."""


class Slice:
    """The rows that a layer computes now, and its keys and values of the rows before them.

    Attributes:
        rows: of the whole pack.
        first: the first row of the slice.
        keys_only: whether no more than keys and values of the slice is wanted of the layer.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.first = 0
        self.keys_only = False
        self._kept: KeyValue | None = None
        self._queries: torch.Tensor | None = None

    def begin(self) -> None:
        """A layer begins: what the one before has kept is let go."""
        self.first, self._kept, self._queries = 0, None, None

    def extended(
        self, key: torch.Tensor, value: torch.Tensor, before: KeyValue | None = None
    ) -> KeyValue:
        """Keys and values of all rows up to the end of the slice, [B, K, …, D].

        Args:
            key: of the slice, [B, K, n, D].
            value: of the slice.
            before: of rows that precede the pack's own.
        """
        past = 0 if before is None else before[0].shape[2]
        if self._kept is None:
            made = [x.new_empty(*x.shape[:2], past + self.rows, x.shape[3]) for x in (key, value)]
            self._kept = (made[0], made[1])
            if before is not None:
                for kept, old in zip(self._kept, before, strict=True):
                    kept[:, :, :past] = old
        start, stop = past + self.first, past + self.first + key.shape[2]
        for kept, new in zip(self._kept, (key, value), strict=True):
            kept[:, :, start:stop] = new
        return self._kept[0][:, :, :stop], self._kept[1][:, :, :stop]

    def whole(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """Queries of the first batch row, keys and values, of all rows; None before the last slice.

        Args:
            query: of the slice, [B, H, n, D].
            key: of all rows up to the end of the slice, [B, K, …, D], from :meth:`extended`.
            value: the same.
        """
        if self._queries is None:
            shape = (1, query.shape[1], self.rows, query.shape[3])
            self._queries = query.new_empty(shape)
        stop = self.first + query.shape[2]
        self._queries[:, :, self.first : stop] = query[:1]
        if stop < self.rows:
            return None
        own = slice(key.shape[2] - self.rows, None)
        return self._queries, key[:, :, own], value[:, :, own]


class Told:
    """Tells the tokens of a pass that are done, none of them twice.

    Args:
        tokens: of the pass.
        on_progress: called with the number of tokens done since it was called last.
    """

    def __init__(self, tokens: int, on_progress: Callable[[int], None]) -> None:
        self.tokens, self.on_progress = tokens, on_progress
        self.told = 0

    def up_to(self, share: float) -> None:
        """This share of the pass is done, from 0 to 1."""
        new = int(self.tokens * share) - self.told
        if new > 0:
            self.told += new
            self.on_progress(new)


@contextmanager
def in_slices(
    layers: Sequence[torch.nn.Module],
    norms: Sequence[torch.nn.Module],
    part: Slice,
    size: int,
    on_share: Callable[[float], None] | None = None,
    unread: int = 0,
) -> Iterator[None]:
    """Inside, each layer runs ``size`` rows at a time; ``part`` says which.

    Args:
        layers: decoder layers, whose attention reads ``part``.
        norms: modules that treat each row by itself.
        part: of the pack that runs.
        size: rows at a time.
        on_share: called with the share of the pass that is done, the logits as one layer more.
        unread: rows of the pack, the first ones and not all, that the last layer gives keys and
            values of only.
    """
    kept = [module.forward for module in (*layers, *norms)]
    for i, module in enumerate(layers):

        def told(done: float, i: int = i) -> None:
            if on_share is not None:
                on_share((i + done) / (len(layers) + 1))

        last = i == len(layers) - 1
        module.forward = _sliced(module.forward, part, size, told, unread if last else 0)
    for module in norms:
        module.forward = _sliced(module.forward, part, size)
    try:
        yield
    finally:
        part.begin()
        for module, forward in zip((*layers, *norms), kept, strict=True):
            module.forward = forward


def _sliced(
    forward: Forward,
    part: Slice,
    size: int,
    told: Callable[[float], None] | None = None,
    unread: int = 0,
) -> Forward:
    """The forward of a layer, which tells the share of its rows that is done, or of a norm.

    What comes out of a slice of the first ``unread`` rows alone is 0; there are more rows.
    """

    def run(hidden: torch.Tensor, *args: Any, **options: Any) -> Any:
        if told is not None:
            part.begin()
        out: torch.Tensor | None = None
        found: Any = None
        for first in range(0, part.rows, size):
            part.first = first
            rows = slice(first, min(first + size, part.rows))
            given = [cut(x, rows, part.rows) for x in args]
            named = {name: cut(x, rows, part.rows) for name, x in options.items()}
            part.keys_only = rows.stop <= unread
            try:
                found = forward(hidden[:, rows], *given, **named)
            except KeysOnly:
                pass
            else:
                state = found[0] if isinstance(found, tuple) else found
                if out is None:
                    out = state.new_empty(state.shape[0], part.rows, *state.shape[2:])
                    out[:, :first] = 0
                out[:, rows] = state
            if told is not None:
                told(rows.stop / part.rows)
        return (out,) if isinstance(found, tuple) else out

    return run


def cut(value: Any, rows: slice, n: int) -> Any:
    """The part of an argument of a layer that belongs to some of its ``n`` rows.

    Tensors with an axis of that length (the second, where there are several) are cut there, also
    within tuples and dictionaries; all else belongs to every row.
    """
    if isinstance(value, torch.Tensor):
        axes = [axis for axis, length in enumerate(value.shape) if length == n]
        if not axes:
            return value
        axis = 1 if 1 in axes else axes[0]
        return value[(slice(None),) * axis + (rows,)]
    if isinstance(value, tuple | list):
        return type(value)(cut(x, rows, n) for x in value)
    if isinstance(value, Mapping):
        return {name: cut(x, rows, n) for name, x in value.items()}
    return value
