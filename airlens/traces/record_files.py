"""Read the records of one file, in the format of its suffix, plain or compressed.

Records are read one by one; only a ``.json`` file is read as a whole. A record that cannot be read
is yielded as a `Rejected`; reading continues where possible.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias

from airlens.errors import DataError

from .arrow_files import read_arrow, read_parquet
from .compressed_files import BROKEN, SUFFIXES, as_utf8, open_bytes
from .csv_files import read_csv
from .items import Item, Rejected, item_of, numbered

# Ours: a longer line means a damaged file, and would take several times its size in memory.
MAX_LINE = 32 * 2**20
ZIP = ".zip"

# Reads a stream; the text is the file's name, for messages.
Reader: TypeAlias = Callable[[IO[bytes], str], Iterator[Item]]


def format_of(path: Path) -> str:
    """The suffix of the format, without that of a compression; "" if unknown."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ZIP:
        return ZIP
    if suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in FORMATS else ""


def read_file(path: Path) -> Iterator[Item]:
    """Records of one file, in the format of its suffix.

    Raises:
        DataError: the suffix is not of a known format.
    """
    kind = format_of(path)
    if not kind:
        raise DataError(f"unknown format; known are {', '.join(FORMATS)}", file=str(path))
    items = _read_zip(path) if kind == ZIP else _read(path, FORMATS[kind])
    return guarded(items, str(path))


def _read(path: Path, read: Reader) -> Iterator[Item]:
    with open_bytes(path) as stream:
        yield from read(stream, str(path))


def _read_zip(path: Path) -> Iterator[Item]:
    """The records of all members of an archive that have a known format."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.startswith("__MACOSX")]
        known = [name for name in names if format_of(Path(name)) not in ("", ZIP)]
        if not known:
            listed = ", ".join(names[:5]) or "nothing"
            raise DataError(f"no file of a known format in this archive: {listed}", file=str(path))
        for name in known:
            inner = Path(name)
            decompress = SUFFIXES.get(inner.suffix.lower())
            with archive.open(name) as stream:
                opened = io.BufferedReader(stream) if decompress is None else decompress(stream)  # type: ignore[type-var]
                yield from FORMATS[format_of(inner)](opened, f"{path}/{name}")


def guarded(items: Iterator[Item], file: str) -> Iterator[Item]:
    """The items; where the rest cannot be read (truncated, no permission), a last `Rejected`."""
    from zstandard import ZstdError

    broken = (*BROKEN, RecursionError, csv.Error, ZstdError, zipfile.BadZipFile, MemoryError)
    try:
        yield from items
    except DataError as error:
        yield Rejected(error.file or file, error.line, error.field, error.reason)
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 ({error.reason}); save the file as UTF-8"
        yield Rejected(file, None, None, reason)
    except (*broken, RuntimeError, NotImplementedError) as error:  # the last two: zip
        yield Rejected(file, None, None, f"cannot be read (further): {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _read_jsonl(stream: IO[bytes], file: str) -> Iterator[Item]:
    yield from _parse_lines(as_utf8(stream), file)


def _bounded_lines(stream: IO[bytes]) -> Iterator[bytes | int]:
    """Lines, which end at a line feed only; for one longer than `MAX_LINE` its length in bytes."""
    while line := stream.readline(MAX_LINE + 1):
        if len(line) <= MAX_LINE:
            yield line
            continue
        size = len(line)
        while not line.endswith(b"\n") and (line := stream.readline(MAX_LINE)):
            size += len(line)
        yield size


def _parse_lines(lines: IO[bytes], file: str) -> Iterator[Item]:
    for number, line in enumerate(_bounded_lines(lines), start=1):
        if isinstance(line, int):
            reason = f"a line of {line:,} bytes; at most {MAX_LINE:,} are read"
            yield Rejected(file, number, None, reason)
        elif line.strip():
            yield _parse(line, file, number)


def _parse(text: bytes, file: str, line: int) -> Item:
    try:
        return item_of(json.loads(text.decode()), file, line)
    except UnicodeDecodeError as error:
        return Rejected(file, line, None, f"not UTF-8: {error.reason} at byte {error.start}")
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")  # as in "Invalid control character at"
        return Rejected(file, line, None, f"not JSON: {what} at character {error.colno}")
    except ValueError as error:  # an integer of thousands of digits
        return Rejected(file, line, None, f"not JSON: {_first_line(error)}")
    except RecursionError:
        return Rejected(file, line, None, "nested too deep")


def _read_json(stream: IO[bytes], file: str) -> Iterator[Item]:
    text = as_utf8(stream).read()
    try:
        data = json.loads(text.decode())
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # JSON lines under another name
            yield from _parse_lines(io.BytesIO(text), file)
        else:
            yield Rejected(file, error.lineno, None, f"not JSON: {error.msg.removesuffix(' at')}")
        return
    if isinstance(data, dict):
        data = data["data"] if isinstance(data.get("data"), list) else _pandas_rows(data)
    yield from numbered(data if isinstance(data, list) else [data], file)


def _pandas_rows(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an object of columns, as pandas writes a frame; else the object itself."""
    columns = list(data.values())
    keys = [list(column) for column in columns if isinstance(column, Mapping)]
    indexed = keys and len(keys) == len(columns) and all(key == keys[0] for key in keys)
    if not indexed or not all(key.isdecimal() for key in keys[0]):
        return [data]
    return [{name: column[key] for name, column in data.items()} for key in keys[0]]


def _read_csv(stream: IO[bytes], file: str, delimiter: str = ",") -> Iterator[Item]:
    yield from read_csv(as_utf8(stream), file, delimiter)


FORMATS: dict[str, Reader] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".jsonlines": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, delimiter="\t"),
    ".parquet": read_parquet,
    ".pq": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
    ".ipc": read_arrow,
}
