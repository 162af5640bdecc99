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
from airlens.json_lines import json_line
from airlens.loss_free import Unkept

from .typed_files import write_arrow, write_datasets, write_parquet

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
    if kind in _TYPED_WRITERS:
        _TYPED_WRITERS[kind](rows, target, types or {})
        return []
    told: dict[str, str] = {}
    with atomic_file(target) as temporary, _stream(temporary, target) as out:
        _TEXT_WRITERS[kind](rows, out, told)
    listed = ", ".join(f"{name} ({what})" for name, what in told.items())
    return [f"not of their own type in {kind}: {listed}; Parquet keeps them"] if told else []


def write_lines(lines: Iterable[bytes], path: str | Path) -> None:
    """Write lines of JSON that are made, compressed where the name says so.

    Raises:
        WriteError: the disk is full or cannot be written to.
    """
    target = Path(path)
    with atomic_file(target) as temporary, _stream(temporary, target) as out:
        out.writelines(lines)


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
_TYPED_WRITERS = {"parquet": write_parquet, "arrow": write_arrow, DATASETS: write_datasets}
