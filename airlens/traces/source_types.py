"""The Arrow types of a source's columns, where the source has types: Parquet, Arrow, frames.

What is read is Python's values, which do not tell an int8 from an int64; with its types an export
gives a column back as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from airlens.errors import AirlensError

from .records import saved_split
from .splits import DEFAULT


def source_types(
    source: Any, *, split: str | None = None, config: str | None = None, stream: bool = False
) -> pa.Schema:
    """Names and types of the columns of a source; empty where it has no types, or none were found.

    Of several files their common types; a column on which they disagree is left out.
    """
    fields: dict[str, pa.Field | None] = {}
    for schema in _schemas(source, split, config, stream):
        for field in schema:
            known = fields.setdefault(field.name, field)
            if known is not None and known.type != field.type:
                fields[field.name] = None
    return pa.schema([field for field in fields.values() if field is not None])


def _schemas(
    source: Any, split: str | None, config: str | None, stream: bool
) -> Iterator[pa.Schema]:
    try:
        if isinstance(source, str | Path):
            yield from _of_name(str(source), split, config, stream)
        elif isinstance(getattr(source, "schema", None), pa.Schema):
            yield source.schema
        elif hasattr(source, "features"):
            yield from _of_features(source)
        elif hasattr(source, "iloc") and hasattr(source, "columns"):
            for name in source.columns:
                yield from _of_column(str(name), source[name])
        elif isinstance(source, Mapping):
            yield from _of_features(source.get(split or DEFAULT))
    except (AirlensError, OSError, ValueError, pa.ArrowException):
        return  # an unreadable source is told by who reads its rows


def _of_features(data: Any) -> Iterator[pa.Schema]:
    """The types of a data set of ``datasets``; a stream may not know them."""
    schema = getattr(getattr(data, "features", None), "arrow_schema", None)
    if isinstance(schema, pa.Schema):
        yield schema


def _of_column(name: str, column: Any) -> Iterator[pa.Schema]:
    try:
        yield pa.schema([pa.field(name, pa.array(column, from_pandas=True).type)])
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return


def _of_name(name: str, split: str | None, config: str | None, stream: bool) -> Iterator[pa.Schema]:
    from .record_files import format_of

    path = Path(name).expanduser()
    if path.is_dir():
        saved = saved_split(path, split)
        if saved is not None:
            yield from _of_features(saved)
            return
        files = sorted(p for p in path.rglob("*") if p.is_file())
    elif path.exists():
        files = [path]
    else:
        import glob

        files = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
        if not files and not format_of(path):
            from airlens.hub import load_hub

            data = load_hub(name, split=split or DEFAULT, config=config, stream=stream)
            yield from _of_features(data)
            return
    for file in files:
        kind = format_of(file)
        if kind in (".parquet", ".pq"):
            from pyarrow import parquet

            yield parquet.read_schema(file)
        elif kind in (".arrow", ".feather"):
            yield _arrow_schema(file)


def _arrow_schema(file: Path) -> pa.Schema:
    from pyarrow import ipc

    with pa.memory_map(str(file)) as source:
        try:
            return ipc.open_file(source).schema
        except pa.ArrowInvalid:
            source.seek(0)
            return ipc.open_stream(source).schema
