"""Rows as a file that has types: Parquet, Arrow, or a folder for ``datasets``; in bounded memory.

The rows are read twice: for the type of each column, then to write, some of them at a time.
"""

from __future__ import annotations

import math
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from airlens.errors import ConfigError, DataError
from airlens.files import atomic_file, file_sha256, writing_to
from airlens.folders import atomic_dir
from airlens.loss_free import Unkept

Row = Mapping[str, Any]
# Ours: rows, and characters of their texts, that are held at a time; a row group of Parquet.
ROWS_AT_ONCE = 1 << 14
CHARACTERS_AT_ONCE = 1 << 24


def write_parquet(
    rows: Callable[[], Iterable[Row]], target: Path, types: Mapping[str, pa.DataType]
) -> None:
    """Write rows as Parquet; arguments and errors as of `airlens.corpus.table_files.write_rows`."""
    from pyarrow import parquet

    schema = _schema(rows(), types)
    with (
        atomic_file(target) as temporary,
        temporary.open("wb") as out,
        parquet.ParquetWriter(out, schema) as writer,
    ):
        for table in _tables(rows(), schema):
            writer.write_table(table)


def write_arrow(
    rows: Callable[[], Iterable[Row]], target: Path, types: Mapping[str, pa.DataType]
) -> None:
    """Write rows as an Arrow (Feather) file."""
    schema = _schema(rows(), types)
    with atomic_file(target) as temporary:
        _write_ipc(rows(), temporary, schema)


def write_datasets(
    rows: Callable[[], Iterable[Row]], target: Path, types: Mapping[str, pa.DataType]
) -> None:
    """Write rows as a folder for ``datasets.load_from_disk``.

    Raises:
        ConfigError: there is such a folder already.
    """
    import datasets

    if target.exists():
        raise ConfigError(f"{target} exists; name a new folder")
    schema = _schema(rows(), types)
    with atomic_dir(target) as temporary, _spill(target) as spill:
        _write_ipc(rows(), spill, schema)
        with pa.memory_map(str(spill)) as mapped:
            table = pa.ipc.open_file(mapped).read_all()
            # datasets would take all of the table in memory to make a name for it.
            made = datasets.Dataset(table, fingerprint=file_sha256(spill)[:16])
            made.save_to_disk(str(temporary))
            del made, table


@contextmanager
def _spill(target: Path) -> Iterator[Path]:
    """A file beside the target, for as long as the block runs."""
    with writing_to(target), tempfile.TemporaryDirectory(dir=target.parent) as folder:
        yield Path(folder) / "rows.arrow"


def _write_ipc(rows: Iterable[Row], path: Path, schema: pa.Schema) -> None:
    with path.open("wb") as out, pa.ipc.new_file(out, schema) as writer:
        for table in _tables(rows, schema):
            writer.write_table(table)


@dataclass
class _Batch:
    """Some rows as columns of values; null where a row has no such value."""

    ids: list[Any] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def column(self, name: str) -> list[Any]:
        """The values of a column, which may have none here."""
        return self.columns.get(name, [None] * len(self.ids))


def _batches(rows: Iterable[Row]) -> Iterator[_Batch]:
    batch, characters, seen = _Batch(), 0, 0
    for row in rows:
        count, seen = len(batch.ids), seen + 1
        batch.ids.append(row.get("id", seen))
        for name, value in row.items():
            column = batch.columns.setdefault(name, [])
            column += [None] * (count - len(column))
            column.append(_arrow_value(value))
            characters += len(value) if isinstance(value, str) else 0
        if len(batch.ids) >= ROWS_AT_ONCE or characters >= CHARACTERS_AT_ONCE:
            yield _filled(batch)
            batch, characters = _Batch(), 0
    if batch.ids:
        yield _filled(batch)


def _filled(batch: _Batch) -> _Batch:
    for column in batch.columns.values():
        column += [None] * (len(batch.ids) - len(column))
    return batch


def _arrow_value(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_arrow_value(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _arrow_value(item) for key, item in value.items()}
    return None if isinstance(value, Unkept) or value is pd.NaT or value is pd.NA else value


def _schema(rows: Iterable[Row], types: Mapping[str, pa.DataType]) -> pa.Schema:
    """The type of each column: the known one where that holds the values as they are, else theirs.

    Raises:
        DataError: values of several types in one column, or of none that Arrow has.
    """
    columns: dict[str, _Column] = {}
    for batch in _batches(rows):
        for name in batch.columns:
            columns.setdefault(name, _Column(name, types.get(name)))
        for name, column in columns.items():
            column.learn(batch.column(name), batch.ids)
    return pa.schema([(name, column.type()) for name, column in columns.items()])


@dataclass
class _Column:
    """What is known of a column's type after some of its values."""

    name: str
    given: pa.DataType | None
    found: pa.DataType | None = None
    reason: str = ""
    kinds: dict[str, Any] = field(default_factory=dict)

    def learn(self, values: list[Any], ids: list[Any]) -> None:
        """Look at some more values."""
        for value, row in zip(values, ids, strict=True):
            if value is not None:
                self.kinds.setdefault(type(value).__name__, row)
        if self.given is not None:
            try:
                _array(values, self.given, ids)
            except _Unfit:
                self.given = None
        if self.reason:
            return
        try:
            mine = _array(values, None, ids).type
            self.found = mine if self.found is None else _common(self.found, mine)
        except _Unfit as error:
            self.reason = str(error)

    def type(self) -> pa.DataType:
        """The type that holds all values."""
        if self.given is not None:
            return self.given
        if self.reason:
            raise self.error()
        return self.found

    def error(self) -> DataError:
        """No type holds them."""
        found = ", ".join(f"{kind} (row {row!r})" for kind, row in list(self.kinds.items())[:3])
        several = len(self.kinds) > 1
        what = f"several types, {found}" if several else f"values ({self.reason})"
        return DataError(
            f"{what} that one column of Parquet or Arrow cannot hold; write JSON lines, or leave "
            "the column out",
            field=self.name,
        )


class _Unfit(Exception):
    """A type does not hold the values as they are."""


def _common(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """A type that holds the values of both."""
    pair = [pa.schema([("x", kind)]) for kind in (a, b)]
    try:
        return pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except pa.ArrowException as error:
        raise _Unfit(str(error).split("\n")[0]) from error


def _array(values: list[Any], kind: pa.DataType | None, ids: list[Any]) -> pa.Array:
    """Values as an array; of their own type where none is given."""
    try:
        made = pa.array(values, type=kind, from_pandas=False)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _Unfit(str(error).split("\n")[0]) from error
    back = enumerate(zip(values, made.to_pylist(), strict=True))
    changed = next((i for i, (value, now) in back if not _like(value, now)), None)
    if changed is not None:
        raise _Unfit(f"row {ids[changed]!r} would be changed")
    return made


def _tables(rows: Iterable[Row], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows as tables of these types.

    Raises:
        DataError: a common type of the values changes one of them.
    """
    for batch in _batches(rows):
        arrays = []
        for name, kind in zip(schema.names, schema.types, strict=True):
            values = batch.column(name)
            try:
                arrays.append(_array(values, kind, batch.ids))
            except _Unfit as error:
                column = _Column(name, None, reason=str(error))
                column.learn(values, batch.ids)
                raise column.error() from error
        yield pa.table(arrays, schema=schema)


def _like(value: Any, back: Any) -> bool:
    """Whether a value came back from Arrow; null may stand for a key that an object has not."""
    if isinstance(value, Mapping):
        if isinstance(back, list):  # a map
            back = dict(back)
        rest = set(back) - set(value)
        return all(_like(v, back.get(k)) for k, v in value.items()) and all(
            back[key] is None for key in rest
        )
    if isinstance(value, list | tuple | np.ndarray):
        if not isinstance(back, list | tuple) or len(value) != len(back):
            return False
        return all(map(_like, value, back))
    if isinstance(value, bool) or isinstance(back, bool):
        return isinstance(value, bool | np.bool_) and bool(value) is back
    if isinstance(value, float) and math.isnan(value):
        return isinstance(back, float) and math.isnan(back)
    if isinstance(value, uuid.UUID):
        return back in (value, value.bytes)
    try:
        return bool(value == back)
    except TypeError:
        return False
