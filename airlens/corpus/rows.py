"""Read a corpus as a stream of rows: each is checked once, and no more than one is in memory.

A row that cannot be scored is not dropped: it comes as a `Reject`, with its place and the reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from airlens.errors import DataError
from airlens.traces.columns import Columns
from airlens.traces.identity import trace_key
from airlens.traces.items import Rejected
from airlens.traces.load import content_hash, iter_located
from airlens.traces.readings import describe
from airlens.traces.trace import Trace

from .book import Book, Place, row_name
from .idset import IdSet

# Ours: about a million tokens; a longer text is no sample, and its tokens would not fit in memory.
MAX_CHARS = 4_000_000
MAX_CHUNK = 10_000
PEEK = 100  # rows looked at before a model is loaded
# Rows held back until their part, which lacks a table, is together again.
MAX_WAITING = 50_000


@dataclass(frozen=True)
class Corpus:
    """Where rows come from and how they are read.

    Args:
        source: as in `airlens.traces.load.load_traces`.
        columns: names of columns, for layouts that are not recognised.
        split, config: of a hub data set.
        splitter: as in `airlens.traces.load.load_traces`.
        limit: how many rows at most.
        stream: read a hub data set over the network rather than download it.
        scope: ``response`` needs a response in every row, ``document`` any text.
    """

    source: Any
    columns: Columns = field(default_factory=Columns)
    split: str | None = None
    config: str | None = None
    splitter: str | re.Pattern[str] = "auto"
    limit: int | None = None
    stream: bool | None = None
    scope: str = "response"


@dataclass(frozen=True)
class Row:
    """A trace, the place it was read from, and the record as it stood there."""

    trace: Trace
    file: str
    line: int | None
    record: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def content(self) -> str:
        """16 hex digits of all that is in the row but its id."""
        return trace_key(self.trace, self.record)[:16]

    @property
    def name(self) -> str:
        """How a marker names the row."""
        return row_name(self.trace.id, self.content)

    def reject(self, reason: str, field: str | None = None, kind: str = "bad") -> Reject:
        """The rejection of this row."""
        return Reject(self.file, self.line, field, reason, kind, self.trace.id)


@dataclass(frozen=True)
class Reject(Rejected):
    """A row that is not scored.

    Args:
        kind: ``bad``, or ``duplicate`` for a text that came before.
        id: of the row, where it has one.
    """

    kind: str = "bad"
    id: str | None = None


def iter_rows(corpus: Corpus) -> Iterator[Row | Reject]:
    """Rows in the order of the source, with a `Reject` in place of each that cannot be scored.

    No id comes twice: a row that repeats id and text, or a text without an id of its own, is a
    ``duplicate``; an id given to two texts is bad data. Memory: 16 bytes a row.

    Raises:
        DataError: the source cannot be found, or no row has the domain column.
        ConfigError: an argument that makes no sense.
    """
    seen, texts = IdSet(), IdSet()
    located = iter_located(
        corpus.source,
        corpus.columns,
        split=corpus.split,
        config=corpus.config,
        splitter=corpus.splitter,
        limit=corpus.limit,
        stream=corpus.stream,
        unique=False,
    )
    for item, made in located:
        if isinstance(made, Rejected):
            yield Reject(made.file, made.line, made.field, made.reason)
            continue
        row = Row(made, item.file, item.line, getattr(item, "data", {}))
        yield _unusable(row, corpus.scope) or _repeated(row, seen, texts) or row


def need_rows(corpus: Corpus) -> None:
    """Read the beginning of a corpus, so that what is wrong with all of it is said at once.

    Raises:
        DataError, ConfigError: as :func:`iter_rows`; or none of the first rows can be scored: the
            first one's reason.
    """
    first = None
    for row in islice(iter_rows(corpus), PEEK):
        if isinstance(row, Row):
            return
        first = first or row
    if first is not None:
        raise DataError(first.reason, file=first.file, line=first.line, field=first.field)


def _unusable(row: Row, scope: str) -> Reject | None:
    trace = row.trace
    text = trace.response if scope == "response" else trace.prompt + trace.response
    if not text.strip():
        what = "the response is" if scope == "response" else "prompt and response are"
        return row.reject(f"{what} empty: nothing to score", "response")
    size = len(trace.prompt) + len(trace.response)
    if size > MAX_CHARS:
        reason = f"{size:,} characters; at most {MAX_CHARS:,} are scored"
        return row.reject(reason, "response")
    try:
        row.content  # noqa: B018
    except (RecursionError, ValueError) as error:
        return row.reject(f"cannot be kept: {error}")
    return None


def _repeated(row: Row, seen: IdSet, texts: IdSet) -> Reject | None:
    """The rejection of a row whose id was seen before; None for a new id.

    ``texts`` holds each id together with the hash of its text.
    """
    trace = row.trace
    text = content_hash(trace.prompt, trace.response)
    known = not texts.add(f"{trace.id} {text}")
    if seen.add(trace.id):
        return None
    if known:
        reason = f"the same text came before, as {trace.id}"
        return row.reject(reason, kind="duplicate")
    return row.reject(f"given before, to another text: {trace.id!r}", "id")


@dataclass
class Chunk:
    """Consecutive rows of the corpus: rows to score, rejected rows, and how many were read.

    Attributes:
        rows: the rows to score.
        rejects: the rows that cannot be scored.
        read: all rows of the source in this stretch.
        skipped: of those, how many were scored before.
        seen: entries in the book of rows that are as they were.
        changed: entries in the book of rows that came with another content.
        moved: entries in the book of rows that are scored again, for another part.
        part: number of the part that the rows make; None where there are none.
        again: whether that part is there, and these are all of its rows, in its order.
        tables: the tables that the part lacks, if it is there.
        reading: how rows were read, in words, and how many were read so.
    """

    rows: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    read: int = 0
    skipped: int = 0
    reading: Counter[str] = field(default_factory=Counter)
    seen: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    part: int | None = None
    again: bool = False
    tables: tuple[str, ...] = ()

    def take(self, moved: list[tuple[Row, int]]) -> None:
        """Add rows, with their entries in the book, that are scored for another part."""
        self.rows += [row for row, _ in moved]
        self.moved += [entry for _, entry in moved]

    def cut(self, size: int) -> list[Row]:
        """Leave the first ``size`` rows; the others."""
        more = self.rows[size:]
        self.rows = self.rows[:size]
        return more


def iter_chunks(
    corpus: Corpus, book: Book, part_rows: int, *, first: int = 0, stop_at_bad: bool = False
) -> Iterator[Chunk]:
    """The corpus in chunks of ``part_rows`` rows to be scored; rows in the book are left out.

    New parts are numbered from ``first``, whoever scores them and in whatever order.

    The rows of a part that lacks a table come as a chunk of their own, once the last of them was
    read; where one of them is gone, the others are scored as new rows.

    A stretch with few rows to score ends after `MAX_CHUNK` rows, so that progress is still
    reported. With ``stop_at_bad`` the first bad row is yielded at once, in a chunk of its own, and
    ends the reading: rows read before it need not be scored first.
    """
    number = first
    for chunk in _unnumbered(corpus, book, part_rows, stop_at_bad):
        if chunk.rows and not chunk.again:
            chunk.part = number
            number += 1
        yield chunk


def _unnumbered(corpus: Corpus, book: Book, part_rows: int, stop_at_bad: bool) -> Iterator[Chunk]:
    chunk, waiting = Chunk(), _Waiting(book)
    for item in iter_rows(corpus):
        chunk.read += 1
        if isinstance(item, Reject):
            if stop_at_bad and item.kind == "bad":
                yield Chunk(rejects=[item], read=1)
                return
            chunk.rejects.append(item)
        else:
            chunk.reading[describe(item.trace.reading)] += 1
            place, others = book.find(item.trace.id, item.content)
            chunk.changed += others
            if place is None:
                chunk.rows.append(item)
            elif place.row < 0:
                chunk.seen.append(place.entry)
                why = book.reasons[place.part, place.row]
                chunk.rejects.append(item.reject(why["reason"], why["field"]))
            elif place.part in book.lacking:
                together = waiting.add(item, place)
                if together is not None:
                    yield together
                chunk.take(waiting.spilt())
            else:
                chunk.seen.append(place.entry)
                chunk.skipped += 1
        while len(chunk.rows) >= part_rows or chunk.read - len(chunk.rows) >= MAX_CHUNK:
            more = chunk.cut(part_rows)
            yield chunk
            chunk = Chunk(rows=more)
    chunk.take(waiting.spilt(everything=True))
    while chunk.rows or chunk.read:
        more = chunk.cut(part_rows)
        yield chunk
        chunk = Chunk(rows=more)


class _Waiting:
    """Rows of parts that lack a table, until each part is together again."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._parts: dict[int, dict[int, tuple[Row, int]]] = {}
        self._count = 0

    def add(self, row: Row, place: Place) -> Chunk | None:
        """Keep a row; the whole part, once this was its last."""
        mine = self._parts.setdefault(place.part, {})
        mine[place.row] = (row, place.entry)
        self._count += 1
        if len(mine) < self._book.sizes[place.part]:
            return None
        del self._parts[place.part]
        self._count -= len(mine)
        rows = [mine[at][0] for at in sorted(mine)]
        seen = [entry for _, entry in mine.values()]
        tables = self._book.lacking[place.part]
        return Chunk(rows, seen=seen, part=place.part, again=True, tables=tables)

    def spilt(self, everything: bool = False) -> list[tuple[Row, int]]:
        """Rows that waited too long, part by part, where too many wait; and their entries."""
        rows: list[tuple[Row, int]] = []
        while self._parts and (everything or self._count > MAX_WAITING):
            mine = self._parts.pop(next(iter(self._parts)))
            self._count -= len(mine)
            rows += [mine[at] for at in sorted(mine)]
        return rows


def estimate_rows(corpus: Corpus) -> int | None:
    """Expected number of rows, from Parquet footers or the first lines of text files.

    None where only reading everything could tell (a hub data set, a compressed file).
    """
    source = corpus.source
    count: int | None
    if isinstance(source, str | Path):
        count = _estimate_files(Path(source).expanduser())
    else:
        counted = hasattr(source, "__len__") and not isinstance(source, Mapping)
        count = len(source) if counted else None
    if corpus.limit is None or count is None:
        return corpus.limit if count is None else count
    return min(count, corpus.limit)


def _estimate_files(path: Path) -> int | None:
    files = [p for p in sorted(path.rglob("*")) if p.is_file()] if path.is_dir() else [path]
    total = 0
    for file in files:
        if not file.is_file():
            return None
        if file.suffix in (".parquet", ".pq"):
            total += _parquet_rows(file)
        elif file.suffix in (".jsonl", ".ndjson", ".csv", ".tsv"):
            total += _text_rows(file)
        elif len(files) == 1:
            return None
    return total or None


def _parquet_rows(path: Path) -> int:
    from pyarrow import ArrowException
    from pyarrow import parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, ArrowException):
        return 0


def _text_rows(path: Path, sample: int = 2**20) -> int:
    with path.open("rb") as file:
        head = file.read(sample)
    lines = head.count(b"\n")
    size = path.stat().st_size
    return lines if size <= len(head) else round(lines * size / len(head))
