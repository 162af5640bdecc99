"""Read the records of one file: JSON lines, JSON, CSV, TSV, Parquet or Arrow, plain or compressed.

Records are read one by one; only a ``.json`` file is read as a whole. A record that cannot be read
is yielded as a `Rejected`; reading continues where possible.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from airlens.errors import DataError, found

# Rows read at a time from Parquet files and data frames: fast, in little memory.
BATCH = 256
# Ours: a longer line means a damaged file, and would take several times its size in memory.
MAX_LINE = 32 * 2**20
_COMPRESSED = (".gz", ".zst", ".zstd")


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
    def error(self) -> DataError:
        """The rejection as an exception."""
        return DataError(self.reason, file=self.file, line=self.line, field=self.field)


Item: TypeAlias = Record | Rejected


def format_of(path: Path) -> str:
    """The suffix of the format, without that of a compression; "" if unknown."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
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
    return guarded(FORMATS[kind](path), str(path))


def guarded(items: Iterator[Item], file: str) -> Iterator[Item]:
    """The items; where the rest cannot be read (truncated, no permission), a last `Rejected`."""
    from zstandard import ZstdError

    broken = (OSError, EOFError, ValueError, RecursionError, csv.Error, zlib.error, ZstdError)
    try:
        yield from items
    except broken as error:
        yield Rejected(file, None, None, f"cannot be read (further): {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _open(path: Path) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast(IO[bytes], gzip.open(path))
    if suffix in _COMPRESSED:
        import zstandard

        raw = path.open("rb")
        frames = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        return cast(IO[bytes], io.BufferedReader(frames))
    return path.open("rb")


def _read_jsonl(path: Path) -> Iterator[Item]:
    with _open(path) as lines:
        yield from _parse_lines(lines, str(path))


def _bounded_lines(stream: IO[bytes]) -> Iterator[bytes | int]:
    """Lines; for one longer than `MAX_LINE` its length in bytes."""
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
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # a byte order mark
        if line.strip():
            yield _parse(line, file, number)


def _parse(text: bytes, file: str, line: int) -> Item:
    try:
        return _record(json.loads(text.decode()), file, line)
    except UnicodeDecodeError as error:
        return Rejected(file, line, None, f"not UTF-8: {error.reason} at byte {error.start}")
    except json.JSONDecodeError as error:
        return Rejected(file, line, None, f"not JSON: {error.msg} at character {error.colno}")
    except ValueError as error:  # an integer of thousands of digits
        return Rejected(file, line, None, f"not JSON: {_first_line(error)}")
    except RecursionError:
        return Rejected(file, line, None, "nested too deep")


def _record(data: object, file: str, line: int) -> Item:
    if not isinstance(data, Mapping):
        return Rejected(file, line, None, f"expected an object with columns, found {found(data)}")
    return Record(file, line, {str(key): value for key, value in data.items()})


def numbered(records: Iterable[object], file: str) -> Iterator[Item]:
    """Records numbered from 1; a `Rejected` for anything that is not a mapping."""
    for number, data in enumerate(records, start=1):
        yield _record(data, file, number)


def _read_json(path: Path) -> Iterator[Item]:
    file = str(path)
    with _open(path) as stream:
        text = stream.read().removeprefix(b"\xef\xbb\xbf")
    try:
        data = json.loads(text.decode())
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # JSON lines under another name
            yield from _parse_lines(io.BytesIO(text), file)
        else:
            yield Rejected(file, error.lineno, None, f"not JSON: {error.msg}")
        return
    if isinstance(data, dict) and isinstance(data.get("data"), list):
        data = data["data"]
    yield from numbered(data if isinstance(data, list) else [data], file)


def _read_parquet(path: Path) -> Iterator[Item]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(BATCH) for row in batch.to_pylist())
            yield from numbered(rows, str(path))
    except ArrowException as error:
        raise ValueError(_first_line(error)) from error


def _read_arrow(path: Path) -> Iterator[Item]:
    """An Arrow file, or the stream that ``datasets`` writes under the same name."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            yield from numbered(_arrow_rows(source), str(path))
    except pa.ArrowException as error:
        raise ValueError(_first_line(error)) from error


def _arrow_rows(source: Any) -> Iterator[object]:
    from pyarrow import ArrowInvalid, ipc

    try:
        file = ipc.open_file(source)
        batches = (file.get_batch(i) for i in range(file.num_record_batches))
    except ArrowInvalid:
        source.seek(0)
        batches = iter(ipc.open_stream(source))
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH):
            yield from batch.slice(start, BATCH).to_pylist()


def _read_csv(path: Path, delimiter: str = ",") -> Iterator[Item]:
    # Python's limit of 131,072 characters per cell is too small for long traces; it is global to
    # the csv module, so it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    file = str(path)
    with io.TextIOWrapper(_open(path), encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        header = next(rows, [])
        line = rows.line_num + 1
        while True:
            try:
                row = next(rows, None)
            except csv.Error as error:
                yield Rejected(file, line, None, f"not CSV: {error}")
                row = []
            if row is None:
                return
            if row:
                yield _csv_record(header, row, file, line)
            line = rows.line_num + 1


def _csv_record(header: list[str], row: list[str], file: str, line: int) -> Item:
    if len(row) != len(header):
        return Rejected(file, line, None, f"expected {len(header)} cells, found {len(row)}")
    return Record(file, line, dict(zip(header, row, strict=True)))


def _read_tsv(path: Path) -> Iterator[Item]:
    return _read_csv(path, "\t")


FORMATS: dict[str, Callable[[Path], Iterator[Item]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".arrow": _read_arrow,
}
