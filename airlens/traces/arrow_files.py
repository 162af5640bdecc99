"""Read records of Parquet and Arrow files and of Arrow tables, a few hundred rows at a time."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import IO, Any

from airlens.errors import DataError

from .items import Item, Rejected, item_of

# Rows made at a time: fast, in little memory.
BATCH = 256


def read_parquet(stream: IO[bytes], file: str) -> Iterator[Item]:
    """Records of a Parquet file."""
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(_seekable(stream)) as opened:
            _check_counts(opened.metadata)
            yield from batch_items(opened.iter_batches(BATCH), file)
    except ArrowException as error:
        raise ValueError(str(error)) from error


def _check_counts(footer: Any) -> None:
    """Raise where a footer counts rows that cannot be: Arrow would end the process on them."""
    rows = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    if min(rows, default=0) < 0 or sum(rows) != footer.num_rows:
        raise ValueError(f"damaged: row groups of {rows[:5]} rows, {footer.num_rows} in all")


def read_arrow(stream: IO[bytes], file: str) -> Iterator[Item]:
    """Records of an Arrow or Feather file, or of the stream that ``datasets`` writes."""
    import pyarrow as pa

    try:
        source = pa.PythonFile(_seekable(stream), mode="r")
        yield from batch_items(_batches(source), file)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def _seekable(stream: IO[bytes]) -> Any:
    """The stream; one that is being decompressed as a whole, since these formats are not linear."""
    plain = isinstance(getattr(stream, "raw", None), io.FileIO)
    return stream if plain else io.BytesIO(stream.read())


def _batches(source: Any) -> Iterator[Any]:
    from pyarrow import ArrowInvalid, ipc

    try:
        file = ipc.open_file(source)
    except ArrowInvalid:
        source.seek(0)
        yield from ipc.open_stream(source)
        return
    yield from (file.get_batch(i) for i in range(file.num_record_batches))


def batch_items(batches: Iterable[Any], file: str) -> Iterator[Item]:
    """The rows of record batches, numbered from 1.

    Raises:
        DataError: two columns have the same name.
    """
    number = 0
    for batch in batches:
        names = Counter(batch.schema.names)
        if twice := [name for name, count in names.items() if count > 1]:
            raise DataError("two columns have this name", file=file, field=twice[0])
        for start in range(0, batch.num_rows, BATCH):
            for row in _rows(batch.slice(start, BATCH)):
                number += 1
                if isinstance(row, str):
                    yield Rejected(file, number, None, row)
                else:
                    yield item_of(row, file, number)


def _rows(batch: Any) -> list[Any]:
    """The rows as mappings; for one that Python cannot hold (a year 20,000) the reason."""
    from pyarrow import ArrowException

    try:
        return list(batch.to_pylist())
    except (ValueError, OverflowError, ArrowException) as error:
        if batch.num_rows == 1:
            return [f"cannot be read: {error}"]
    return [row for i in range(batch.num_rows) for row in _rows(batch.slice(i, 1))]
