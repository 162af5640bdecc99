"""What the readers of files yield: a record, or what could not be read as one, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from airlens.errors import DataError, described

from .trace import Trace

_DETAIL = re.compile(r'[:("]')  # what follows is about the single row


@dataclass(frozen=True)
class Record:
    """One record as it was read.

    Args:
        file: the file (or data set) it comes from, as text.
        line: 1-based line in JSON lines and CSV, 1-based record number elsewhere.
        data: its columns.
    """

    file: str
    line: int | None
    data: dict[str, Any]

    @property
    def place(self) -> str:
        """Where the record was read."""
        return _place(self.file, self.line)


@dataclass(frozen=True)
class Rejected:
    """A record that could not be used, and why.

    Args:
        file: the file (or data set) it comes from, as text.
        line: as in `Record`; None where the whole file could not be read.
        field: the column at fault, if it is one column.
        reason: what was expected and what was found.
    """

    file: str
    line: int | None
    field: str | None
    reason: str

    @property
    def place(self) -> str:
        """Where the record was read."""
        return _place(self.file, self.line)

    @property
    def counted_as(self) -> str:
        """The general part of the reason, the same for rows that fail alike."""
        kind = _DETAIL.split(self.reason.replace("'", '"'), maxsplit=1)[0].strip()[:60]
        return f"`{self.field}`: {kind}" if self.field else kind

    @property
    def error(self) -> DataError:
        """The rejection as an exception."""
        return DataError(self.reason, file=self.file, line=self.line, field=self.field)


Item: TypeAlias = Record | Rejected


def _place(file: str, line: int | None) -> str:
    return f"{file}, line {line}" if line else file


def item_of(data: object, file: str, line: int) -> Item:
    """The record that an object is; a trace is one too."""
    if isinstance(data, Trace):
        data = data.to_json()
    if not isinstance(data, Mapping):
        return Rejected(
            file, line, None, f"expected an object with columns, found {described(data)}"
        )
    return Record(file, line, dict(data))


def numbered(records: Iterable[object], file: str) -> Iterator[Item]:
    """Records numbered from 1; a `Rejected` for anything that is not a mapping."""
    for number, data in enumerate(records, start=1):
        yield item_of(data, file, number)
