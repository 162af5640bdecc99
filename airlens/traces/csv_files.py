"""Read tables of separated values: CSV, TSV, and what spreadsheets make of them."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import IO

from .items import Item, Record, Rejected

log = logging.getLogger(__name__)
_DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# Excel's first line, which is no header.
_SEP = re.compile(r'^"?sep=(.)"?\r?\n?$', re.IGNORECASE)


def read_csv(stream: IO[bytes], file: str, delimiter: str = ",") -> Iterator[Item]:
    """Records of a table with a header.

    Cells are divided by ``delimiter``, or where the header has no such by what divides it; that is
    logged. Blanks around the names of columns are left out.
    """
    # Python's limit of 131,072 characters per cell is too small for long traces; it is global to
    # the csv module, so it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    first, skipped = text.readline(), 0
    if said := _SEP.match(first):
        delimiter, first, skipped = said.group(1), text.readline(), 1
    else:
        delimiter = _delimiter(first, delimiter, file)
    yield from _rows(chain([first], text), file, delimiter, skipped)


def _delimiter(header: str, usual: str, file: str) -> str:
    """What divides the header: ``usual``, unless that leaves it whole and another does not."""
    counts = {mark: _count(header, mark) for mark in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda mark: counts[mark])
    if _count(header, usual) > 1 or counts[best] < 2:
        return usual
    log.info("%s: cells are divided by %s", file, _NAMES[best])
    return best


def _count(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter), []))
    except csv.Error:
        return 0


def _rows(lines: Iterable[str], file: str, delimiter: str, skipped: int) -> Iterator[Item]:
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    header = _header(next(rows, []))
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        yield Rejected(file, 1 + skipped, twice[0], "two columns have this name")
        return
    line = rows.line_num + 1
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Rejected(file, line + skipped, None, f"not CSV: {error}")
            row = []
        if row is None:
            return
        if row:
            yield _record(header, row, file, line + skipped, delimiter)
        line = rows.line_num + 1


def _header(names: list[str]) -> list[str]:
    """Names without blanks around them; a spreadsheet leaves columns without a name at the end."""
    names = [name.strip() for name in names]
    while names and not names[-1]:
        names.pop()
    unnamed = names.count("") > 1
    return [name or (f"column {i}" if unnamed else "") for i, name in enumerate(names, start=1)]


def _record(header: list[str], row: list[str], file: str, line: int, delimiter: str) -> Item:
    while len(row) > len(header) and not row[-1]:
        row.pop()
    if len(row) != len(header):
        by = _NAMES.get(delimiter, repr(delimiter))
        reason = f"expected {len(header)} cells (divided by {by}), found {len(row)}"
        return Rejected(file, line, None, reason)
    return Record(file, line, dict(zip(header, row, strict=True)))
