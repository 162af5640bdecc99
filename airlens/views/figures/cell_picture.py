"""Maps of cells and small patterns as a PNG: a picture that is shown where no script is, too."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .coloured_text import COOL, WARM

CELL = 12  # pixels
EMPTY = (141, 148, 156)
EDGE = (48, 54, 60, 255)


def cell_picture(
    values: NDArray[np.float64],
    *,
    bound: float,
    signed: bool = False,
    marked: Iterable[int] = (),
    upward: bool = True,
) -> tuple[bytes, int, int]:
    """Cells [R, C] as a PNG on a transparent ground, with its width and height in pixels.

    Args:
        values: NaN is left empty.
        bound: the value at which the colour is full.
        signed: values above zero have a colour of their own.
        marked: cells to outline, as ``row * C + column``.
        upward: the first row is the lowest.
    """
    rows, columns = values.shape
    cells = np.zeros((rows, columns, 4), dtype=np.uint8)
    known = np.nan_to_num(values)
    cells[..., :3] = np.array(COOL.split(","), dtype=int)
    if signed:
        cells[known > 0, :3] = np.array(WARM.split(","), dtype=int)
    share = np.clip(np.abs(known) / (bound or 1.0), 0.0, 1.0)
    cells[..., 3] = np.where(np.isnan(values), 0, 20 + 235 * share)
    cells[share == 0, :3] = EMPTY
    outlined = np.zeros(rows * columns, dtype=bool)
    outlined[list(marked)] = True
    order = slice(None, None, -1 if upward else 1)
    cells, outlined = cells[order], outlined.reshape(rows, columns)[order]
    big = cells.repeat(CELL, axis=0).repeat(CELL, axis=1)
    big[::CELL] = big[:, ::CELL] = 0  # a gap between cells
    y, x = np.mgrid[: rows * CELL, : columns * CELL] % CELL
    edge = ((y == 1) | (y == CELL - 1) | (x == 1) | (x == CELL - 1)) & (y > 0) & (x > 0)
    big[edge & outlined.repeat(CELL, axis=0).repeat(CELL, axis=1)] = EDGE
    return _png(big), columns * CELL, rows * CELL


def pattern_picture(shares: NDArray[np.float32]) -> tuple[bytes, int, int]:
    """Patterns [R, C, S, S] as one PNG, with its width and height: R x C tiles of S + 1 pixels.

    Full colour is all of the attention. The opacity goes with the square root of a share, so that
    small ones are seen. What a token cannot see, and NaN, is left empty.
    """
    rows, columns, size, _ = shares.shape
    tiles = np.zeros((rows, columns, size + 1, size + 1, 4), dtype=np.uint8)
    tiles[..., :3] = np.array(COOL.split(","), dtype=int)
    seen = np.tri(size, dtype=bool) & ~np.isnan(shares)
    strength = np.sqrt(np.clip(np.nan_to_num(shares), 0.0, 1.0))
    tiles[..., :size, :size, 3] = np.where(seen, 20 + 235 * strength, 0)
    height, width = rows * (size + 1), columns * (size + 1)
    pixels = tiles.transpose(0, 2, 1, 3, 4).reshape(height, width, 4)
    return _png(pixels), width, height


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels [height, width, RGBA] as a PNG file (ISO/IEC 15948): no filter, one data chunk."""
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
