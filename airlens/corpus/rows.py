"""Read a corpus as a stream of rows: each is checked once, and no more than one is in memory.

A row that cannot be scored is not dropped: it comes as a `Reject`, with its place and the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from airlens.errors import DataError
from airlens.reading.columns import Columns
from airlens.reading.items import Rejected
from airlens.reading.load import content_hash, iter_located
from airlens.trace import Trace

from .idset import IdSet

# Ours: about a million tokens; a longer text is no sample, and its tokens would not fit in memory.
MAX_CHARS = 4_000_000
MAX_CHUNK = 10_000
PEEK = 100  # rows looked at before a model is loaded


@dataclass(frozen=True)
class Corpus:
    """Where rows come from and how they are read.

    Args:
        source: as in `airlens.reading.load.load_traces`.
        columns: names of columns, for layouts that are not recognised.
        split, config: of a hub data set.
        splitter: as in `airlens.reading.load.load_traces`.
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
    """A trace and the place it was read from."""

    trace: Trace
    file: str
    line: int | None


@dataclass(frozen=True)
class Reject:
    """A row that is not scored.

    Args:
        file, line, field, reason: as in `airlens.reading.record_files.Rejected`.
        kind: ``bad``, or ``duplicate`` for a text that came before.
    """

    file: str
    line: int | None
    field: str | None
    reason: str
    kind: str = "bad"


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
        row = Row(made, item.file, item.line)
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
        return Reject(row.file, row.line, "response", f"{what} empty: nothing to score")
    size = len(trace.prompt) + len(trace.response)
    if size > MAX_CHARS:
        reason = f"{size:,} characters; at most {MAX_CHARS:,} are scored"
        return Reject(row.file, row.line, "response", reason)
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
        return Reject(row.file, row.line, None, reason, "duplicate")
    reason = f"the id {trace.id!r} was given before, to another text"
    return Reject(row.file, row.line, "id", reason)


@dataclass
class Chunk:
    """Consecutive rows of the corpus: rows to score, rejected rows, and how many were read.

    Attributes:
        rows: the rows to score.
        rejects: the rows that cannot be scored.
        read: all rows of the source in this stretch.
        skipped: of those, how many were scored before.
    """

    rows: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    read: int = 0
    skipped: int = 0


def iter_chunks(
    corpus: Corpus, done: IdSet, part_rows: int, *, stop_at_bad: bool = False
) -> Iterator[Chunk]:
    """The corpus in chunks of ``part_rows`` rows to be scored; rows in ``done`` are left out.

    A stretch with few rows to score ends after `MAX_CHUNK` rows, so that progress is still
    reported. With ``stop_at_bad`` the first bad row is yielded at once, in a chunk of its own, and
    ends the reading: rows read before it need not be scored first.
    """
    chunk = Chunk()
    for item in iter_rows(corpus):
        chunk.read += 1
        if isinstance(item, Reject):
            if stop_at_bad and item.kind == "bad":
                yield Chunk(rejects=[item], read=1)
                return
            chunk.rejects.append(item)
        elif item.trace.id in done:
            chunk.skipped += 1
        else:
            chunk.rows.append(item)
        if len(chunk.rows) == part_rows or chunk.read - len(chunk.rows) >= MAX_CHUNK:
            yield chunk
            chunk = Chunk()
    if chunk.read:
        yield chunk


def estimate_rows(corpus: Corpus) -> int | None:
    """Expected number of rows, from Parquet footers or the first lines of text files.

    None where only reading everything could tell (a hub data set, a compressed file).
    """
    source = corpus.source
    count: int | None
    if isinstance(source, str | Path):
        count = _estimate_files(Path(source).expanduser())
    else:
        count = len(source) if hasattr(source, "__len__") else None
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
