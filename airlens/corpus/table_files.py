"""Rows as a file of another tool: JSON lines, JSON, CSV, Parquet, Arrow, or a folder for datasets.

A file has every column and value that it was given, or it is an error that names the column.
"""

from __future__ import annotations

import base64
import csv
import datetime as dt
import gzip
import io
import json
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from airlens.errors import ConfigError, DataError
from airlens.files import atomic_file
from airlens.folders import atomic_dir
from airlens.json_lines import json_line
from airlens.loss_free import Unkept

Row = Mapping[str, Any]
DATASETS = "datasets"
# Formats by the ends of file names.
SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
FORMATS = (*dict.fromkeys(SUFFIXES.values()), DATASETS)
_TEXT = ("jsonl", "json", "csv", "tsv")  # may be compressed
_COMPRESSED = (".gz", ".zst")


def format_of(out: str | Path, kind: str | None = None) -> str:
    """The format of a file name; a name without an ending is a folder for `datasets`.

    Args:
        out: the name.
        kind: a format that was asked for.

    Raises:
        ConfigError: an unknown ending or format, or a format that the name does not fit.
    """
    if kind is not None and kind not in FORMATS:
        raise ConfigError(f"use {', '.join(FORMATS)}", argument="kind", value=kind)
    path = Path(out)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] in _COMPRESSED
    named = SUFFIXES.get("".join(suffixes[-2:-1] if packed else suffixes[-1:]))
    if packed and (named not in _TEXT or kind not in (None, named)):
        known = ", ".join(f"{name}{_COMPRESSED[0]}" for name in SUFFIXES if SUFFIXES[name] in _TEXT)
        raise ConfigError(f"{path.name}: compressed are {known}, or .zst")
    if named is None and kind is None:
        if not path.suffix:
            return DATASETS
        known = ", ".join(SUFFIXES)
        raise ConfigError(
            f"{path.name}: no known format; name the file {known} (or .gz of a text format), name "
            "a folder without an ending, or say which with --format"
        )
    if named is not None and kind not in (None, named):
        raise ConfigError(f"{path.name} is the name of a {named} file, not of {kind}")
    return str(kind or named)


def write_rows(
    rows: Callable[[], Iterable[Row]],
    path: str | Path,
    kind: str,
    types: Mapping[str, pa.DataType] | None = None,
) -> list[str]:
    """Write rows in one of `FORMATS`; the file or folder appears when it is complete.

    Args:
        rows: gives them, from the first, at each call.
        path: where.
        kind: the format.
        types: Arrow types of columns, for the formats that have types.

    Returns:
        Sentences on values that the format cannot hold as they are.

    Raises:
        DataError: a value that the format cannot hold at all; names the column.
        ConfigError: a folder that is there already.
    """
    target = Path(path)
    if kind in ("parquet", "arrow", DATASETS):
        _write_arrow(arrow_table(rows(), types or {}), target, kind)
        return []
    told: dict[str, str] = {}
    with atomic_file(target) as temporary, _stream(temporary, target) as out:
        _TEXT_WRITERS[kind](rows, out, told)
    listed = ", ".join(f"{name} ({what})" for name, what in told.items())
    return [f"not of their own type in {kind}: {listed}; Parquet keeps them"] if told else []


@contextmanager
def _stream(temporary: Path, target: Path) -> Iterator[IO[bytes]]:
    """The file opened for writing, through the compression that the target's name asks for."""
    with temporary.open("wb") as raw:
        suffix = target.suffix.lower()
        if suffix == ".gz":  # without name and time: equal content gives equal bytes
            with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
                yield packed  # type: ignore[misc]
        elif suffix == ".zst":
            import zstandard

            with zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as packed:
                yield packed
        else:
            yield raw


def _write_jsonl(rows: Callable[[], Iterable[Row]], out: IO[bytes], told: dict[str, str]) -> None:
    for row in rows():
        out.write(_json_line(row, told))


def _write_json(rows: Callable[[], Iterable[Row]], out: IO[bytes], told: dict[str, str]) -> None:
    start = b"[\n"
    for row in rows():
        out.write(start + _json_line(row, told)[:-1])
        start = b",\n"
    out.write(b"\n]\n" if start == b",\n" else b"[]\n")


def _json_line(row: Row, told: dict[str, str]) -> bytes:
    made = {}
    for name, value in row.items():
        try:
            made[name] = json_value(value, name, told)
        except ValueError as error:
            at = f"row {row['id']!r}: " if "id" in row else ""
            raise DataError(f"{at}{error}", field=name) from error
    return json_line(made)


def json_value(value: Any, name: str, told: dict[str, str]) -> Any:
    """A value as strict JSON can express it.

    Args:
        value: any.
        name: of its column.
        told: gets, by column, what is no longer of its own type.

    Raises:
        ValueError: infinity, which JSON lacks.
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if math.isinf(value):
            raise ValueError(f"{value} has no form in JSON; write Parquet, or leave the column out")
        if math.isnan(value):
            told.setdefault(name, "NaN as null")
            return None
        return value
    if isinstance(value, Mapping):
        return {_key(key, name, told): json_value(v, name, told) for key, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [json_value(item, name, told) for item in value]
    if isinstance(value, np.generic):
        return json_value(value.item(), name, told)
    if isinstance(value, Unkept) or value is pd.NaT or value is pd.NA:
        return None
    text, kind = _as_text(value)
    told.setdefault(name, kind)
    return text


def _key(key: object, name: str, told: dict[str, str]) -> str:
    if not isinstance(key, str):
        told.setdefault(name, "keys as text")
    return str(key)


def _as_text(value: Any) -> tuple[str, str]:
    """A value that is no JSON as text, and what kind it was."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii"), "bytes as base64"
    if isinstance(value, dt.timedelta):
        return str(pd.Timedelta(value).isoformat()), "duration as text"
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat(), "time as text"
    if isinstance(value, Decimal):
        return str(value), "decimal as text"
    if isinstance(value, uuid.UUID):
        return str(value), "UUID as text"
    return str(value), f"{type(value).__name__} as text"


def _write_csv(rows: Callable[[], Iterable[Row]], out: IO[bytes], told: dict[str, str]) -> None:
    _write_cells(rows, out, told, ",")


def _write_tsv(rows: Callable[[], Iterable[Row]], out: IO[bytes], told: dict[str, str]) -> None:
    _write_cells(rows, out, told, "\t")


def _write_cells(
    rows: Callable[[], Iterable[Row]], out: IO[bytes], told: dict[str, str], delimiter: str
) -> None:
    names = list(dict.fromkeys(name for row in rows() for name in row))
    # Half a surrogate pair has no bytes in UTF-8.
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow(names)
        for row in rows():
            cells = []
            for name in names:
                try:
                    cells.append(_cell(row.get(name), name, told))
                except ValueError as error:
                    raise DataError(str(error), field=name) from error
            writer.writerow(cells)
    finally:
        text.detach()


def _cell(value: Any, name: str, told: dict[str, str]) -> str:
    """A value as a cell: lists and objects as JSON, nothing for null."""
    if isinstance(value, float) and not math.isfinite(value):
        return "" if math.isnan(value) else str(value)
    made = json_value(value, name, told)
    if made is None:
        return ""
    if not isinstance(made, str):
        return json.dumps(made, ensure_ascii=False, allow_nan=False)
    try:
        made.encode()
    except UnicodeEncodeError:
        raise ValueError("half a surrogate pair has no form in CSV; write JSON lines") from None
    return made


_TEXT_WRITERS = {
    "jsonl": _write_jsonl,
    "json": _write_json,
    "csv": _write_csv,
    "tsv": _write_tsv,
}


def arrow_table(rows: Iterable[Row], types: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows as an Arrow table: a column for every name, null where a row has no such value.

    ``types``: of columns that are known; the others get the type that their values have.

    Raises:
        DataError: values of several types in one column, or of none that Arrow has.
    """
    columns: dict[str, list[Any]] = {}
    ids: list[Any] = []
    for count, row in enumerate(rows):
        ids.append(row.get("id", count + 1))
        for name, value in row.items():
            column = columns.setdefault(name, [])
            column += [None] * (count - len(column))
            column.append(_arrow_value(value))
    for column in columns.values():
        column += [None] * (len(ids) - len(column))
    arrays = {name: _array(name, values, types.get(name), ids) for name, values in columns.items()}
    return pa.table(arrays)


def _arrow_value(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_arrow_value(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _arrow_value(item) for key, item in value.items()}
    return None if isinstance(value, Unkept) or value is pd.NaT or value is pd.NA else value


def _array(name: str, values: list[Any], kind: pa.DataType | None, ids: list[Any]) -> pa.Array:
    """One column; of the known type where that holds the values as they are."""
    reasons = []
    for wanted in (kind, None) if kind is not None else (None,):
        try:
            made = pa.array(values, type=wanted, from_pandas=False)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            reasons.append(str(error).split("\n")[0])
            continue
        back = enumerate(zip(values, made.to_pylist(), strict=True))
        changed = next((i for i, (value, now) in back if not _like(value, now)), None)
        if changed is None:
            return made
        reasons.append(f"row {ids[changed]!r} would be changed")
    kinds: dict[str, Any] = {}
    for value, row in zip(values, ids, strict=True):
        if value is not None:
            kinds.setdefault(type(value).__name__, row)
    found = ", ".join(f"{kind} (row {row!r})" for kind, row in list(kinds.items())[:3])
    several = f"several types, {found}" if len(kinds) > 1 else f"values ({reasons[-1]})"
    raise DataError(
        f"{several} that one column of Parquet or Arrow cannot hold; write JSON lines, or leave "
        "the column out",
        field=name,
    )


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


def _write_arrow(table: pa.Table, target: Path, kind: str) -> None:
    if kind == "parquet":
        from pyarrow import parquet

        with atomic_file(target) as temporary, temporary.open("wb") as out:
            parquet.write_table(table, out)
    elif kind == "arrow":
        from pyarrow import ipc

        with (
            atomic_file(target) as temporary,
            temporary.open("wb") as out,
            ipc.new_file(out, table.schema) as writer,
        ):
            writer.write_table(table)
    else:
        import datasets

        if target.exists():
            raise ConfigError(f"{target} exists; name a new folder")
        with atomic_dir(target) as temporary:
            datasets.Dataset(table).save_to_disk(str(temporary))
