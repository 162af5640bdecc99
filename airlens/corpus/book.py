"""The book of a run: where each row that was scored lies, so that no row is scored twice.

A row is known by its id and by a hash of what is in it. A changed row has the same id and another
hash: it is scored anew, and what was scored before is left where it is and no longer handed out.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .idset import hashed
from .markers import Marker


@dataclass(frozen=True)
class Place:
    """Where a known row lies.

    Attributes:
        entry: number of the row in the book.
        part: number of its part.
        row: place in the part's tables; under 0: it was rejected when it was scored.
    """

    entry: int
    part: int
    row: int


@dataclass
class Book:
    """The rows of all parts, 28 bytes a row.

    Args:
        lacking: by number of a part, the tables that it shall have and has not.
        sizes: by number of a part, how many rows its tables have.
        reasons: why a row was rejected when it was scored: field and reason, by part and row.
    """

    lacking: dict[int, tuple[str, ...]] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    reasons: dict[tuple[int, int], Mapping[str, Any]] = field(default_factory=dict)
    _ids: array[int] = field(default_factory=lambda: array("Q"))
    _contents: array[int] = field(default_factory=lambda: array("Q"))
    _parts: array[int] = field(default_factory=lambda: array("l"))
    _rows: array[int] = field(default_factory=lambda: array("i"))

    @classmethod
    def of(cls, markers: Iterable[Marker], wanted: Sequence[str]) -> Book:
        """The book of these parts; ``wanted``: the tables that each shall have."""
        lacking: dict[int, tuple[str, ...]] = {}
        sizes: dict[int, int] = {}
        reasons: dict[tuple[int, int], Mapping[str, Any]] = {}
        columns: list[list[np.ndarray]] = [[], [], [], []]
        for marker in markers:
            missing = tuple(name for name in wanted if name not in marker.tables)
            if missing:
                lacking[marker.number] = missing
            sizes[marker.number] = len(marker.rows)
            reasons |= {(marker.number, -1 - i): why for i, why in enumerate(marker.rejects)}
            names = [*marker.rows, *(str(reject["row"]) for reject in marker.rejects)]
            hashes = [[int(text, 16) for text in name.split()] for name in names]
            pairs = np.asarray(hashes, dtype=np.uint64).reshape(-1, 2)
            kept, out = len(marker.rows), len(marker.rejects)
            rows = np.concatenate([np.arange(kept), -1 - np.arange(out)])
            numbers = np.full(kept + out, marker.number)
            for column, values in zip(columns, (*pairs.T, numbers, rows), strict=True):
                column.append(values)
        ids, contents, parts, rows = (
            np.concatenate(column) if column else np.zeros(0, dtype=kind)
            for column, kind in zip(columns, ("u8", "u8", "i8", "i8"), strict=True)
        )
        # Of two parts with the same row (one is lacking a table, and its rows were scored again
        # elsewhere) the one that lacks nothing comes first.
        worse = np.isin(parts, list(lacking))
        order = np.lexsort([parts, worse, contents, ids])
        return cls(
            lacking,
            sizes,
            reasons,
            array("Q", ids[order].astype("u8").tobytes()),
            array("Q", contents[order].astype("u8").tobytes()),
            array("l", parts[order].astype(f"i{array('l').itemsize}").tobytes()),
            array("i", rows[order].astype(f"i{array('i').itemsize}").tobytes()),
        )

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, name: str, content: str) -> tuple[Place | None, list[int]]:
        """The place of a row, and the entries of other versions of it: the same id, other content.

        Args:
            name: the row's id.
            content: `content_hash` of what is in it.
        """
        key, wanted = hashed(name), int(content, 16)
        found, others = None, []
        entry = bisect_left(self._ids, key)
        while entry < len(self._ids) and self._ids[entry] == key:
            if self._contents[entry] != wanted:
                others.append(entry)
            elif found is None:
                found = Place(entry, self._parts[entry], self._rows[entry])
            entry += 1
        return found, others

    def is_copy(self, entry: int) -> bool:
        """Whether the row lies in another part too, which lacks nothing or came first."""
        return (
            entry > 0
            and self._ids[entry] == self._ids[entry - 1]
            and self._contents[entry] == self._contents[entry - 1]
        )

    def entries(self) -> Iterator[Place]:
        """All rows."""
        for entry, (part, row) in enumerate(zip(self._parts, self._rows, strict=True)):
            yield Place(entry, part, row)


def row_name(name: str, content: str) -> str:
    """How a marker names a row: hashes of its id and of its content."""
    return f"{hashed(name):016x} {content}"
