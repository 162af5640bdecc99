"""Keys and values that one pass leaves for those that continue from it."""

from __future__ import annotations

import torch

from .slices import KeyValue


class Past:
    """Keys and values [1, K, M, D] of M rows, in each layer, with room for more behind them.

    Passes that continue write their own rows into the room, where a copy of all rows in each layer
    would take longer than the layer. These rows stay only after :meth:`grow`; else the next pass
    writes over them.

    Args:
        room: rows that may follow; without it each pass makes a copy.
    """

    def __init__(self, room: int = 0) -> None:
        self.rows = 0
        self._room = room
        self._kept: dict[int, KeyValue] = {}

    def keep(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Those of a layer, [1, K, M, D]; with room they are copied."""
        self.rows = key.shape[2]
        self._kept[layer] = (self._with_room(key), self._with_room(value))

    def share(self, layer: int, other: Past) -> None:
        """Those of a layer of another one: either may grow, once the other is no longer read."""
        self.rows = other.rows
        self._kept[layer] = other._kept[layer]

    def of(self, layer: int) -> KeyValue | None:
        """Those of a layer, or None."""
        if layer not in self._kept:
            return None
        key, value = self._kept[layer]
        return key[:, :, : self.rows], value[:, :, : self.rows]

    def joined(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> KeyValue:
        """Those of a layer with rows [1, K, n, D] that follow."""
        kept = self._kept[layer]
        stop = self.rows + key.shape[2]
        if stop > kept[0].shape[2]:
            before = [x[:, :, : self.rows] for x in kept]
            return torch.cat([before[0], key], 2), torch.cat([before[1], value], 2)
        for old, new in zip(kept, (key, value), strict=True):
            old[:, :, self.rows : stop] = new
        return kept[0][:, :, :stop], kept[1][:, :, :stop]

    def grow(self, rows: int) -> None:
        """The rows that were joined last stay; `ValueError` where there was no room for them."""
        if any(self.rows + rows > key.shape[2] for key, _ in self._kept.values()):
            raise ValueError(f"no room for {rows} rows more")
        self.rows += rows

    def cut(self, rows: int) -> None:
        """Only the first rows stay."""
        self.rows = rows

    def _with_room(self, x: torch.Tensor) -> torch.Tensor:
        if not self._room:
            return x
        made = x.new_empty(*x.shape[:2], self.rows + self._room, x.shape[3])
        made[:, :, : self.rows] = x
        return made
